"""What the reporting commands work on: the project's records, grouped, and its sets."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from llamatrix.config.agent_cell import AgentCell
from llamatrix.config.context import Context, choose_profile
from llamatrix.config.expand import expand_plan, select_cells, select_profile
from llamatrix.config.load import load_matrix
from llamatrix.config.lock import Lock, load_lock
from llamatrix.config.matrix import Matrix, Profile, WeightsKind
from llamatrix.errors import BenchError, MeasureError, ReportError
from llamatrix.host import this_host
from llamatrix.progress import say
from llamatrix.project import Project, find_project
from llamatrix.records.bisect_record import BISECT
from llamatrix.records.context_record import CONTEXT, ContextRecord
from llamatrix.records.endpoint_record import ENDPOINT, EndpointRecord
from llamatrix.records.hand_run import BY_HAND
from llamatrix.records.judge_record import JUDGE, JudgeRecord
from llamatrix.records.pair_records import (
    REPLAY_PAIRS,
    SPEED_PAIRS,
    ReplayRun,
    SpeedRun,
)
from llamatrix.records.speed_record import SERVE_SPEED, SpeedRecord
from llamatrix.records.store import DamagedLine, Store
from llamatrix.records.trial_record import TrialRecord
from llamatrix.reference.gpu import load_gpus
from llamatrix.reference.reference_set import find_set
from llamatrix.report.inputs import (
    Published,
    RecordIndex,
    SpeedIndex,
    TrialIndex,
    load_published,
    read_index,
    read_speed_index,
    read_trial_index,
)
from llamatrix.report.speed import Group, groups
from llamatrix.report.trials import TrialGroup, trial_groups
from llamatrix.report.views.bisect import Bisection, bisections
from llamatrix.trials.checks.task import task_digest


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    project: Project
    matrix: Matrix
    index: SpeedIndex
    groups: tuple[Group, ...]
    """Of all hosts and profiles."""
    trial_index: TrialIndex
    trials: tuple[TrialGroup, ...]
    """The agent's, likewise."""
    judge_records: tuple[JudgeRecord, ...]
    """Of models, on trials' work: never part of pass or fail."""
    context_index: RecordIndex[ContextRecord]
    served: SpeedIndex
    """Of servers, with drafts and without."""
    runs: tuple[SpeedRun | ReplayRun, ...]
    """The pairs of `invoke regress`."""
    current: frozenset[str]
    """Spec digests of all cells the matrix has now."""
    endpoints: tuple[EndpointRecord, ...]
    searches: tuple[Bisection, ...]
    damaged: tuple[DamagedLine, ...]
    """Lines of all these kinds that cannot be read."""

    @property
    def contexts(self) -> tuple[ContextRecord, ...]:
        return self.context_index.records

    @property
    def drafts(self) -> tuple[SpeedRecord, ...]:
        return self.served.records


def project_with(records: str) -> Project:
    """The project, with the records of another folder where one is named.

    `records` is a folder that holds `records/`, such as `reports/examples/h200`, or that
    folder `records` itself; empty for the project's own.
    """
    project = find_project()
    if not records:
        return project
    folder = Path(records)
    if folder.name == "records" and not (folder / "records").is_dir():
        folder = folder.parent
    if not (folder / "records").is_dir():
        raise ReportError(
            f"--records {records}: no folder `records` in it; name one that `invoke table "
            "--out` wrote, such as reports/examples/h200"
        )
    return dataclasses.replace(project, other_reports=folder.resolve())


