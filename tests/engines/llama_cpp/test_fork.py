"""ik_llama.cpp: other flags, and rows as an array of objects on standard error.

The captured rows are of its tree of 2026-04-13, built from the source package.
"""

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from tests.shipped import CAPTURED

from llamatrix.config.cell import Cell, SpeedTest
from llamatrix.config.matrix import Backend
from llamatrix.engines.llama_cpp import llama_bench
from llamatrix.engines.llama_cpp.launch import server_argv
from llamatrix.engines.llama_cpp.output import cache_types, parse_help
from llamatrix.engines.outcome import Crashed, Done, SpeedResult
from llamatrix.engines.protocol import Bench, Launch
from llamatrix.engines.registry import ENGINE
from llamatrix.errors import MeasureError

_MODELS = ("qwen35-27b", "gemma4-26b-a4b")
_TESTS = (
    SpeedTest(n_prompt=32, n_gen=0),
    SpeedTest(n_prompt=64, n_gen=0),
    SpeedTest(n_prompt=0, n_gen=8),
)
_HELP = """
  -no-fmoe, --no-fused-moe        disable fused MoE (default: enabled)
         --fit                    automatically determine which tensors to offload
         --webui NAME             controls which webui to server:
"""


def bench_of(cell: Cell, folder: Path, model: str, tail: str = "") -> Bench:
    """Return a bench of a program that prints what the real one printed."""
    rows = CAPTURED / "llama-bench" / f"ik-{model}.json"
    program = folder / "llama-bench"
    program.write_text(
        f'#!/bin/sh\necho "$@" > {folder}/flags\ncat {rows.with_suffix(".md")}\n'
        f"cat {rows} >&2\n{tail}\n"
    )
    program.chmod(0o755)
    sweep = msgspec.structs.replace(
        cell.sweep,
        warmup_repetitions=1,
        repetitions=1,
        threads=None,
        cache_type_k="q8_0",
        cache_type_v="q8_0",
        batch_size=2048,
        ubatch_size=512,
    )
    return Bench(
        program=program,
        weights=folder / f"{model}.tiny.gguf",
        commit="",
        fork="ik_llama.cpp",
        sweep=sweep,
        backend=Backend.CPU,
        log=folder / "log",
    )


def measured(bench: Bench, tests: tuple[SpeedTest, ...]) -> list[SpeedResult]:
    results: list[SpeedResult] = []
    ENGINE.bench(bench, tests, on_result=results.append, on_progress=lambda _: None)
    return results


@pytest.mark.parametrize("model", _MODELS)
def test_captured_rows_become_samples(
    cells: tuple[Cell, ...], tmp_path: Path, model: str
) -> None:
    """Gemma's debug lines among the table on standard output do no harm."""
    results = measured(bench_of(cells[0], tmp_path, model), _TESTS)
    assert [result.test for result in results] == list(_TESTS)
    for result in results:
        assert isinstance(result.outcome, Done), result.outcome
        sample = result.outcome.result
        assert (sample.backend, sample.build_commit) == ("CPU", "unknown")
        assert len(sample.steady) == 1
    flags = (tmp_path / "flags").read_text()
    assert "-fa 1" in flags
    assert flags.endswith("-o md -oe json\n")


def test_crash_after_some_rows_keeps_them(
    cells: tuple[Cell, ...], tmp_path: Path
) -> None:
    bench = bench_of(cells[0], tmp_path, "qwen35-27b", tail="kill -SEGV $$")
    more = (*_TESTS, SpeedTest(n_prompt=0, n_gen=9))
    outcomes = [result.outcome for result in measured(bench, more)]
    assert [isinstance(outcome, Done) for outcome in outcomes] == [True] * 3 + [False]
    assert isinstance(outcomes[3], Crashed)


def test_depth_is_refused_before_a_process_starts(
    cells: tuple[Cell, ...], tmp_path: Path
) -> None:
    bench = bench_of(cells[0], tmp_path, "qwen35-27b")
    with pytest.raises(MeasureError, match=r"ik_llama\.cpp has no depth"):
        measured(bench, (SpeedTest(n_prompt=32, n_gen=0, n_depth=64),))
    assert not (tmp_path / "flags").exists()


def test_failed_test_is_explained_by_its_own_flags(cells: tuple[Cell, ...]) -> None:
    argv = llama_bench.argv("b", "w", cells[0].sweep, _TESTS, fork="ik_llama.cpp")
    explaining = llama_bench.explaining_argv(argv, _TESTS[0])
    assert explaining[-3:] == ["-w", "0", "-v"]


def test_server_is_started_with_its_own_flags(launch: Launch) -> None:
    capabilities = parse_help(_HELP)
    argv = server_argv(launch, port=1, capabilities=capabilities)
    text = " ".join(argv)
    assert "--context-shift on --webui none --log-disable --jinja --metrics" in text
    for absent in ("--log-verbosity", "--no-context-shift", "--fit off"):
        assert absent not in text
    fitting = replace(launch, server=msgspec.structs.replace(launch.server, fit=True))
    assert server_argv(fitting, port=1, capabilities=capabilities)[-1] == "--fit"


def test_cache_types_are_read_from_its_log() -> None:
    line = (
        "llama_init_from_model: KV self size  =    1.06 MiB, K (q8_0):    0.53 MiB, "
        "V (q4_0):    0.53 MiB"
    )
    (cache,) = cache_types(line)
    assert (cache.k, cache.v) == ("q8_0", "q4_0")
