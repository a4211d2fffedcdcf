"""`invoke regress` with llama-bench: arms, builds, then pairs and the answer."""

from collections.abc import Callable, Sequence
from pathlib import Path

from llamatrix.commands.regress.arms import METRICS, Case, cases_of
from llamatrix.commands.regress.ledger import SPEED_PAIRS
from llamatrix.commands.regress.pairing import last_series, ledger_id, series_seed
from llamatrix.commands.regress.process import Running
from llamatrix.commands.regress.request import Request
from llamatrix.commands.regress.together import answer_of, say_plan
from llamatrix.config.cell import Cell
from llamatrix.config.context import Context
from llamatrix.engines.llama_cpp.engine import ENGINE, Installed
from llamatrix.host import this_host
from llamatrix.measure.disturbances import KernelWatch, Watch
from llamatrix.progress import say
from llamatrix.project import Project, find_project
from llamatrix.provision.build import CompileError
from llamatrix.records.store import Store
from llamatrix.report.regress import Regression
from llamatrix.stats.pairs import Arm
from llamatrix.stats.sequential import PairedComparison, broken_comparison, judge

Provide = Callable[[Arm, Cell, Project], Installed]


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
        say_plan(earlier, request)
        return None
    provide = provide or provide_from(request.weights_dir)
    ready, unready = _provided(cases, project, request, provide, watch)
    return answer_of(cases, ready, unready, request, profile=profile)


def provide_from(weights_dir: Path | None) -> Provide:
    def provide(_arm: Arm, cell: Cell, project: Project) -> Installed:
        return ENGINE.install(cell, project.cache, weights_dir=weights_dir)

    return provide


def provide_arms(
    cells: dict[Arm, Cell], project: Project, provide: Provide
) -> dict[Arm, Installed] | str:
    """Both arms' parts, or why the candidate's cannot be had.

    A baseline that cannot be had stops the harness: nothing could be compared.
    """
    parts = {Arm.BASELINE: provide(Arm.BASELINE, cells[Arm.BASELINE], project)}
    try:
        parts[Arm.CANDIDATE] = provide(Arm.CANDIDATE, cells[Arm.CANDIDATE], project)
    except CompileError as error:
        why = f"the candidate does not build: {error}"
        say(why)
        return why
    return parts


def _planned(request: Request, project: Project) -> tuple[str, tuple[Case, ...]]:
    context = request.context_in(project)
    cases = _cases(context, request)
    tested = [cell for case in cases if case.test for cell in case.cells.values()]
    known = request.with_known_weights(context, tested)
    if known.lock != context.lock:
        cases = _cases(known, request)
    for case in cases:
        say(f"{case.id}: {case.lacking or 'to compare'}")
    return context.profile, cases


def _cases(context: Context, request: Request) -> tuple[Case, ...]:
    return cases_of(
        context.matrix,
        context.lock,
        context.profile,
        request.asked,
        metrics=request.metrics or METRICS,
        cells=request.cells,
    )


def _provided(
    cases: Sequence[Case],
    project: Project,
    request: Request,
    provide: Provide,
    watch: Watch | None,
) -> tuple[list[Running], dict[str, PairedComparison]]:
    """The cases that can run, and what is to be said of those that cannot."""
    ready: list[Running] = []
    unready: dict[str, PairedComparison] = {}
    for case in cases:
        margin, unit = request.margin_of(case.metric), case.metric.unit
        if case.test is None:
            alone = judge((), unit=unit, margin=margin)
            unready[case.id] = alone.with_notes(case.lacking)
            continue
        parts = provide_arms(case.cells, project, provide)
        if isinstance(parts, str):
            unready[case.id] = broken_comparison(
                parts, margin=margin, alpha=request.sequential.alpha_per_look, unit=unit
            )
            continue
        ready.append(_running(case, parts, project, request, watch))
    return ready, unready


def _running(
    case: Case,
    parts: dict[Arm, Installed],
    project: Project,
    request: Request,
    watch: Watch | None,
) -> Running:
    store = Store(reports=project.reports, kind=SPEED_PAIRS)
    if not request.dry_run:
        store.require_room(this_host().slug)
    entries = store.read(
        host_slug=this_host().slug, record_id=ledger_id(case.id, case.digest)
    )
    if case.test is None:
        raise ValueError(case.id)
    series = last_series(entries) + (request.again and bool(entries))
    return Running(
        case=case,
        test=case.test,
        parts=parts,
        project=project,
        store=store,
        series=series,
        seed=series_seed(entries, series),
        watch=watch or KernelWatch(),
        tolerated_percent=request.tolerated_percent,
        entries=entries,
        known=len(entries),
    )
