"""Stand-ins that stand, and a client that takes their names for the real ones."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from llamatrix.trials.stubs.connect_proxy import detour
from llamatrix.trials.stubs.serving import HOSTS, StandIns, prepare, standing

MODELS = ("gemini-3.1-flash-preview", "gemini-2.5-flash-image")


@pytest.fixture
def stand_ins(tmp_path: Path) -> StandIns:
    folder = tmp_path / "stand-ins"
    folder.mkdir()
    return prepare(folder, models=MODELS)


@pytest.fixture
def client(stand_ins: StandIns) -> Iterator[httpx.Client]:
    """As an agent's program is placed: real names, our authority alone, the detour."""
    trust = ssl.create_default_context(cafile=stand_ins.papers.authority)
    with (
        standing(stand_ins) as port,
        detour(HOSTS, port=port) as way,
        httpx.Client(verify=trust, proxy=way["HTTPS_PROXY"], trust_env=False) as ours,
    ):
        yield ours
