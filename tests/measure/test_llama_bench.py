"""Rows of every captured pin are read; progress lines are told from the rest."""

from pathlib import Path

import pytest
from tests.shipped import CAPTURED

from llamatrix.measure.llama_bench import parse_progress, parse_row

_ROWS = sorted((CAPTURED / "llama-bench").glob("*.jsonl"))


@pytest.mark.parametrize("path", _ROWS, ids=lambda path: str(path.stem))
def test_a_captured_row_is_read(path: Path) -> None:
    row = parse_row(path.read_bytes().strip())
    assert (row.n_prompt, row.n_gen) == (0, 8)
    assert len(row.samples_ts) == len(row.samples_ns) == 3
    assert row.avg_ts == pytest.approx(sum(row.samples_ts) / 3)


def test_both_pins_that_are_compiled_are_captured() -> None:
    assert [path.stem for path in _ROWS] == ["april", "current"]


def test_progress_lines_tell_the_step() -> None:
    line = "llama-bench: benchmark 1/3: prompt run 2/3"
    assert parse_progress(line) == "prompt run 2/3"
    assert parse_progress("llama_model_loader: loaded meta data") is None
