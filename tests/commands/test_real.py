"""The real thing on the CPU: sources proven, both pins compiled, all models measured.

What is compiled lies in the user's cache, so a second run takes seconds.
"""

import json
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from tests.commands.conftest import RunInvoke, record_lines
from tests.invoking import invoked_apart
from tests.shipped import CAPTURED, ROOT, shipped_cells
from tests.trials.trying import files_with, states

from llamatrix.commands.bench import bench_of
from llamatrix.config.cell import Cell, SpeedTest
from llamatrix.engines.outcome import Done, OutOfMemory
from llamatrix.engines.protocol import Installed
from llamatrix.engines.registry import ENGINE
from llamatrix.measure.speed import MeasuredTest, run_sweep
from llamatrix.project import Project
from llamatrix.proxy.chat_completions import read_request
from llamatrix.records.store import Store
from llamatrix.records.trial_record import AGENT

pytestmark = [pytest.mark.slow, pytest.mark.network]

ENGINES = shipped_cells("engines")
KEYS = {
    "GEMINI_API_KEY": "planted-gemini-key-0123456789",
    "CONTEXT7_API_KEY": "planted-context7-key-0123456789",
}


@pytest.fixture
def run_real(real_environment: dict[str, str]) -> RunInvoke:
    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return invoked_apart(*arguments, env={**real_environment, **variables})

    return run


def test_the_smoke_profile_ends_with_its_tables_and_is_reused(
    real_project: Project, run_real: RunInvoke
) -> None:
    first = run_real("all", "--full", "--profile", "smoke", **KEYS)
    assert first.returncode == 0, first.stderr
    assert "32 tests measured, 0 reused" in first.stderr
    assert "2 trials made, 0 reused" in first.stderr
    assert "httpx-post #1: correct on turn 1" in first.stderr
    assert "gemini-images #1: correct on turn 2" in first.stderr
    assert "crashed" not in first.stdout
    assert "failed" not in first.stderr
    for title in ("Models", "Prefill Speed", "Generation Speed", "Quick Summary"):
        assert f"### {title}" in first.stdout
    made = record_lines(real_project)
    assert len(made) == 32 + 2
    for absolute in (real_project.cache, real_project.root, Path.home(), ROOT):
        assert not any(str(absolute) in line for line in made)
    (trajectories,) = real_project.records.glob("*/trajectories")
    assert len(list(trajectories.rglob("turn-1/calls/*.request.json"))) >= 2 * 8
    for key in KEYS.values():
        assert files_with(key, real_project.reports) == []
    _the_second_try_was_asked_for_with_what_was_found(real_project)
    second = run_real("all", "--full", "--profile", "smoke")
    assert second.returncode == 0
    assert "nothing measured: all 32 tests reused" in second.stderr
    assert "no trial made: all 2 reused" in second.stderr
    assert second.stdout == first.stdout
    assert record_lines(real_project) == made


def _the_second_try_was_asked_for_with_what_was_found(project: Project) -> None:
    trials = Store(reports=project.reports, kind=AGENT).read_all()
    (trial,) = (one.result for one in trials if one.cell.task == "gemini-images")
    first, second = trial.turns
    assert first.judgement
    assert "failed" in states(first.judgement).values()
    assert set(states(second.judgement).values()) == {"passed"}
    (calls,) = project.records.rglob("gemini-images/**/turn-2/calls")
    request = read_request(max(calls.glob("*.request.json")).read_bytes())
    assert request
    asked = [message.text for message in request.messages if message.role == "user"]
    assert "I checked your work and it is not finished yet." in asked[-1]
    for finding in first.judgement.failed:
        assert finding.reason.splitlines()[0] in asked[-1]


