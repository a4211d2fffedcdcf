"""A sweep survives its failures: every test gets an outcome, none stops the next."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.fake_nvml import fake_nvml

from llamatrix.config.cell import Cell
from llamatrix.engines.outcome import (
    ContextTooLarge,
    Crashed,
    Done,
    Invalid,
    Outcome,
    OutOfMemory,
    Stage,
    TimedOut,
)
from llamatrix.engines.protocol import Bench
from llamatrix.engines.registry import ENGINE
from llamatrix.errors import MeasureError
from llamatrix.measure.speed import MeasuredTest, run_sweep

RunFake = Callable[..., list[MeasuredTest]]


@pytest.fixture
def run_fake(
    cells: tuple[Cell, ...],
    fake_program: Callable[[str, str], Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> RunFake:
    """Run the smoke sweep against the fake llama-bench, with wishes for it."""

    def run(timeout_s: int = 60, **wishes: object) -> list[MeasuredTest]:
        monkeypatch.setenv("LLAMATRIX_FAKE_BENCH", json.dumps(wishes))
        weights = tmp_path / "weights" / "tiny.gguf"
        weights.parent.mkdir(exist_ok=True)
        bench = Bench(
            program=fake_program("llama-bench", "llama_bench.py"),
            weights=weights,
            commit=cells[0].locked.commit,
            sweep=msgspec.structs.replace(cells[0].sweep, timeout_s=timeout_s),
            log=tmp_path / "logs" / "cell",
        )
        found: list[MeasuredTest] = []
        run_sweep(bench, cells[0].tests, on_measured=found.append)
        return found

    return run


def outcomes(found: list[MeasuredTest]) -> dict[str, Outcome]:
    return {one.test.name: one.outcome for one in found}


def test_sweep_without_failures_is_one_process_with_every_sample(
    run_fake: RunFake,
) -> None:
    found = run_fake()
    assert [one.test.name for one in found] == ["pp128", "pp512", "pp1024", "tg32"]
    assert len({one.process.id for one in found}) == 1
    for one in found:
        assert isinstance(one.outcome, Done)
        assert one.outcome.result.test == one.test
        assert one.outcome.result.repetitions == 4
        assert len(one.outcome.result.steady) == 3


def test_raw_row_is_kept_unchanged(run_fake: RunFake, tmp_path: Path) -> None:
    found = run_fake()
    (log,) = (tmp_path / "logs").glob("*.log")
    printed = [line for line in log.read_text().splitlines() if line.startswith("{")]
    kept = [
        bytes(one.outcome.result.raw).decode()
        for one in found
        if isinstance(one.outcome, Done)
    ]
    assert kept == printed


@pytest.mark.parametrize(
    ("way", "kind"),
    [
        ("crash", Crashed),
        ("memory", OutOfMemory),
        ("silent-memory", OutOfMemory),
        ("context", ContextTooLarge),
    ],
)
def test_sizes_after_a_failed_one_are_measured(
    run_fake: RunFake, way: str, kind: type
) -> None:
    found = run_fake(fail={"1024": way})
    assert [one.test.name for one in found] == ["pp128", "pp512", "pp1024", "tg32"]
    by_test = outcomes(found)
    assert isinstance(by_test["pp1024"], kind)
    assert isinstance(by_test["pp512"], Done)
    assert isinstance(by_test["tg32"], Done)
    assert len({one.process.id for one in found}) == 2


def test_crash_keeps_signal_and_last_lines(run_fake: RunFake) -> None:
    outcome = outcomes(run_fake(fail={"128": "crash"}))["pp128"]
    assert isinstance(outcome, Crashed)
    assert outcome.exit_code == -signal.SIGABRT
    assert "GGML_ASSERT(false) failed" in outcome.tail


@pytest.mark.parametrize(
    ("size", "way", "stage"),
    [
        ("1024", "loading-memory", Stage.LOADING),
        ("128", "silent-memory", Stage.PREFILL),
        ("1024", "memory", Stage.PREFILL),
        ("32", "memory", Stage.GENERATION),
        ("32", "buried-memory", Stage.GENERATION),
    ],
)
def test_out_of_memory_records_the_stage(
    run_fake: RunFake, size: str, way: str, stage: Stage
) -> None:
    found = run_fake(fail={size: way})
    (failed,) = [one.outcome for one in found if not isinstance(one.outcome, Done)]
    assert isinstance(failed, OutOfMemory)
    assert failed.stage is stage


def test_record_without_a_stage_is_readable() -> None:
    old = b'{"type":"out-of-memory","exit_code":1,"tail":[]}'
    assert msgspec.json.decode(old, type=OutOfMemory).stage is None


def test_telemetry_of_a_gpu_is_kept_beside_every_test(
    run_fake: RunFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = fake_nvml(processes=[(1, 2**30)], energy=0)
    monkeypatch.setitem(sys.modules, "pynvml", library)
    for one in run_fake(fail={"512": "crash"}):
        assert one.telemetry.gpu[-1].power_w == 120.0
        assert one.telemetry.gpu_before[0].used_bytes == 600 * 2**20
        (word,) = one.telemetry.disturbances
        assert word == "other processes on the card: 1, holding 1 GiB"
    assert library.open_count == 0


def test_sample_records_gpu_memory_of_the_process(
    run_fake: RunFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child of ours stands for llama-bench, whose process id nobody knows before."""
    with subprocess.Popen(["sleep", "60"]) as child:
        library = fake_nvml(processes=[(child.pid, 2**30)], energy=0)
        monkeypatch.setitem(sys.modules, "pynvml", library)
        found = run_fake()
        child.kill()
    for one in found:
        assert isinstance(one.outcome, Done)
        assert one.outcome.result.memory_bytes == 2**30


