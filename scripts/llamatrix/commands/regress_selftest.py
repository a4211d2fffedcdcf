"""`invoke regress-selftest`: the verdict tried on what is known, real and simulated."""

import math
import shlex
import shutil
import stat
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llamatrix.commands.flags import RegressFlags, SelftestFlags
from llamatrix.commands.regress import compare_benches
from llamatrix.compare import shim
from llamatrix.compare.ledger import WARM_UP
from llamatrix.compare.run import BUDGET_S, TimingComparison
from llamatrix.config.cell import Cell
from llamatrix.config.load import load_matrix
from llamatrix.engines.protocol import Installed
from llamatrix.engines.registry import ENGINE
from llamatrix.errors import BenchError, ReportError
from llamatrix.measure.disturbances import Watch
from llamatrix.progress import say
from llamatrix.project import Project, find_project
from llamatrix.provision.integrity import record_entry
from llamatrix.records.pair_records import SPEED_PAIRS, SpeedRun
from llamatrix.records.store import Store
from llamatrix.report.comparison import comparison_text
from llamatrix.report.render.markdown import markdown
from llamatrix.report.table import Table, numbers
from llamatrix.stats.bisection import simulate_search
from llamatrix.stats.intervals import ALPHA
from llamatrix.stats.pairs import Arm
from llamatrix.stats.power import POWER
from llamatrix.stats.simulation import (
    Design,
    Noise,
    Rate,
    Score,
    headline_coverage,
    measured_noise,
    power_of_smallest_effect,
    rounded_coverage,
    score,
    scoreboard,
)
from llamatrix.stats.verdict import Metric, Verdict

