"""`invoke regress`, whole: arms, builds, warm-up, plan, pairs, the answer."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from llamatrix.campaigns.bench import Parts, provide_parts
from llamatrix.campaigns.choice import choose_profile
from llamatrix.campaigns.regress.arms import METRICS, Asked, Case, cases_of
from llamatrix.campaigns.regress.conduct import conduct
from llamatrix.campaigns.regress.judging import broken, judge_together
from llamatrix.campaigns.regress.ledger import failure_notes, last_series, ledger_of
from llamatrix.campaigns.regress.load import KernelWatch, Watch
from llamatrix.campaigns.regress.plan import outlook, plan_lines
from llamatrix.campaigns.regress.process import Running
from llamatrix.campaigns.regress.warm_up import warm_up
from llamatrix.campaigns.session import weights_known
from llamatrix.host import this_host
from llamatrix.plan.cell import Cell
from llamatrix.plan.expand import select_profile
from llamatrix.plan.load import load_matrix
from llamatrix.plan.lock import Lock, load_lock
from llamatrix.plan.matrix import Matrix
from llamatrix.progress import say
from llamatrix.project import Project, find_project
from llamatrix.provision.build import CompileError
from llamatrix.report.regress import ArmFacts, Regression, Timing
from llamatrix.verdict.cells import JudgedCell, Overall, judge_cells
from llamatrix.verdict.judge import Comparison, judge
from llamatrix.verdict.looks import Looks
from llamatrix.verdict.metric import Metric, Unit
from llamatrix.verdict.pairs import Arm
from llamatrix.verdict.word import gravest

BUDGET_S = 1200.0
TOLERATED_PERCENT = 10.0
_WARM_UP_SHARE = 0.25
"""Of the budget; after it each arm is still started once."""
_PLANNED = Looks()

Provide = Callable[[Arm, Cell, Project], Parts]


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What a user asks of `invoke regress`."""

    asked: dict[Arm, Asked]
    profile: str = ""
    cells: str = ""
    metrics: tuple[Metric, ...] = METRICS
    budget_s: float = BUDGET_S
    margin: float | None = None
    """None takes each metric's own."""
    weights_dir: Path | None = None
    looks: Looks = _PLANNED
    tolerated_percent: float = TOLERATED_PERCENT
    again: bool = False
    """Begin a new series instead of going on with the last one."""
    dry_run: bool = False

    def margin_of(self, case: Case) -> float:
        return case.metric.margin if self.margin is None else self.margin


def _provide_from(weights_dir: Path | None) -> Provide:
    def provide(_arm: Arm, cell: Cell, project: Project) -> Parts:
        return provide_parts(cell, project, weights_dir=weights_dir)

    return provide


def regress(
    request: Request,
    *,
    project: Project | None = None,
    provide: Provide | None = None,
    watch: Watch | None = None,
) -> Regression | None:
    """Compare the arms; None after a dry run, which only says the plan."""
    project = project or find_project()
    profile, cases = _planned(request, project)
    if request.dry_run:
        earlier = [
            _running(case, {}, project, request, watch) for case in cases if case.test
        ]
        _say_plan(earlier, request)
        return None
    provide = provide or _provide_from(request.weights_dir)
    ready, unready = _provided(cases, project, request, provide, watch)
    begin = time.monotonic()
    before = sum(len(one.entries) for one in ready)
    overall = _measured(ready, request, begin)
    new = [entry for one in ready for entry in one.new]
    if not new and before:
        say("nothing measured: every pair is known; --again begins a new series")
    return Regression(
        baseline=_facts(cases, Arm.BASELINE),
        candidate=_facts(cases, Arm.CANDIDATE),
        identical=all(case.identical for case in cases),
        profile=profile,
        host=this_host().summary,
        looks=request.looks,
        overall=_with(overall, unready, cases),
        timing=Timing(
            wall_s=time.monotonic() - begin,
            processes_s=sum(entry.seconds for entry in new),
            processes=len(new),
        ),
    )


def _planned(request: Request, project: Project) -> tuple[str, tuple[Case, ...]]:
    matrix = load_matrix(project.matrix_file)
    profile, reason = _profile(request.profile)
    about = select_profile(matrix, profile).about
    say(f"profile {profile} ({reason}): {about}")
    lock = load_lock(project.lock_file)
    cases = _cases(matrix, lock, profile, request)
    known = weights_known(
        matrix,
        lock,
        [cell for case in cases if case.test for cell in case.cells.values()],
        project,
        request.weights_dir,
        ask_hub=not request.dry_run,
    )
    if known != lock:
        cases = _cases(matrix, known, profile, request)
    for case in cases:
        say(f"{case.id}: {case.lacking or 'to compare'}")
    return profile, cases