def test_sweep_in_which_every_size_fails_ends(run_fake: RunFake) -> None:
    sizes = ("128", "512", "1024", "32")
    found = run_fake(fail=dict.fromkeys(sizes, "crash"))
    assert len(found) == 4
    assert all(isinstance(one.outcome, Crashed) for one in found)


def test_test_over_its_time_limit_is_ended_and_the_rest_is_measured(
    run_fake: RunFake,
) -> None:
    by_test = outcomes(run_fake(timeout_s=1, fail={"512": "hang"}))
    assert isinstance(by_test["pp512"], TimedOut)
    assert isinstance(by_test["pp1024"], Done)


def test_unreadable_row_invalidates_only_its_test(run_fake: RunFake) -> None:
    by_test = outcomes(run_fake(fail={"512": "garbage"}))
    assert isinstance(by_test["pp512"], Invalid)
    assert isinstance(by_test["pp1024"], Done)


def test_binary_of_another_commit_stops_the_harness(run_fake: RunFake) -> None:
    with pytest.raises(MeasureError, match="reports build deadbeef"):
        run_fake(commit="deadbeef0")


def test_telemetry_is_kept_beside_every_test(run_fake: RunFake) -> None:
    found = run_fake()
    assert len(found) == 4
    for one in found:
        assert one.telemetry.cpu
        assert 0 <= one.telemetry.cpu[0].load_percent <= 100


def test_command_by_hand_is_the_published_one(
    cells: tuple[Cell, ...], tmp_path: Path
) -> None:
    bench = Bench(
        program=Path("/opt/llama-bench"),
        weights=tmp_path / "a.gguf",
        commit="0" * 40,
        sweep=cells[0].sweep,
        log=tmp_path / "log",
    )
    assert ENGINE.manual_command(bench, cells[0].tests).endswith(
        "/opt/llama-bench -m a.gguf -ctk q8_0 -ctv q8_0 -fa 1 -b 2048 -ub 512 "
        "-p 128,512,1024 -n 32 -r 4 -o jsonl --progress"
    )


def test_remaining_tests_without_prompts_request_none(
    cells: tuple[Cell, ...], tmp_path: Path
) -> None:
    bench = Bench(
        program=Path("llama-bench"),
        weights=tmp_path / "a.gguf",
        commit="0" * 40,
        sweep=cells[0].sweep,
        log=tmp_path / "log",
    )
    assert " -p 0 -n 32 " in ENGINE.manual_command(bench, cells[0].tests[-1:])


def test_recorded_data_contains_no_local_path(run_fake: RunFake) -> None:
    found = run_fake()
    assert len(found) == 4
    for one in found:
        text = msgspec.json.encode(one.outcome) + msgspec.json.encode(one.process)
        assert os.fsencode(Path.home()) not in text
        assert b"/tmp" not in text
