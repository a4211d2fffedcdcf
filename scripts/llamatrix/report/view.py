"""All that reports are made of: a project's records, grouped, and its published sets."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property

from llamatrix.config.expand import expand_plan, select_profile
from llamatrix.config.lock import Lock
from llamatrix.config.matrix import Matrix, WeightsKind
from llamatrix.errors import BenchError, ReportError
from llamatrix.progress import say
from llamatrix.project import Project
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
from llamatrix.records.store import DamagedLine
from llamatrix.records.trial_record import AGENT
from llamatrix.reference.gpu import load_gpus
from llamatrix.report.inputs import Published, RecordIndex, load_published
from llamatrix.report.speed import Group, groups
from llamatrix.report.trials import TrialGroup, trial_groups
from llamatrix.report.views.bisect import Bisection, bisections
from llamatrix.trials.checks.task import task_digest


@dataclass(frozen=True, kw_only=True)
class View:
    """All records of a project, grouped, and the published sets beside them."""

    project: Project
    matrix: Matrix
    index: RecordIndex
    groups: tuple[Group, ...]
    """Of all hosts and profiles."""
    trials: tuple[TrialGroup, ...]
    """Agents' trials, likewise."""
    judge_records: tuple[JudgeRecord, ...]
    """Of models, on trials' work: never part of pass or fail."""
    contexts: tuple[ContextRecord, ...]
    drafts: tuple[SpeedRecord, ...]
    """Of servers, with drafts and without, and with several clients."""
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

    @cached_property
    def sets(self) -> tuple[Published, ...]:
        """All sets of the project; a broken one is passed over and named."""
        return tuple(_published_sets(self.project, self.matrix))

    @property
    def model_names(self) -> dict[str, str]:
        """Names by key, in the matrix' order, which is that of the plots' colours.

        What the records have besides comes last.
        """
        names = {key: model.name for key, model in self.matrix.models.items()}
        for group in self.groups:
            names |= {one.cell.model_key: one.cell.model_name for one in group.records}
        for trials in self.trials:
            names |= {one.cell.model_key: one.cell.model_name for one in trials.records}
        return names

    @property
    def host_slugs(self) -> set[str]:
        """Of speeds and trials."""
        slugs = {group.host_slug for group in self.groups}
        return slugs | {group.host_slug for group in self.trials}

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
        return replace(
            self,
            groups=tuple(filter(group, self.groups)),
            trials=tuple(filter(trial, self.trials)),
            drafts=tuple(filter(draft, self.drafts)),
            endpoints=tuple(filter(endpoint, self.endpoints)),
        )

    def of_host(self, slug: str) -> "View":
        return self.only(
            group=lambda group: group.host_slug == slug,
            trial=lambda group: group.host_slug == slug,
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


def read_view(project: Project, matrix: Matrix, lock: Lock | None = None) -> View:
    """Read all records; without a lock none counts as of the matrix' own cells."""
    index = RecordIndex(project.reports)
    models, current = tuple(matrix.models), _current_digests(matrix, lock)
    by_hand = index.read(BY_HAND)
    return View(
        project=project,
        matrix=matrix,
        index=index,
        drafts=index.read(SERVE_SPEED),
        runs=(*index.read(SPEED_PAIRS), *index.read(REPLAY_PAIRS)),
        compared_trials=index.read(TRIAL_PAIRS),
        groups=groups(
            index.read(SPEED), models=models, current=current, by_hand=by_hand
        ),
        trials=trial_groups(index.read(AGENT), models=models, current=current),
        contexts=index.read(CONTEXT),
        judge_records=index.read(JUDGE),
        endpoints=index.read(ENDPOINT),
        searches=bisections(index.read(BISECT)),
        current=current,
        damaged=tuple(index.damaged),
    )


def _published_sets(project: Project, matrix: Matrix) -> Iterator[Published]:
    gpus = load_gpus()
    for path in sorted(project.published.glob("*.toml")):
        try:
            yield load_published(path, models=matrix.models, gpus=gpus)
        except ReportError as error:
            say(f"passing over a reference set: {error}")


def _current_digests(matrix: Matrix, lock: Lock | None) -> frozenset[str]:
    """Return spec digests of all cells the matrix has now: their records are preferred.

    Profiles that cannot be planned, for a pin that is not locked yet, and cells whose
    task is gone or broken are left out: older records still make tables.
    """
    digests: set[str] = set()
    if lock is None:
        return frozenset()
    for name in matrix.profiles:
        with suppress(BenchError):
            plan = expand_plan(matrix, lock, name)
            digests.update(cell.spec_digest for cell in plan.speed)
            for cell in plan.agents:
                with suppress(BenchError):
                    digests.add(cell.spec_digest(task_digest=task_digest(cell.task)))
    return frozenset(digests)
