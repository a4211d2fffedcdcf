"""The self-test tells a kept promise from a broken one; its shim does what it says."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.commands.regress.conftest import ONE_CELL
from tests.commands.regress.found import found_of

from llamatrix import shell
from llamatrix.commands.flags import RegressFlags
from llamatrix.commands.regress_selftest import (
    Scenario,
    broken_by,
    broken_promises,
    run_scenario,
    samples_of,
)
from llamatrix.compare import shim
from llamatrix.compare.run import TimingComparison
from llamatrix.measure.disturbances import Load, Mark
from llamatrix.project import Project
from llamatrix.stats.simulation import Design, Noise, Score, scoreboard
from llamatrix.stats.verdict import Verdict

_AA = Scenario(name="A/A")
_SLOW = Scenario(name="one thread", way="threads", amount="1")
_ABORTS = Scenario(name="aborts", way="abort")


class Quiet:
    def mark(self) -> Mark:
        return Mark(total_s=0, busy_s=0, stolen_s=0, own_s=0, throttled=0)

    def since(self, begin: Mark) -> Load:
        assert begin.total_s == 0
        return Load()


FLAGS = RegressFlags(
    baseline="current",
    candidate="current",
    cells=ONE_CELL,
    budget="10m",
    max_background_load=100.0,
    profile="engines",
    metric="tg",
)


def run(project: Project, scenario: Scenario, folder: Path) -> TimingComparison:
    return run_scenario(scenario, folder, project=project, flags=FLAGS, watch=Quiet())


def test_build_against_itself_is_the_same_and_its_noise_is_measured(
    pins: Project, tmp_path: Path
) -> None:
    folder = tmp_path / "aa"
    found = run(pins, _AA, folder)
    assert found.verdict is Verdict.SAME
    assert not list(broken_by(_AA, found))
    assert found.identical
    (processes,) = samples_of(folder).values()
    assert len(processes) == 10
    assert all(len(samples) > 1 for samples in processes)
    assert not (pins.reports / "regress").exists()


def test_a_candidate_that_aborts_is_called_broken(
    pins: Project, tmp_path: Path
) -> None:
    found = run(pins, _ABORTS, tmp_path / "aborts")
    assert found.verdict is Verdict.BROKEN
    assert not found.identical
    assert not list(broken_by(_ABORTS, found))


def test_the_shim_hands_over_fewer_threads(pins: Project, tmp_path: Path) -> None:
    folder = tmp_path / "threads"
    run(pins, _SLOW, folder)
    bare, ours = (_play(folder, pins, name) for name in ("bare", "shim"))
    assert ours.out == bare.out.replace("\n", " -t 1\n")


def test_the_shim_pauses_and_keeps_output_and_exit_code() -> None:
    script = "print('said'); raise SystemExit(3)"
    ended = shell.run(
        [
            *(sys.executable, "-I", "-S", str(shim.__file__)),
            *(sys.executable, "pause", "0.2", "-c", script),
        ],
        timeout_s=60,
    )
    assert (ended.returncode, ended.out) == (3, "said\n")


@pytest.mark.parametrize(
    ("scenario", "ratio", "verdict", "broken"),
    [
        (_AA, 1.0, Verdict.SAME, False),
        (_AA, 1.0, Verdict.INCONCLUSIVE, False),
        (_AA, 0.9, Verdict.SLOWER, True),
        (_AA, 1.1, Verdict.FASTER, True),
        (_SLOW, 0.5, Verdict.SLOWER, False),
        (_SLOW, 0.97, Verdict.INCONCLUSIVE, False),
        (_SLOW, 0.5, Verdict.INCONCLUSIVE, True),
        (_SLOW, 1.1, Verdict.FASTER, True),
        (_SLOW, 0.5, Verdict.BROKEN, True),
        (_ABORTS, 1.0, Verdict.INCONCLUSIVE, True),
    ],
)
def test_a_real_run_must_not_say_what_is_known_to_be_wrong(
    scenario: Scenario, ratio: float, verdict: Verdict, *, broken: bool
) -> None:
    assert bool(list(broken_by(scenario, found_of(ratio, verdict)))) is broken


def test_promises_hold_at_the_stated_noise() -> None:
    scores = scoreboard(noise=Noise(), runs=400)
    assert not list(broken_promises(scores, stated=True))


@pytest.mark.parametrize(
    "change",
    [{"slower": 0.5, "true_loss": 0.03}, {"coverage": 0.85}, {"faster": 0.2}],
)
def test_a_broken_promise_is_named(change: dict[str, float]) -> None:
    kept = Score(
        design=Design.PAIRED,
        true_loss=0.0,
        runs=1000,
        slower=0.0,
        faster=0.0,
        same=1.0,
        inconclusive=0.0,
        coverage=0.95,
        claimed_coverage=None,
        mean_per_arm=5.0,
    )
    assert not list(broken_promises([kept], stated=True))
    (said,) = broken_promises([replace(kept, **change)], stated=True)  # type: ignore[arg-type]
    assert str(Design.PAIRED) in said
    peer = replace(kept, design=Design.WELCH, **change)  # type: ignore[arg-type]
    assert not list(broken_promises([peer], stated=True))


def test_power_is_promised_at_the_stated_noise_alone() -> None:
    scores = scoreboard(noise=Noise(between_sd=0.1), runs=400)
    assert not list(broken_promises(scores, stated=False))
    assert list(broken_promises(scores, stated=True))


def _play(folder: Path, project: Project, name: str) -> shell.Ended:
    """Put a program that says its arguments behind the shim, or start it bare."""
    said = folder / "echo"
    said.write_text('#!/bin/sh\necho "$@"\n')
    said.chmod(0o755)
    shimmed = folder / "shim" / "bin" / "llama-bench"
    text = shimmed.read_text()
    if name == "shim":
        (program,) = (
            verdict for verdict in text.split() if str(project.cache) in verdict
        )
        shimmed.write_text(text.replace(program, str(said)))
    path = shimmed if name == "shim" else said
    return shell.run([str(path), "-p", "512"], timeout_s=60)
