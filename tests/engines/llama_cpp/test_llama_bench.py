"""Rows and progress lines of every captured pin are parsed."""

import json
from pathlib import Path

import msgspec
import pytest
from tests.shipped import CAPTURED, ROOT

from llamatrix.config.cell import SpeedTest
from llamatrix.config.load import load_matrix
from llamatrix.config.matrix import SplitMode
from llamatrix.engines.llama_cpp.llama_bench import (
    argv,
    one_process,
    parse_progress,
    parse_row,
)

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


def test_placement_keys_become_flags() -> None:
    sweep = msgspec.structs.replace(
        load_matrix(ROOT / "matrix.toml").sweeps["smoke"],
        n_cpu_moe=4,
        override_tensor=("ffn_up=CPU", "ffn_down=CUDA0"),
        no_kv_offload=True,
        split_mode=SplitMode.ROW,
        tensor_split=(3.0, 1.0),
        main_gpu=1,
    )
    tests = [SpeedTest(n_prompt=8, n_gen=0, n_depth=depth) for depth in (0, 64)]
    words = argv("llama-bench", "x.gguf", sweep, tests)
    flags = dict(zip(words[1::2], words[2::2], strict=False))
    assert flags["-d"] == "0,64"
    assert flags["-p"] == "8"
    assert (flags["-ncmoe"], flags["-nkvo"], flags["-sm"]) == ("4", "1", "row")
    assert (flags["-ot"], flags["-ts"], flags["-mg"]) == (
        *("ffn_up=CPU;ffn_down=CUDA0", "3/1", "1"),
    )


def test_sizes_that_a_failure_left_at_one_depth_run_alone() -> None:
    pp, tg = SpeedTest(n_prompt=8, n_gen=0), SpeedTest(n_prompt=0, n_gen=8)
    deep = [msgspec.structs.replace(test, n_depth=64) for test in (pp, tg)]
    assert one_process([pp, tg, *deep]) == [pp, tg, *deep]
    assert one_process([tg, *deep]) == [tg]
    assert one_process(deep) == deep
