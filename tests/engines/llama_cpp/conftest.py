"""A server to start: the fake one, with the shipped matrix' own settings."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.shipped import ROOT

from llamatrix.config.load import load_matrix
from llamatrix.engines.protocol import Launch, Timeouts

SOON = Timeouts(ready_s=20, first_s=5, second_s=5)


@pytest.fixture
def launch(tmp_path: Path, fake_program: Callable[[str, str], Path]) -> Launch:
    matrix = load_matrix(ROOT / "matrix.toml")
    template = tmp_path / "template.jinja"
    template.write_text("{{ messages }}\n")
    return Launch(
        program=fake_program("llama-server", "llama_server.py"),
        weights=tmp_path / "weights.gguf",
        alias="qwen35-27b",
        model=matrix.models["qwen35-27b"],
        server=matrix.servers["published"],
        template=template,
    )


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "server.log"


@pytest.fixture
def mode(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Choose the fake's failure mode."""
    monkeypatch.setenv("LLAMATRIX_FAKE_LLAMA_STATE", str(tmp_path))

    def choose(name: str) -> None:
        monkeypatch.setenv("LLAMATRIX_FAKE_LLAMA_SERVER", name)

    return choose
