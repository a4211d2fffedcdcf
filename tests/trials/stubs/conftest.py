"""Stand-ins that stand, and a client that takes their names for the real ones."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from llamatrix.trials.stubs.connect_proxy import connect_proxy
from llamatrix.trials.stubs.serving import HOSTS, Stubs, prepare, serve_stubs

MODELS = ("gemini-3.1-flash-preview", "gemini-2.5-flash-image")


@pytest.fixture
def stubs(tmp_path: Path) -> Stubs:
    folder = tmp_path / "stubs"
    folder.mkdir()
    return prepare(folder, models=MODELS)


@pytest.fixture
def client(stubs: Stubs) -> Iterator[httpx.Client]:
    """As an agent's program is placed: real names, our authority alone, the connect proxy."""
    trust = ssl.create_default_context(cafile=stubs.tls_files.authority)
    with (
        serve_stubs(stubs) as port,
        connect_proxy(HOSTS, port=port) as way,
        httpx.Client(verify=trust, proxy=way["HTTPS_PROXY"], trust_env=False) as ours,
    ):
        yield ours
