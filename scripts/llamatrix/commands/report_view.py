"""What the reporting commands work on: the project's records, grouped, and its sets."""

import dataclasses
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from llamatrix.config.context import Context, choose_profile
from llamatrix.config.expand import expand_plan, select_cells, select_profile
from llamatrix.config.load import load_matrix
from llamatrix.config.lock import Lock, load_lock
from llamatrix.config.matrix import Matrix, WeightsKind
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
    TRIAL_PAIRS,
    ComparedTrials,
    ReplayRun,
    SpeedRun,
)
from llamatrix.records.speed_record import SERVE_SPEED, SPEED, SpeedRecord
from llamatrix.records.store import DamagedLine, Store
from llamatrix.records.trial_record import AGENT, TrialRecord
from llamatrix.reference.gpu import load_gpus
from llamatrix.reference.reference_set import find_set
from llamatrix.report.inputs import (
    Published,
    RecordIndex,
    SpeedIndex,
    TrialIndex,
    load_published,
    read_index,
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
    compared_trials: tuple[ComparedTrials, ...]
    """What `invoke regress --agent` found."""
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

    @property
    def has_results(self) -> bool:
        """Whether there are speeds or trials, and not just contexts and searches."""
        return bool(self.groups or self.trials or self.drafts or self.endpoints)

    def only(
        self,
        *,
        group: Callable[[Group], bool],
        trial: Callable[[TrialGroup], bool],
        draft: Callable[[SpeedRecord], bool],
        endpoint: Callable[[EndpointRecord], bool],
    ) -> "View":
        """Return the view with the results of each kind that are to be kept."""
        drafts = filter(draft, self.drafts)
        return dataclasses.replace(
            self,
            groups=tuple(filter(group, self.groups)),
            trials=tuple(filter(trial, self.trials)),
            served=self.served.only({self.served.of(one).sha256 for one in drafts}),
            endpoints=tuple(filter(endpoint, self.endpoints)),
        )

    def of_host(self, slug: str) -> "View":
        return self.only(
            group=lambda group: group.host_slug == slug,
            trial=lambda group: group.setup.host_slug == slug,
            draft=lambda record: record.host.slug == slug,
            endpoint=lambda record: record.host.slug == slug,
        )

    def of_profile(self, name: str) -> "View":
        """Return what belongs to a profile or to one that it includes.

        MatrixError for an unknown one.
        """
        profiles = [
            self.matrix.profiles[part]
            for part in (name, *select_profile(self.matrix, name).also)
        ]

        def belongs(weights: WeightsKind, pin: str, build: str, **rest: str) -> bool:
            return any(
                weights
                in {
                    self.matrix.models[key].weights_of(profile)
                    for key in profile.models
                }
                and pin in profile.pins
                and build in profile.builds
                and all(getattr(profile, key) == value for key, value in rest.items())
                for profile in profiles
            )

        def of_group(group: Group) -> bool:
            return belongs(group.weights, group.pin, group.build, sweep=group.sweep)

        def of_trials(group: TrialGroup) -> bool:
            setup = group.setup
            return belongs(setup.weights, setup.pin, setup.build, agent=setup.agent)

        def of_draft(record: SpeedRecord) -> bool:
            cell = record.cell
            kind = record.weights.kind
            return belongs(kind, cell.pin, cell.build, sweep=cell.sweep)

        return self.only(
            group=of_group,
            trial=of_trials,
            draft=of_draft,
            endpoint=lambda record: record.cell.endpoint in profiles[0].endpoints,
        )


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


def load_view(records: str = "") -> View:
    """Needs no GPU, no network and no build: matrix and records are enough."""
    project = project_with(records)
    try:
        lock = load_lock(project.lock_file)
    except BenchError:
        lock = None
    return _view(project, load_matrix(project.matrix_file), lock)


def view_of(context: Context) -> View:
    """The same for a command that has read the matrix already."""
    return _view(context.project, context.matrix, context.lock)


def _view(project: Project, matrix: Matrix, lock: Lock | None) -> View:
    index = read_index(project.reports, SPEED)
    models, current = tuple(matrix.models), _current_digests(matrix, lock)
    by_hand = tuple(Store(reports=project.reports, kind=BY_HAND).read_all())
    speed_groups = groups(
        index.records, models=models, current=current, by_hand=by_hand
    )
    trial_index = read_index(project.reports, AGENT)
    judge_records = read_index(project.reports, JUDGE)
    contexts = read_index(project.reports, CONTEXT)
    served = read_index(project.reports, SERVE_SPEED)
    endpoints = read_index(project.reports, ENDPOINT)
    bisects = read_index(project.reports, BISECT)
    pairs = read_index(project.reports, SPEED_PAIRS)
    replays = read_index(project.reports, REPLAY_PAIRS)
    compared = read_index(project.reports, TRIAL_PAIRS)
    return View(
        project=project,
        matrix=matrix,
        index=index,
        groups=speed_groups,
        trial_index=trial_index,
        trials=trial_groups(trial_index.records, models=models, current=current),
        judge_records=judge_records.records,
        context_index=contexts,
        served=served,
        compared_trials=compared.records,
        runs=(*pairs.records, *replays.records),
        current=current,
        endpoints=endpoints.records,
        searches=bisections(bisects.records),
        damaged=(
            *(*served.damaged, *pairs.damaged, *replays.damaged, *compared.damaged),
            *(*index.damaged, *trial_index.damaged),
            *(*contexts.damaged, *judge_records.damaged),
            *(*endpoints.damaged, *bisects.damaged),
        ),
    )


def chosen_view(view: View, profile: str, host: str) -> View:
    """Return a profile's results of one host; ReportError says what there is instead.

    Without a profile it is the one that fits this machine, without a host this one. Of
    records of another folder it is every profile, and their host where there is one.
    """
    known = {group.host_slug for group in view.groups}
    known |= {group.setup.host_slug for group in view.trials}
    if not known:
        raise ReportError(
            f"{view.project.records}: no records yet; `invoke all` measures and writes "
            "them"
        )
    other = view.project.other_reports is not None
    slug = host or (min(known) if other and len(known) == 1 else this_host().slug)
    if slug not in known:
        hosts = ", ".join(sorted(known))
        raise ReportError(f"no records of host {slug}; --host takes one of: {hosts}")
    view = view.of_host(slug)
    if other and not profile:
        return view
    choice = choose_profile(profile or None)
    chosen = view.of_profile(choice.profile)
    say(f"profile {choice.profile} ({choice.reason}), host {slug}")
    if not chosen.groups and not chosen.trials:
        run = f"run `invoke all --profile {choice.profile}`"
        raise ReportError(
            f"no records of profile {choice.profile!r} on {slug} yet; "
            f"{'leave --profile out' if other else run}"
        )
    return chosen


def finished_trials(view: View, *, profile: str, cells: str) -> tuple[TrialRecord, ...]:
    """The trials that a model ended, chosen by profile and `--cells`, in table order.

    MeasureError where none is recorded, MatrixError where the glob matches none of them.
    """
    records = [
        record
        for group in (view.of_profile(profile) if profile else view).trials
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


def _current_digests(matrix: Matrix, lock: Lock | None) -> frozenset[str]:
    """Return spec digests of all cells the matrix has now: their records are preferred.

    Those whose task is gone or broken are left out: older records still make tables.
    """
    plans = (
        [expand_plan(matrix, lock, name) for name in matrix.profiles] if lock else ()
    )
    digests = {cell.spec_digest for plan in plans for cell in plan.speed}
    for cell in (cell for plan in plans for cell in plan.agents):
        with suppress(BenchError):
            digests.add(cell.spec_digest(task_digest=task_digest(cell.task)))
    return frozenset(digests)