def load_view(records: str = "", *, context: Context | None = None) -> View:
    """Needs no GPU, no network and no build: matrix and records are enough.

    A command that has read the matrix already gives its context.
    """
    project = context.project if context else project_with(records)
    matrix = context.matrix if context else load_matrix(project.matrix_file)
    lock = context.lock if context else _readable_lock(project)
    index = read_speed_index(project.reports)
    models, current = tuple(matrix.models), current_digests(matrix, lock)
    by_hand = tuple(Store(reports=project.reports, kind=BY_HAND).read_all())
    speed_groups = groups(
        index.records, models=models, current=current, by_hand=by_hand
    )
    trial_index = read_trial_index(project.reports)
    judge_records = read_index(project.reports, JUDGE)
    contexts = read_index(project.reports, CONTEXT)
    drafts = read_index(project.reports, SERVE_SPEED)
    endpoints = read_index(project.reports, ENDPOINT)
    bisects = read_index(project.reports, BISECT)
    pairs = read_index(project.reports, SPEED_PAIRS)
    replays = read_index(project.reports, REPLAY_PAIRS)
    return View(
        project=project,
        matrix=matrix,
        index=index,
        groups=speed_groups,
        trial_index=trial_index,
        trials=trial_groups(trial_index.records, models=models, current=current),
        judge_records=judge_records.records,
        context_index=contexts,
        served=drafts,
        runs=(*pairs.records, *replays.records),
        current=current,
        endpoints=endpoints.records,
        searches=bisections(bisects.records),
        damaged=(
            *(*drafts.damaged, *pairs.damaged, *replays.damaged),
            *(*index.damaged, *trial_index.damaged),
            *(*contexts.damaged, *judge_records.damaged),
            *(*endpoints.damaged, *bisects.damaged),
        ),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """Of one profile and one host."""

    groups: tuple[Group, ...]
    trials: tuple[TrialGroup, ...]


def chosen_groups(view: View, profile: str, host: str) -> Chosen:
    """A profile's groups of one host; ReportError says what there is instead.

    Without a profile it is the one that fits this machine, without a host this one. Of
    records of another folder it is every profile, and their host where there is one.
    """
    project = view.project
    known = {group.host_slug for group in view.groups}
    known |= {group.setup.host_slug for group in view.trials}
    if not known:
        raise ReportError(
            f"{view.project.records}: no records yet; `invoke all` measures and writes "
            "them"
        )
    other = project.other_reports is not None
    slug = host or (min(known) if other and len(known) == 1 else this_host().slug)
    if slug not in known:
        hosts = ", ".join(sorted(known))
        raise ReportError(f"no records of host {slug}; --host takes one of: {hosts}")
    if other and not profile:
        return Chosen(
            groups=tuple(group for group in view.groups if group.host_slug == slug),
            trials=tuple(
                trial for trial in view.trials if trial.setup.host_slug == slug
            ),
        )
    choice = choose_profile(profile or None)
    select_profile(view.matrix, choice.profile)
    say(f"profile {choice.profile} ({choice.reason}), host {slug}")
    name, matrix = choice.profile, view.matrix
    chosen = Chosen(
        groups=tuple(
            group
            for group in view.groups
            if group.host_slug == slug and belongs(group, matrix, name)
        ),
        trials=tuple(
            group
            for group in view.trials
            if group.setup.host_slug == slug and trials_belong(group, matrix, name)
        ),
    )
    if not chosen.groups and not chosen.trials:
        remedy = (
            "leave --profile out" if other else f"run `invoke all --profile {name}`"
        )
        raise ReportError(f"no records of profile {name!r} on {slug} yet; {remedy}")
    return chosen


def finished_trials(view: View, *, profile: str, cells: str) -> tuple[TrialRecord, ...]:
    """The trials that a model ended, chosen by profile and `--cells`, in table order.

    MeasureError where none is recorded, MatrixError where the glob matches none of them.
    """
    if profile:
        select_profile(view.matrix, profile)
    records = [
        record
        for group in view.trials
        if not profile or trials_belong(group, view.matrix, profile)
        for trials in group.trials.values()
        for record in trials.finished
    ]
    if not records:
        of = f" of profile {profile!r}" if profile else ""
        raise MeasureError(
            f"{view.project.records}: no finished trial{of} is recorded; `invoke agent` "
            "makes some, `invoke plan` shows the cells"
        )
    return select_cells(records, cells, ids=lambda record: (record.cell.id,))


def published_set(name: str, project: Project, matrix: Matrix) -> Published:
    """A set by its name or by the path of any file of that form."""
    path = find_set(name, project.published)
    return load_published(path, models=matrix.models, gpus=load_gpus())


def published_sets(project: Project, matrix: Matrix) -> tuple[Published, ...]:
    """All sets of the project, for its page; a broken one is passed over and named."""
    gpus = load_gpus()
    sets = []
    for path in sorted(project.published.glob("*.toml")):
        try:
            sets.append(load_published(path, models=matrix.models, gpus=gpus))
        except ReportError as error:
            say(f"passing over a reference set: {error}")
    return tuple(sets)


def _parts(matrix: Matrix, name: str) -> Iterator[tuple[Profile, set[WeightsKind]]]:
    """Yield a profile and those that it includes, with the kinds of their weights."""
    for part in (name, *matrix.profiles[name].also):
        profile = matrix.profiles[part]
        yield (
            profile,
            {matrix.models[key].weights_of(profile) for key in profile.models},
        )


def belongs(group: Group, matrix: Matrix, name: str) -> bool:
    return any(
        group.weights in kinds
        and group.pin in profile.pins
        and group.build in profile.builds
        and group.sweep == profile.sweep
        for profile, kinds in _parts(matrix, name)
    )


def draft_belongs(record: SpeedRecord, matrix: Matrix, name: str) -> bool:
    cell = record.cell
    return any(
        record.weights.kind in kinds
        and cell.pin in profile.pins
        and cell.build in profile.builds
        and cell.sweep == profile.sweep
        for profile, kinds in _parts(matrix, name)
    )


def trials_belong(group: TrialGroup, matrix: Matrix, name: str) -> bool:
    """Whether they are of the profile's engines and of its agent."""
    setup = group.setup
    return any(
        setup.weights in kinds
        and setup.pin in profile.pins
        and setup.build in profile.builds
        and setup.agent == profile.agent
        for profile, kinds in _parts(matrix, name)
    )


def _readable_lock(project: Project) -> Lock | None:
    try:
        return load_lock(project.lock_file)
    except BenchError:
        return None


def current_digests(matrix: Matrix, lock: Lock | None) -> frozenset[str]:
    """Spec digests of all cells the matrix has now: their records are preferred."""
    if lock is None:
        return frozenset()
    plans = [expand_plan(matrix, lock, name) for name in matrix.profiles]
    speeds = {cell.spec_digest for plan in plans for cell in plan.speed}
    return frozenset(speeds.union(*(_of_trials(plan.agents) for plan in plans)))


def _of_trials(cells: Sequence[AgentCell]) -> set[str]:
    """Without those whose task is gone or broken: older records still make tables."""
    digests = set()
    for cell in cells:
        try:
            digests.add(cell.spec_digest(task_digest=task_digest(cell.task)))
        except BenchError:
            continue
    return digests