def _cases(
    matrix: Matrix, lock: Lock, profile: str, request: Request
) -> tuple[Case, ...]:
    return cases_of(
        matrix,
        lock,
        profile,
        request.asked,
        metrics=request.metrics,
        cells=request.cells,
    )


def _profile(named: str) -> tuple[str, str]:
    """`engines` on a CPU, and full-sized made-up weights where a card holds them."""
    choice = choose_profile(named or None)
    if named or choice.profile == "smoke":
        return (named or "engines"), choice.reason
    return "synthetic", choice.reason


def _provided(
    cases: Sequence[Case],
    project: Project,
    request: Request,
    provide: Provide,
    watch: Watch | None,
) -> tuple[list[Running], dict[str, Comparison]]:
    """The cases that can run, and what is to be said of those that cannot.

    A baseline that cannot be had stops the harness: nothing could be compared.
    """
    ready: list[Running] = []
    unready: dict[str, Comparison] = {}
    for case in cases:
        margin = request.margin_of(case)
        if case.test is None:
            alone = judge((), unit=Unit.TOKENS_PER_S, margin=margin)
            unready[case.id] = alone.with_notes(case.lacking)
            continue
        parts = {Arm.BASELINE: provide(Arm.BASELINE, case.cells[Arm.BASELINE], project)}
        try:
            parts[Arm.CANDIDATE] = provide(
                Arm.CANDIDATE, case.cells[Arm.CANDIDATE], project
            )
        except CompileError as error:
            say(f"the candidate does not build: {error}")
            unready[case.id] = broken(
                f"the candidate does not build: {error}",
                margin=margin,
                looks=request.looks,
            )
            continue
        ready.append(_running(case, parts, project, request, watch))
    return ready, unready


def _running(
    case: Case,
    parts: dict[Arm, Parts],
    project: Project,
    request: Request,
    watch: Watch | None,
) -> Running:
    ledger = ledger_of(case, project.reports)
    entries = ledger.read()
    if case.test is None:
        raise ValueError(case.id)
    return Running(
        case=case,
        test=case.test,
        parts=parts,
        project=project,
        ledger=ledger,
        series=last_series(entries) + (request.again and bool(entries)),
        watch=watch or KernelWatch(),
        tolerated_percent=request.tolerated_percent,
        entries=entries,
        known=len(entries),
    )


def _measured(ready: Sequence[Running], request: Request, begin: float) -> Overall:
    """Warm up what has pairs to come, say the plan, run it; settled cases stay."""
    margins = {one.case.id: request.margin_of(one.case) for one in ready}
    pairs = {one.case.id: one.pairs for one in ready}
    judged = judge_together(pairs, margins=margins, looks=request.looks)
    waiting = [one for one in ready if judged.next_pairs[one.case.id] is not None]
    for one in waiting:
        say(f"warming up {one.case.id}")
        warm_up(one, until=begin + _WARM_UP_SHARE * request.budget_s)
    if waiting:
        _say_plan(waiting, request)
    done = conduct(
        ready,
        margins=margins,
        looks=request.looks,
        deadline=begin + request.budget_s,
    )
    overall = done.judged.overall
    notes = {
        one.case.id: (
            *done.notes.get(one.case.id, ()),
            *failure_notes(one.entries, series=one.series),
        )
        for one in ready
    }
    return Overall(
        word=overall.word,
        cells=tuple(_noted(cell, notes[cell.id]) for cell in overall.cells),
        headline=overall.headline,
    )


def _say_plan(cases: Sequence[Running], request: Request) -> None:
    for line in plan_lines(
        [outlook(one) for one in cases],
        looks=request.looks,
        margins={one.case.id: request.margin_of(one.case) for one in cases},
        budget_s=request.budget_s,
    ):
        say(line)


def _noted(cell: JudgedCell, notes: tuple[str, ...]) -> JudgedCell:
    return JudgedCell(
        id=cell.id,
        word=cell.word,
        adjusted_p=cell.adjusted_p,
        comparison=cell.comparison.with_notes(*notes),
    )


def _with(
    measured: Overall, unready: dict[str, Comparison], cases: Sequence[Case]
) -> Overall:
    """All cases in their order; those that could not be tested take no share of Holm."""
    cells = {cell.id: cell for cell in measured.cells}
    cells |= {cell.id: cell for cell in judge_cells(unready).cells}
    ordered = tuple(cells[case.id] for case in cases)
    return Overall(
        word=gravest(cell.word for cell in ordered),
        cells=ordered,
        headline=measured.headline,
    )


def _facts(cases: Sequence[Case], arm: Arm) -> ArmFacts:
    cells = [case.cells[arm] for case in cases]
    return ArmFacts(
        pin=cells[0].pin_key,
        commit=cells[0].locked.commit,
        builds=tuple(dict.fromkeys(cell.build_key for cell in cells)),
        sweep=cells[0].sweep_key,
    )
