"""`invoke regress-selftest`: the verdict tried on what is known, real and made up."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from llamatrix.commands.regress.arms import METRICS
from llamatrix.commands.regress.promises import simulate_designs, simulate_promises
from llamatrix.commands.regress.request import BUDGET_S
from llamatrix.commands.regress.scenario import (
    Scenario,
    Setting,
    run_scenario,
    samples_of,
)
from llamatrix.config.load import load_matrix
from llamatrix.errors import BenchError
from llamatrix.measure.disturbances import TOLERATED_PERCENT
from llamatrix.progress import say
from llamatrix.project import find_project
from llamatrix.report.regress import Regression, regress_text
from llamatrix.stats.simulation import measured_noise
from llamatrix.stats.verdict import Metric, Verdict

_BEYOND = 0.03
_AA = Scenario(name="A/A")
_SLOW = (
    Scenario(name="one thread", way="threads", amount="1"),
    Scenario(name="stopped 30 % of the time", way="pause", amount="0.3"),
)
_BROKEN = Scenario(name="aborts", way="abort")


class SelftestError(BenchError):
    """A promise of the verdict was broken: exit code 1."""


def selftest(*, quick: bool, simulate: bool) -> None:
    """Print what was promised and what was seen; SelftestError where they differ.

    `simulate` leaves the real runs out: what is left is the same on every machine.
    """
    runs = 2000 if quick else 10_000
    broken = [] if simulate else _measured(quick=quick, runs=runs)
    broken += simulate_promises(runs=runs)
    if broken:
        raise SelftestError("\n".join([f"promises broken: {len(broken)}", *broken]))
    print("\nall promises kept")


def _measured(*, quick: bool, runs: int) -> list[str]:
    """Run real comparisons, then simulate with the noise that they show."""
    with tempfile.TemporaryDirectory(prefix="llamatrix-regress-") as name:
        setting = _setting(quick=quick)
        broken = [*_real(setting, Path(name), rounds=1 if quick else 3)]
        measured = samples_of(Path(name) / folder_name(_AA, 1))
    for case, processes in measured.items():
        where = f"measured here, {case}, {len(processes)} processes"
        noise = measured_noise(processes)
        broken += simulate_designs(noise, where, runs, stated=False)
    if not measured:
        print("\nnoise of this host: too few processes ran to measure it")
    return broken


def broken_by(scenario: Scenario, found: Regression) -> Iterator[str]:
    """What a real run said that it must not say of what is known."""
    for cell in found.overall.cells:
        where = f"{scenario.name}: {cell.id}: {cell.verdict}"
        match scenario.way:
            case "":
                if cell.verdict not in {Verdict.SAME, Verdict.INCONCLUSIVE}:
                    yield f"{where}, but both arms are the same"
            case "abort":
                if cell.verdict is not Verdict.BROKEN:
                    yield f"{where}, but the candidate aborts"
            case _:
                if cell.verdict in {Verdict.FASTER, Verdict.BROKEN}:
                    yield f"{where}, but the candidate is slower"
                effect, seen = found.smallest_effect(cell), cell.comparison.estimate
                plain = effect is not None and seen and 1 - seen.ratio > 2 * effect
                if plain and cell.verdict is not Verdict.SLOWER:
                    yield f"{where}, though the loss is twice what could be seen"


def _setting(*, quick: bool) -> Setting:
    project = find_project()
    matrix = load_matrix(project.matrix_file)
    pin = list(matrix.pins)[-1]
    model = next(iter(matrix.models))
    return Setting(
        project=project,
        pin=pin,
        cells=f"*{model}*",
        budget_s=60.0 if quick else BUDGET_S / 4,
        tolerated_percent=TOLERATED_PERCENT,
        metrics=(Metric.PROMPT,) if quick else METRICS,
    )


def _real(setting: Setting, folder: Path, *, rounds: int) -> Iterator[str]:
    plan = [(_AA, number) for number in range(1, rounds + 1)]
    plan += [(one, 1) for one in (*_SLOW, _BROKEN)]
    claims = comparisons = 0
    wall_s = processes_s = 0.0
    for scenario, number in plan:
        say(f"self-test: {scenario.name} {number}")
        found = run_scenario(setting, scenario, folder / folder_name(scenario, number))
        print(f"\n## {scenario.name}\n\n{regress_text(found).rstrip()}")
        yield from broken_by(scenario, found)
        if not scenario.way:
            words = [cell.verdict for cell in found.overall.cells]
            claims += sum(word in {Verdict.SLOWER, Verdict.FASTER} for word in words)
            comparisons += len(words)
        wall_s += found.timing.wall_s
        processes_s += found.timing.processes_s
    print(f"\nreal A/A: {claims} false alarms in {comparisons} comparisons")
    beyond = 1 - processes_s / wall_s
    print(
        f"wall time beyond the measured processes: {beyond:.1%} of {wall_s:.0f} s (at "
        f"most {_BEYOND:.0%})"
    )
    if beyond > _BEYOND:
        yield f"wall time beyond the measured processes: {beyond:.1%}"


def folder_name(scenario: Scenario, number: int) -> str:
    return f"{scenario.way or 'same'}-{number}"