_BEYOND = 0.03
_ENOUGH = 4
"""Processes that noise can be estimated from."""
_OURS = {Design.PAIRED, Design.LOOKS}
_KNOWN_SLOW = (0.03, 0.05, 0.10)
_SLOWER = 0.9
_CHANCE = 4.0
"""Standard errors that a simulated share may lie off its nominal value."""
_COLD_DRIFT = 0.04
"""As in the study of designs that ours was chosen by."""
_NOISES = (0.007, 0.02, 0.03, 0.07, 0.12)
_LOSSES = (0.0, 0.01, 0.02, 0.03, 0.05, 0.10)
_COVERAGE = 1 - ALPHA
_HEADLINE_COVERAGE = 0.94
_CORRELATIONS = (0.0, 0.5, 0.9)
_SESSIONS = (1, 3)
_PAIRS = (3, 5, 8, 12)
_CYCLES = (0.02, 0.04)
_STEPS = (0.02, 0.1, 0.3, 0.5, 1.0, 2.0)
"""Noise in steps of rounding."""
_COMMITS, _PLANTED, _PROCESS_NOISE = 32, 0.10, 0.02
_MOST_BUILDS = 6
"""That a search of the commits compares with the good end, the bad end among them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """What is done to the candidate; the baseline is always bare."""

    name: str
    way: str = ""
    """Of `shim.py`; empty leaves the candidate bare: an A/A run."""
    amount: str = "0"


_AA = Scenario(name="A/A")
_SLOW = (
    Scenario(name="one thread", way="threads", amount="1"),
    Scenario(name="stopped 30 % of the time", way="pause", amount="0.3"),
)
_BROKEN = Scenario(name="aborts", way="abort")


class SelftestError(BenchError):
    """The verdict broke a promise: exit code 1."""


def selftest(flags: SelftestFlags) -> None:
    """Print what was promised and what was seen; SelftestError where they differ.

    `--simulate` leaves the real runs out: what is left is the same on every machine.
    """
    runs = 2000 if flags.quick else 10_000
    broken = [] if flags.simulate else _measured(quick=flags.quick, runs=runs)
    broken += simulate_promises(runs=runs)
    if broken:
        raise SelftestError("\n".join([f"promises broken: {len(broken)}", *broken]))
    print("\nall promises kept")


def _measured(*, quick: bool, runs: int) -> list[str]:
    """Run real comparisons, then simulate with the noise that they show."""
    project = find_project()
    matrix = load_matrix(project.matrix_file)
    pin, model = list(matrix.pins)[-1], next(iter(matrix.models))
    flags = RegressFlags(
        baseline=pin,
        candidate=pin,
        cells=f"*{model}*",
        budget="60s" if quick else f"{BUDGET_S / 4:.0f}s",
        metric=str(Metric.PROMPT) if quick else "",
    )
    with tempfile.TemporaryDirectory(prefix="llamatrix-regress-") as name:
        rounds = 1 if quick else 3
        broken = [*_real(project, flags, Path(name), rounds=rounds)]
        measured = samples_of(Path(name) / _folder_name(_AA, 1))
    for case, processes in measured.items():
        where = f"measured here, {case}, {len(processes)} processes"
        noise = measured_noise(processes)
        broken += simulate_designs(noise, where, runs, stated=False)
    if not measured:
        print("\nnoise of this host: too few processes ran to measure it")
    return broken


def _real(
    project: Project, flags: RegressFlags, folder: Path, *, rounds: int
) -> Iterator[str]:
    plan = [(_AA, number) for number in range(1, rounds + 1)]
    plan += [(kind, 1) for kind in (*_SLOW, _BROKEN)]
    claims = comparisons = 0
    wall_s = processes_s = 0.0
    for scenario, number in plan:
        say(f"self-test: {scenario.name} {number}")
        own = folder / _folder_name(scenario, number)
        result = run_scenario(scenario, own, project=project, flags=flags)
        print(f"\n## {scenario.name}\n\n{comparison_text(result).rstrip()}")
        yield from broken_by(scenario, result)
        if not scenario.way:
            verdicts = [cell.verdict for cell in result.judgement.cells]
            claims += sum(
                verdict in {Verdict.SLOWER, Verdict.FASTER} for verdict in verdicts
            )
            comparisons += len(verdicts)
        wall_s += result.wall_s
        processes_s += result.processes_s
    print(f"\nreal A/A: {claims} false alarms in {comparisons} comparisons")
    beyond = 1 - processes_s / wall_s
    print(
        f"wall time beyond the measured processes: {beyond:.1%} of {wall_s:.0f} s (at "
        f"most {_BEYOND:.0%})"
    )
    if beyond > _BEYOND:
        yield f"wall time beyond the measured processes: {beyond:.1%}"


def _folder_name(scenario: Scenario, number: int) -> str:
    return f"{scenario.way or 'same'}-{number}"


def run_scenario(
    scenario: Scenario,
    folder: Path,
    *,
    project: Project,
    flags: RegressFlags,
    watch: Watch | None = None,
) -> TimingComparison:
    """Run one comparison with a ledger of its own under `folder`."""
    folder.mkdir(parents=True)
    for file in (project.matrix_file, project.lock_file):
        shutil.copyfile(file, folder / file.name)

    def provide(arm: Arm, cell: Cell, project: Project) -> Installed:
        parts = ENGINE.install(cell, project.cache)
        if arm is Arm.BASELINE or not scenario.way:
            return parts
        path = folder / "shim" / "bin" / "llama-bench"
        path.parent.mkdir(parents=True, exist_ok=True)
        words = [
            *(sys.executable, "-I", "-S", str(Path(shim.__file__))),
            *(str(parts.built.program(path.name)), scenario.way, scenario.amount),
        ]
        path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        record_entry(folder / "shim")
        return replace(parts, built=replace(parts.built, folder=folder / "shim"))

    result = compare_benches(
        flags,
        project=Project(root=folder, cache=project.cache),
        provide=provide,
        watch=watch,
    )
    if result is None:
        raise ReportError(f"{scenario.name}: no comparison came of it")
    return replace(result, identical=not scenario.way)


def broken_by(scenario: Scenario, result: TimingComparison) -> Iterator[str]:
    """Yield each verdict of a real run that contradicts what is known."""
    for cell in result.judgement.cells:
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
                cells = len(result.judgement.cells)
                effect = cell.comparison.smallest_effect(cells=cells)
                seen = cell.comparison.estimate
                plain = effect is not None and seen and 1 - seen.ratio > 2 * effect
                if plain and cell.verdict is not Verdict.SLOWER:
                    yield f"{where}, though the loss is twice what could be detected"


def samples_of(folder: Path) -> dict[str, list[tuple[float, ...]]]:
    """By cell: the samples of every process of a run that gave two or more.

    Warm-up processes are left out, since they are cold on purpose, and disturbed ones
    where enough others are left.
    """
    by_case: dict[str, list[SpeedRun]] = defaultdict(list)
    for run in Store(reports=folder / "reports", kind=SPEED_PAIRS).read_all():
        if run.pair != WARM_UP and len(run.samples) > 1:
            by_case[run.case].append(run)
    samples = {}
    for case, runs in by_case.items():
        quiet = [run for run in runs if not run.disturbed]
        kept = quiet if len(quiet) >= _ENOUGH else runs
        if len(kept) >= _ENOUGH:
            samples[case] = [run.samples for run in kept]
    return samples


def simulate_promises(*, runs: int) -> Iterator[str]:
    """Print a table for each promise; yield each that does not hold.

    `runs` is the number of runs behind a cheap figure; costly ones take fewer.
    """
    yield from simulate_designs(Noise(), "stated for a quiet card", runs)
    _print_cold(runs)
    yield from _coverage(runs)
    yield from _power(runs // 10)
    yield from _headlines(runs // 4)
    yield from _cycles(runs)
    yield from _rounding(runs)
    yield from _searches(runs // 20)


def simulate_designs(
    noise: Noise, where: str, runs: int, *, stated: bool = True
) -> list[str]:
    """Print all designs at one noise; return the promises of ours that do not hold."""
    scores = scoreboard(noise=noise, runs=runs)
    print(f"\n{markdown(scoreboard_table(scores, noise, where))}")
    return list(broken_promises(scores, stated=stated))


def broken_promises(scores: Sequence[Score], *, stated: bool) -> Iterator[str]:
    """What the simulation shows of ours that was promised otherwise.

    Power is promised at the stated noise alone: no rule sees 3 % through 10 %.
    """
    for each in scores:
        if each.design not in _OURS:
            continue
        where = f"simulated, {each.design}, true loss {each.true_loss:.0%}"
        alarms = Rate(share=each.false_alarms or 0.0, runs=each.runs)
        if alarms.exceeds(ALPHA, chance=_CHANCE):
            yield f"{where}: false alarms {alarms.share:.1%}"
        known = each.coverage is not None
        coverage = Rate(share=each.coverage or 0.0, runs=each.runs)
        if known and coverage.misses(1 - ALPHA, chance=_CHANCE):
            yield f"{where}: coverage {coverage.share:.1%}"
        if stated and each.true_loss in _KNOWN_SLOW and each.slower < _SLOWER:
            yield f"{where}: called SLOWER in {each.slower:.1%}"


def _print_cold(runs: int) -> None:
    """What becomes of the designs where nobody warms the machine: no promise of ours."""
    cold = Noise(drift=_COLD_DRIFT)
    scores = scoreboard(noise=cold, losses=(0.0,), runs=runs)
    where = f"a cold machine, {_COLD_DRIFT:.0%} faster at first"
    print(f"\n{markdown(scoreboard_table(scores, cold, where))}")


def _coverage(runs: int) -> Iterator[str]:
    rows: list[tuple[str, ...]] = []
    for noise in _NOISES:
        for place, loss in enumerate(_LOSSES):
            row = [percent(noise), percent(loss)]
            for design in (Design.LOOKS, Design.PAIRED):
                design_score = score(
                    design,
                    noise=Noise(between_sd=noise),
                    true_loss=loss,
                    runs=runs,
                    seed=len(rows) * len(_LOSSES) + place,
                )
                rate = Rate(share=design_score.coverage or 0.0, runs=runs)
                claimed = design_score.claimed_coverage
                row += [rate.text, claimed.text if claimed else "–"]
                if rate.misses(_COVERAGE):
                    yield (
                        f"coverage of the interval, {design}, noise {noise:.1%}, loss "
                        f"{loss:.0%}: {rate.share:.1%}"
                    )
            rows.append(tuple(row))
    _print(
        f"Coverage of the interval that is printed (promised: {_COVERAGE:.0%}; given a "
        "claim: not promised)",
        ("Noise", "True loss", "Looks", "given a claim", "One look", "given a claim"),
        rows,
    )


def _power(runs: int) -> Iterator[str]:
    rows: list[tuple[str, ...]] = []
    for pairs in _PAIRS:
        for noise in _NOISES:
            rate = power_of_smallest_effect(
                sd_log=math.sqrt(2) * noise, pairs=pairs, alpha=ALPHA / 3, runs=runs
            )
            rows.append((str(pairs), percent(noise), rate.text))
            if rate.misses(POWER):
                yield (
                    f"power at the smallest effect, {pairs} pairs, noise {noise:.1%}: "
                    f"{rate.share:.1%}"
                )
    _print(
        f"A true loss of the smallest effect is called SLOWER (stated: {POWER:.0%})",
        ("Pairs", "Noise", "Called"),
        rows,
    )


def _headlines(runs: int) -> Iterator[str]:
    rows: list[tuple[str, ...]] = []
    for correlation in _CORRELATIONS:
        for sessions in _SESSIONS:
            for noise in (_NOISES[0], _NOISES[3]):
                rate = headline_coverage(
                    correlation=correlation, sessions=sessions, sd_log=noise, runs=runs
                )
                rows.append(
                    (
                        *(f"{correlation:g}", str(sessions)),
                        *(percent(noise), rate.text),
                    )
                )
                if rate.misses(_HEADLINE_COVERAGE):
                    yield (
                        f"coverage of the headline, correlation {correlation:g}, "
                        f"{sessions} sessions: {rate.share:.1%}"
                    )
    _print(
        "Coverage of the headline over replayed sessions of three metrics (promised: "
        f"{_HEADLINE_COVERAGE:.0%})",
        ("Correlation of the metrics", "Sessions", "Noise of a pair", "Coverage"),
        rows,
    )


def _cycles(runs: int) -> Iterator[str]:
    rows: list[tuple[str, ...]] = []
    for cycle in _CYCLES:
        row = [percent(cycle)]
        for design in (Design.ABBA, Design.PAIRED, Design.LOOKS):
            design_score = score(
                design, noise=Noise(cycle=cycle), true_loss=0.0, runs=runs
            )
            rate = Rate(share=design_score.false_alarms or 0.0, runs=runs)
            row.append(rate.text)
            if design in _OURS and rate.exceeds(ALPHA):
                yield (
                    f"false alarms, {design}, disturbance of period four: "
                    f"{rate.share:.1%}"
                )
        rows.append(tuple(row))
    _print(
        "False alarms where two of every four processes are disturbed (at most "
        f"{ALPHA:.0%})",
        ("Disturbance", "Fixed ABBA", "Random order, one look", "Random order, looks"),
        rows,
    )


def _rounding(runs: int) -> Iterator[str]:
    rows: list[tuple[str, ...]] = []
    for noise in _STEPS:
        row = [f"{noise:g}"]
        for pairs in (_PAIRS[0], _PAIRS[1]):
            rate = rounded_coverage(noise_in_steps=noise, pairs=pairs, runs=runs)
            row.append(rate.text)
            if rate.misses(_COVERAGE):
                yield (
                    f"coverage of rounded values, noise of {noise:g} steps, {pairs} "
                    f"pairs: {rate.share:.1%}"
                )
        rows.append(tuple(row))
    _print(
        f"Coverage where values are rounded to whole numbers (promised: {_COVERAGE:.0%})",
        ("Noise in steps", f"{_PAIRS[0]} pairs", f"{_PAIRS[1]} pairs"),
        rows,
    )


def _searches(runs: int) -> Iterator[str]:
    rows: list[tuple[str, ...]] = []
    for loss in (_PLANTED, 0.0):
        searches = [
            simulate_search(
                commits=_COMMITS,
                slow=seed % (_COMMITS - 1) + 1 if loss else None,
                loss=loss,
                noise=_PROCESS_NOISE,
                seed=seed,
            )
            for seed in range(runs)
        ]
        builds = max(len(search.marks) for _, search in searches)
        answered = sum(
            [*search.culprits] == [seed % (_COMMITS - 1) + 1]
            if loss
            else end is Verdict.SAME
            for seed, (end, search) in enumerate(searches)
        )
        rate = Rate(share=answered / runs, runs=runs)
        answer = "the commit" if loss else "no change"
        rows.append((percent(loss), answer, rate.text, str(builds)))
        if rate.misses(_COVERAGE) or builds > _MOST_BUILDS:
            yield f"bisect, {loss:.0%} planted: {answer} in {rate.share:.1%}, {builds} builds"
    _print(
        f"Bisect of {_COMMITS} commits, noise of {_PROCESS_NOISE:.0%} between processes "
        f"(promised: {_COVERAGE:.0%}, at most {_MOST_BUILDS} builds beside the good end)",
        ("Planted loss", "Answer", "Answered so", "Builds at most"),
        rows,
    )


def _print(title: str, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    table = Table(caption=title, columns=numbers(*header), rows=tuple(rows))
    print(f"\n{markdown(table)}")


def scoreboard_table(scores: Sequence[Score], noise: Noise, where: str) -> Table:
    """One row for each design and true loss: how often it is right."""
    runs = scores[0].runs if scores else 0
    rows = []
    for each in scores:
        shares = (each.slower, each.faster, each.same, each.inconclusive)
        rows.append(
            (
                str(each.design),
                f"{each.true_loss:.0%}",
                *(f"{share:.1%}" for share in shares),
                *(
                    "–" if share is None else f"{share:.1%}"
                    for share in (each.false_alarms, each.coverage)
                ),
                each.claimed_coverage.text if each.claimed_coverage else "–",
                f"{each.mean_per_arm:.1f}",
            )
        )
    return Table(
        caption=(
            f"Simulated with noise of {noise.between_sd:.2%} between and "
            f"{noise.within_sd:.2%} within processes ({where}), {runs} runs each"
        ),
        columns=(
            "Design",
            *numbers("True loss", "SLOWER", "FASTER", "SAME", "INCONCLUSIVE"),
            *numbers("False alarms", "Coverage", "given a claim", "Processes per arm"),
        ),
        rows=tuple(rows),
    )


def percent(share: float) -> str:
    return f"{100 * share:.2g} %"
