"""The hub as strangers met it: what is locked is fetched, or refused in one line."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.invoking import invoked_apart
from tests.shipped import FAKES

from llamatrix.config.lock import load_lock
from llamatrix.project import Project

_SHA256 = "177053a55361e1ee482c55589bf09bdf50037d6c7c9ddbe56edd12a062d86c72"


@contextmanager
def hub(way: str) -> Iterator[str]:
    with subprocess.Popen(
        [sys.executable, str(FAKES / "field_hub.py"), way],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.terminate()


class Fetch:
    """`invoke weights` on a fresh cache of the hub's, at each call."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        self.env, self.folder, self.count = env, folder, 0

    def __call__(self, way: str) -> subprocess.CompletedProcess[str]:
        self.count += 1
        with hub(way) as endpoint:
            return invoked_apart(
                *("weights", "--profile", "hub"),
                env=self.env
                | {
                    "HF_ENDPOINT": endpoint,
                    "HF_HOME": str(self.folder / f"hf{self.count}"),
                    "NO_PROXY": "127.0.0.1,localhost",
                },
            )


@pytest.fixture
def fetch(asking: Project, invoke_environment: dict[str, str], tmp_path: Path) -> Fetch:
    del asking
    return Fetch(invoke_environment, tmp_path)


def test_a_renamed_repository_is_followed(fetch: Fetch, asking: Project) -> None:
    """huggingface/hf-hub#103, huggingface/huggingface_hub#981."""
    ended = fetch("renamed")
    assert ended.returncode == 0, ended.stderr
    (locked,) = load_lock(asking.lock_file).weights.values()
    assert locked.sha256 == _SHA256


def test_a_locked_revision_outlives_what_the_hub_shows_now(
    fetch: Fetch, asking: Project
) -> None:
    """HilbertraumAI/HilbertRaum#196 and #201."""
    assert fetch("fine").returncode == 0
    before = asking.lock_file.read_bytes()
    assert fetch("removed").returncode == 0
    reuploaded = fetch("reuploaded")
    assert reuploaded.returncode == 3
    *_, line = reuploaded.stderr.splitlines()
    assert _SHA256 in line
    assert "nothing was fetched" in line
    squashed = fetch("squashed")
    assert squashed.returncode == 3
    *_, line = squashed.stderr.splitlines()
    assert "`invoke lock`" in line
    assert "--weights-dir" in line
    assert asking.lock_file.read_bytes() == before
