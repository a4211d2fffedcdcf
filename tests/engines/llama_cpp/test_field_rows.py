"""Rows from bug reports: a good one is kept, a bad one invalidates only its own test."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from tests.shipped import FAKES

from llamatrix.config.cell import Cell
from llamatrix.config.matrix import Backend
from llamatrix.engines.outcome import Crashed, Done, Invalid, Outcome
from llamatrix.engines.protocol import Bench
from llamatrix.measure.speed import MeasuredTest, run_sweep

Sweep = Callable[[str], dict[str, Outcome]]
_TESTS = ("pp128", "pp512", "pp1024", "tg32")


@pytest.fixture
def bench(cells: tuple[Cell, ...], tmp_path: Path) -> Bench:
    program = tmp_path / "bin" / "llama-bench"
    program.parent.mkdir()
    shutil.copy(FAKES / "field_bench.py", program)
    program.chmod(0o755)
    return Bench(
        program=program,
        weights=tmp_path / "tiny.gguf",
        commit=cells[0].locked.commit,
        sweep=cells[0].sweep,
        backend=Backend.CPU,
        log=tmp_path / "logs" / "cell",
    )


@pytest.fixture
def swept(bench: Bench, cells: tuple[Cell, ...]) -> Sweep:
    """Run the smoke sweep in one of the fake's modes."""

    def run(way: str) -> dict[str, Outcome]:
        (bench.program.parent / "way").write_text(way)
        found: list[MeasuredTest] = []
        run_sweep(bench, cells[0].tests, on_measured=found.append)
        assert sorted(one.test.name for one in found) == sorted(_TESTS)
        return {one.test.name: one.outcome for one in found}

    return run


@pytest.mark.parametrize("way", ["", "banner", "cold", "twice"])
def test_harmless_output_is_accepted(swept: Sweep, way: str) -> None:
    found = swept(way)
    assert all(isinstance(outcome, Done) for outcome in found.values())


def test_samples_of_cold_start_are_kept(swept: Sweep) -> None:
    outcome = swept("cold")["tg32"]
    assert isinstance(outcome, Done)
    assert outcome.result.tokens_per_second == pytest.approx((3.51, 58.5, 58.5, 58.5))


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("null", "unreadable row"),
        ("zero", "unreadable row"),
        ("negative", "unreadable row"),
        ("uneven", "unreadable row"),
        ("infinite", "unreadable row"),
        ("few", "1 samples where 4 were asked"),
        ("many", "8 samples where 4 were asked"),
        ("slow", "tokens/s are not 128 tokens in"),
        ("mean", "avg_ts is 1170.0, its samples' mean 585"),
        ("model", "model_filename is 'another.gguf' where 'tiny.gguf' was asked"),
        ("cache", "type_k is 'f16' where 'q8_0' was asked"),
        ("values", "type_v is 'q4_0' where 'q8_0' was asked"),
        ("batch", "n_batch is 512 where 2048 was asked"),
        ("ubatch", "n_ubatch is 64 where 512 was asked"),
        ("attention", "flash_attn is 0 where True was asked"),
        ("depth", "no row of pp128 came before that of pp512"),
        ("card", "computed on NVIDIA H200 by a build for the CPU"),
        ("vulkan", "computed on Vulkan by a build for the CPU"),
        ("strange", "no row of pp128 came before that of pp512"),
    ],
)
def test_mismatched_row_invalidates_only_its_test(
    swept: Sweep, way: str, reason: str
) -> None:
    first, *others = swept(way).values()
    assert isinstance(first, Invalid)
    assert reason in first.reason
    assert all(isinstance(outcome, Done) for outcome in others)


def test_missing_row_invalidates_only_its_test(swept: Sweep) -> None:
    found = swept("skips")
    assert isinstance(found.pop("pp512"), Invalid)
    assert all(isinstance(outcome, Done) for outcome in found.values())


def test_crash_after_last_row_is_a_failure(swept: Sweep) -> None:
    found = swept("crash-at-the-end")
    last = found.pop("tg32")
    assert isinstance(last, Crashed)
    assert "illegal memory access" in " ".join(last.tail)
    assert all(isinstance(outcome, Done) for outcome in found.values())


@pytest.mark.parametrize("way", ["", "vulkan"])
def test_cuda_build_that_computed_on_cpu_is_invalid(
    bench: Bench, cells: tuple[Cell, ...], way: str
) -> None:
    (bench.program.parent / "way").write_text(way)
    found: list[MeasuredTest] = []
    on_card = replace(bench, backend=Backend.CUDA)
    run_sweep(on_card, cells[0].tests[:1], on_measured=found.append)
    (one,) = found
    assert isinstance(one.outcome, Invalid)
    assert "computed on the CPU by a build for CUDA" in one.outcome.reason


def test_shell_variable_reaches_program_only_if_declared(
    bench: Bench, cells: tuple[Cell, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """ggml-org/llama.cpp#28404: set to nothing by accident, 58.5 became 52.1."""
    (bench.program.parent / "way").write_text("graphs")
    monkeypatch.setenv("GGML_CUDA_DISABLE_GRAPHS", "")

    def speed(bench: Bench) -> float:
        found: list[MeasuredTest] = []
        run_sweep(bench, cells[0].tests[-1:], on_measured=found.append)
        assert isinstance(found[0].outcome, Done)
        return found[0].outcome.result.published_tps

    assert speed(bench) == pytest.approx(58.5)
    env = {"GGML_CUDA_DISABLE_GRAPHS": "1"}
    sweep = msgspec.structs.replace(bench.sweep, env=env)
    assert speed(replace(bench, sweep=sweep)) == pytest.approx(52.1)