@pytest.mark.parametrize("cell", ENGINES, ids=lambda cell: str(cell.id))
def test_every_pin_loads_and_measures_every_architecture(
    cell: Cell, user_cache: Path, tmp_path: Path
) -> None:
    parts = ENGINE.install(cell, user_cache)
    found = _sweep(cell, parts, tmp_path, (SpeedTest(n_prompt=64, n_gen=0),))
    (outcome,) = (one.outcome for one in found)
    assert isinstance(outcome, Done), outcome
    sample = outcome.result
    assert sample.model_type.startswith(cell.model_key.split("-")[0])
    assert len(sample.steady) == cell.sweep.repetitions


@pytest.mark.parametrize("cell", ENGINES[::4], ids=lambda cell: cell.pin_key)
def test_a_pins_own_output_is_what_was_captured(
    cell: Cell, user_cache: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The keys of each pin's rows, with one row to read; --update-captured renews it."""
    parts = ENGINE.install(cell, user_cache)
    (found,) = _sweep(cell, parts, tmp_path, (SpeedTest(n_prompt=0, n_gen=8),))
    assert isinstance(found.outcome, Done)
    line = bytes(found.outcome.result.raw).decode()
    path = CAPTURED / "llama-bench" / f"{cell.pin_key}.jsonl"
    if request.config.getoption("--update-captured"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(line + "\n")
    kept = json.loads(path.read_text())
    printed = json.loads(line)
    assert list(printed) == list(kept)
    assert [type(value) for value in printed.values()] == [
        type(value) for value in kept.values()
    ]


@pytest.fixture
def little_memory() -> Iterator[Callable[[], None]]:
    """Let the programs that a test starts have 3 GiB of address space each."""
    before = resource.getrlimit(resource.RLIMIT_AS)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("cell", ENGINES[::4], ids=lambda cell: cell.pin_key)
def test_a_context_that_memory_cannot_hold_is_reported_and_the_rest_goes_on(
    cell: Cell,
    user_cache: Path,
    tmp_path: Path,
    little_memory: Callable[[], None],
) -> None:
    parts = ENGINE.install(cell, user_cache)
    sweep = msgspec.structs.replace(cell.sweep, repetitions=1)
    small = msgspec.structs.replace(cell, sweep=sweep)
    tests = (
        SpeedTest(n_prompt=64, n_gen=0),
        SpeedTest(n_prompt=60_000_000, n_gen=0),
        SpeedTest(n_prompt=0, n_gen=8),
    )
    little_memory()
    found = _sweep(small, parts, tmp_path, tests)
    kinds = [type(one.outcome) for one in found]
    assert kinds == [Done, OutOfMemory, Done], found


def test_the_harness_measures_itself(run_real: RunInvoke) -> None:
    ended = run_real("bench-self", "--pairs", "2", "--long-run-s", "2")
    assert ended.returncode == 0, ended.stderr
    for words in (
        *(
            "exact: 32 samples",
            "steady: 24 samples",
            "bias: tg128",
            "harness time per process",
        ),
        *("bytes identical: yes", "harness time per trial: no trial of"),
    ):
        assert words in ended.stdout


def _sweep(
    cell: Cell, parts: Installed, folder: Path, tests: tuple[SpeedTest, ...]
) -> list[MeasuredTest]:
    project = Project(root=folder, cache=folder / "cache")
    found: list[MeasuredTest] = []
    run_sweep(bench_of(cell, parts, project), tests, on_measured=found.append)
    return found


def test_prebuilt_programs_are_measured_by_their_folder(
    real_project: Project, run_real: RunInvoke, user_cache: Path
) -> None:
    """The shared build's own programs, as a distribution would ship them."""
    (folder, *_) = sorted((user_cache / "builds").glob("current-cpu-*/bin"))
    words = ("bench", "--profile", "smoke", "--pin", str(folder))
    ended = run_real(*words, "--cells", "speed/qwen35-27b*")
    assert ended.returncode == 0, ended.stderr
    assert "its source is unproven" in ended.stderr
    lines = [json.loads(line) for line in record_lines(real_project)]
    assert {line["outcome"]["type"] for line in lines} == {"done"}
    assert {line["locked"]["unproven"] for line in lines} == {"binaries"}
    assert str(folder) not in json.dumps(lines)
