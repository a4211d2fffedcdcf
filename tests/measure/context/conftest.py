"""A search on the fake server, with whatever wishes a test has for it."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.shipped import ROOT

from llamatrix.config.load import load_matrix
from llamatrix.engines.protocol import Launch, Timeouts
from llamatrix.measure.context.fill import FillBounds
from llamatrix.measure.context.result import Ceiling, CeilingReason
from llamatrix.measure.context.search import Search, SearchSettings
from llamatrix.provision.weights.fit import MemorySettings, known_shape

Ask = Callable[..., Search]
SOON = Timeouts(ready_s=20, first_s=5, second_s=5)


@pytest.fixture
def launch(tmp_path: Path, fake_program: Callable[[str, str], Path]) -> Launch:
    matrix = load_matrix(ROOT / "matrix.toml")
    return Launch(
        program=fake_program("llama-server", "context_server.py"),
        weights=tmp_path / "weights.gguf",
        alias="qwen35-27b",
        model=matrix.models["qwen35-27b"],
        server=matrix.servers["published"],
    )


@pytest.fixture
def wish(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    monkeypatch.setenv("LLAMATRIX_FAKE_LLAMA_STATE", str(tmp_path))

    def choose(**wishes: object) -> None:
        monkeypatch.setenv("LLAMATRIX_FAKE_CONTEXT", json.dumps(wishes))

    return choose


@pytest.fixture
def settings(launch: Launch, tmp_path: Path) -> SearchSettings:
    return SearchSettings(
        launch=launch,
        shape=known_shape("qwen35-27b"),
        use=MemorySettings(),
        ceiling=Ceiling(tokens=8192, by=CeilingReason.ASKED, budget_bytes=40 * 2**30),
        bounds=FillBounds(min_speed_ratio=0.8, deadline=time.monotonic() + 600),
        on_card=False,
        recall_skipped="",
        log=tmp_path / "logs" / "context.log",
        timeouts=SOON,
    )


@pytest.fixture
def ask(settings: SearchSettings, wish: Callable[..., None]) -> Ask:
    """A search with changes to the settings, and wishes for the server."""

    def make(*, wishes: dict[str, object] | None = None, **changes: object) -> Search:
        wish(**(wishes or {}))
        said: list[str] = []
        return Search(replace(settings, **changes), say=said.append)  # type: ignore[arg-type]

    return make
