"""Rows and progress lines of every captured pin are parsed."""

import json
from pathlib import Path

import pytest
from tests.shipped import CAPTURED

from llamatrix.config.cell import SpeedTest
from llamatrix.engines.llama_cpp.llama_bench import parse_progress, parse_row

_ROWS = sorted((CAPTURED / "llama-bench").glob("*.jsonl"))


@pytest.mark.parametrize("path", _ROWS, ids=lambda path: str(path.stem))
def test_captured_row_is_parsed(path: Path) -> None:
    line = path.read_bytes().strip()
    sample = parse_row(line)
    assert sample.test == SpeedTest(n_prompt=0, n_gen=8)
    assert sample.tokens == (8, 8, 8)
    assert len(sample.nanoseconds) == sample.repetitions == 3
    assert sample.published_tps == pytest.approx(sum(sample.tokens_per_second) / 3)
    assert (sample.depth_tokens, sample.concurrency, sample.backend) == (0, 1, "CPU")
    assert sample.device
    assert bytes(sample.raw) == line


@pytest.mark.parametrize(
    "changes",
    [
        {"samples_ts": [], "samples_ns": []},
        {"samples_ts": [1.0, 2.0]},
        {"samples_ts": [0.0, 1.0, 1.0]},
        {"samples_ns": [-5, 1, 1]},
        {"avg_ts": 0},
        {"n_prompt": 0, "n_gen": 0},
        {"n_gen": "128"},
    ],
)
def test_row_without_measurement_is_refused(changes: dict[str, object]) -> None:
    row = json.loads(_ROWS[0].read_bytes()) | changes
    with pytest.raises(ValueError, match=r"repetitions|Expected"):
        parse_row(json.dumps(row))


def test_both_pins_that_are_compiled_are_captured() -> None:
    assert [path.stem for path in _ROWS] == ["april", "current"]


def test_progress_lines_name_the_step() -> None:
    line = "llama-bench: benchmark 1/3: prompt run 2/3"
    assert parse_progress(line) == "prompt run 2/3"
    assert parse_progress("llama_model_loader: loaded meta data") is None
