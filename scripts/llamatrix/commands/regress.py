"""`invoke regress`: two arms compared by llama-bench, a replayed session, or an agent."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from llamatrix.commands.agent import describe, recorded_attempt, shared_services
from llamatrix.commands.flags import RegressFlags, parsed
from llamatrix.commands.launching import launch_with, template_named
from llamatrix.commands.pending import trial_status
from llamatrix.commands.trial_parts import AgentParts, provide_agent_parts
from llamatrix.commands.verdict import parse_margin
from llamatrix.compare.agent import (
    AgentCase,
    AgentComparison,
    Attempts,
    agent_cases,
    compare_agents,
    say_trials_forecast,
    trial_cases,
)
from llamatrix.compare.arms import (
    ArmSettings,
    NamedTemplate,
    Template,
    parse_arm,
    with_pins,
)
from llamatrix.compare.endpoint import (
    EndpointCase,
    EndpointSubject,
    endpoint_cases,
    identified,
)
from llamatrix.compare.ledger import Ledger, open_ledger
from llamatrix.compare.replay import (
    REPLAY_METRICS,
    ReplayCase,
    ReplaySubject,
    broken_template,
    newly_failing,
    replay_cases,
)
from llamatrix.compare.run import (
    RunSettings,
    TimingComparison,
    compare_speeds,
    say_forecast,
)
from llamatrix.compare.session import ArmCells, Session, Subject
from llamatrix.compare.speed import (
    SPEED_METRICS,
    UNBUILT,
    Provide,
    SpeedCase,
    SpeedSubject,
    model_amounts,
    parse_metrics,
    provide_arms,
    speed_cases,
)
from llamatrix.config.cell import Cell, EngineCell
from llamatrix.config.context import (
    Context,
    choose_profile,
    load_context,
    with_model,
)
from llamatrix.config.endpoint_cell import EndpointCell
from llamatrix.config.expand import matches_any, select_cells
from llamatrix.config.matrix import Model
from llamatrix.engines.endpoint.client import Reported
from llamatrix.engines.protocol import Installed
from llamatrix.engines.registry import ENGINE
from llamatrix.errors import (
    MatrixError,
    MeasureError,
    ReportError,
    ServeError,
)
from llamatrix.host import this_host
from llamatrix.measure.disturbances import KernelWatch, Watch
from llamatrix.progress import say
from llamatrix.project import Project, user_path
from llamatrix.provision.build import CompileError
from llamatrix.provision.local_pins import with_local_pins
from llamatrix.provision.resolve import with_named_pin
from llamatrix.provision.resolve_weights import with_known_weights
from llamatrix.proxy.recording import read_recording
from llamatrix.records.pair_records import ENDPOINT_PAIRS, REPLAY_PAIRS, SPEED_PAIRS
from llamatrix.records.store import RecordKind, Store
from llamatrix.records.trial_record import TrialRecord
from llamatrix.report.comparison import (
    comparison_json,
    comparison_junit,
    comparison_markdown,
    comparison_text,
)
from llamatrix.report.render.markdown import write_page
from llamatrix.stats.pairs import Arm
from llamatrix.stats.sequential import (
    PLANNED,
    PairedComparison,
    SequentialTest,
    broken_comparison,
    judge,
)
from llamatrix.stats.verdict import Metric, Verdict
from llamatrix.trials.requirements import unmet
from llamatrix.trials.stubs.serving import Services
from llamatrix.trials.trial_result import TrialOutcome
from llamatrix.units import parse_duration_s

_METRICS = "tg,pp"
_AGENTS_ALONE = dict.fromkeys(
    ("agent", "context7", "trials", "tasks"), "only with --agent"
)
_REFUSED = {
    "speed": {
        "server": "llama-bench has no server; give a recorded session as --replay",
        "template": "llama-bench has no template; give a recorded session as --replay",
        **_AGENTS_ALONE,
    },
    "endpoint": {
        "server": "the sweep has the flags of a pin's server; leave this out",
        "template": "prompts have the template inside the weights",
        "draft": "drafts are compared between pins",
        **_AGENTS_ALONE,
    },
    "replay": {
        "endpoint": "an endpoint does not replay; leave out --replay",
        "sweep": "a replay has no sweep; server:NAME names a server's flags",
        "draft": "drafts are compared by speed alone",
        "model": "the prompts of a replay are those of one model",
        **_AGENTS_ALONE,
    },
    "agent": {
        "endpoint": "trials on endpoints are not compared; leave out --agent",
        "sweep": "agents have no sweep; server:NAME names a server's flags",
        "draft": "drafts are compared by speed alone",
        "replay": "a recorded session has no agent; leave out one of the two",
        "metric": "agents are compared by their pass rates",
        "margin": "of pass rates 10 points matter",
        "again": "for more trials raise --trials",
        "max_background_load": "trials are not timed against each other",
    },
}
"""By subject: kinds of arms and flags that mean nothing to it, with the remedy."""
CaseT = TypeVar("CaseT", ReplayCase, SpeedCase, EndpointCase, AgentCase)


def regress(flags: RegressFlags) -> int:
    """Compare, print, write the files; return the exit code of the verdict.

    With `--git-bisect` it is what `git bisect run` takes the verdict for; `tasks.py`
    stops the search where there is none.
    """
    for name in filter(None, (flags.junit, flags.markdown)):
        require_writable(name)
    result = _COMPARISONS[subject_of(flags)](flags)
    if result is None:
        return 0
    if flags.junit:
        write_text(flags.junit, comparison_junit(result))
    if flags.markdown:
        write_text(flags.markdown, comparison_markdown(result))
    print(comparison_json(result) if flags.json else comparison_text(result).rstrip())
    return git_bisect_code(result) if flags.git_bisect else result.verdict.exit_code


def git_bisect_code(result: TimingComparison | AgentComparison) -> int:
    """0 for good, 1 for bad, 125 for a commit that cannot be tested."""
    unbuilt = isinstance(result, TimingComparison) and any(
        UNBUILT in note
        for cell in result.judgement.cells
        for note in cell.comparison.notes
    )
    if unbuilt or result.verdict is Verdict.INCONCLUSIVE:
        return 125
    return int(result.verdict in {Verdict.SLOWER, Verdict.BROKEN})


def subject_of(flags: RegressFlags) -> str:
    """Return what is compared; MatrixError for a flag that means nothing to it."""
    subject = "agent" if flags.agent else "replay" if flags.replay else "speed"
    if subject == "speed" and "endpoint:" in f"{flags.baseline}{flags.candidate}":
        subject = "endpoint"
    for setting in fields(flags):
        why = _REFUSED[subject].get(setting.name)
        if why and getattr(flags, setting.name) != setting.default:
            where = "not with --agent: " if subject == "agent" else ""
            raise MatrixError(f"--{setting.name.replace('_', '-')}: {where}{why}")
    return subject


def require_writable(name: str) -> None:
    """ReportError, before anything is measured, for a file that cannot be written."""
    path = Path(name).absolute()
    nearest = next(folder for folder in (path, *path.parents) if folder.exists())
    folder_in_its_place = nearest == path and path.is_dir()
    file_as_parent = nearest != path and not nearest.is_dir()
    if folder_in_its_place or file_as_parent or not os.access(nearest, os.W_OK):
        raise ReportError(f"{name}: cannot be written; nothing was measured")


def write_text(name: str, text: str) -> None:
    say(f"written: {write_page(Path(name), text)}")


@dataclass(kw_only=True, slots=True)
class _Timing:
    """A comparison by timing: what it is run with, and which of its cases can run."""

    flags: RegressFlags
    settings: RunSettings
    context: Context
    kind: RecordKind[Any]
    """Of the records of its pairs."""
    provide: Provide
    watch: Watch | None = None
    sessions: list[Session[Any]] = field(default_factory=list)
    unready: dict[str, PairedComparison] = field(default_factory=dict)

    def parts(self, cells: Mapping[Arm, Cell]) -> Mapping[Arm, Installed] | str:
        """Both arms' parts, or why the candidate is broken; nothing for a dry run."""
        if self.flags.dry_run:
            return {}
        return provide_arms(cells, self.context.project, self.provide)

    def ledger(self, case_id: str, digest: str) -> Ledger[Any]:
        """Open the series of a case; not for a dry run where there is no room for it."""
        store = Store(reports=self.context.project.reports, kind=self.kind)
        if not self.flags.dry_run:
            store.require_room(this_host().slug)
        return open_ledger(store, case=case_id, digest=digest, again=self.flags.again)

    def add(self, subject: Subject[Any], ledger: Ledger[Any]) -> None:
        self.sessions.append(
            Session(
                subject=subject,
                ledger=ledger,
                project=self.context.project,
                watch=self.watch or KernelWatch(),
                tolerated_percent=self.flags.max_background_load,
            )
        )

    def give_up(self, case_id: str, metric: Metric, why: str) -> None:
        """Take a case as broken, without any pair."""
        self.unready[case_id] = broken_comparison(
            why,
            unit=metric.unit,
            margin=self.settings.margin_of(metric),
            alpha=self.settings.sequential.alpha_per_look,
        )

    def compare(
        self,
        compared: Mapping[str, ArmCells],
        *,
        servers: Mapping[Arm, str] | None = None,
        reported: Mapping[Arm, Reported] | None = None,
    ) -> TimingComparison | None:
        """Run the sessions and judge; None after a dry run, which says the forecast."""
        if self.flags.dry_run:
            cases = [case for session in self.sessions for case in session.cases]
            say_forecast(cases, self.settings)
            return None
        return compare_speeds(
            compared,
            self.sessions,
            self.unready,
            self.settings,
            profile=self.context.profile,
            servers=servers,
            reported=reported,
        )


def compare_benches(
    flags: RegressFlags,
    *,
    project: Project | None = None,
    context: Context | None = None,
    provide: Provide | None = None,
    watch: Watch | None = None,
    sequential: SequentialTest = PLANNED,
) -> TimingComparison | None:
    """Compare the arms by llama-bench; None after a dry run, which only says the plan.

    A context that is given has the pins that the arms name.
    """
    settings = replace(_settings(flags), sequential=sequential)
    metrics = parse_metrics(flags.metric or _METRICS, SPEED_METRICS)
    context = context or speed_context(flags, project)
    context, arms = _arms(flags, context, "speed")
    context, cases = _planned(
        flags,
        context,
        partial(speed_cases, arms=arms, metrics=metrics, cells=flags.cells),
    )
    timing = _Timing(
        flags=flags,
        settings=settings,
        context=context,
        kind=SPEED_PAIRS,
        provide=provide or _provider(flags),
        watch=watch,
    )
    for case in cases:
        say(f"{case.id}: {case.lacking or 'to compare'}")
    for case in cases:
        if case.test is None:
            margin = settings.margin_of(case.metric)
            alone = judge((), unit=case.metric.unit, margin=margin)
            timing.unready[case.id] = alone.with_notes(case.lacking)
            continue
        parts = timing.parts(case.cells)
        if isinstance(parts, str):
            timing.give_up(case.id, case.metric, parts)
            continue
        subject = SpeedSubject(
            case=case,
            metrics=(case.metric,),
            test=case.test,
            parts=parts,
            project=context.project,
        )
        timing.add(subject, timing.ledger(case.id, case.digest))
    result = timing.compare({case.id: case for case in cases})
    if result is None:
        return None
    runs = {session.subject.id: session.ledger.own for session in timing.sessions}
    models = (
        one for case in cases for one in model_amounts(case, runs.get(case.id, ()))
    )
    return replace(result, models=tuple(models))


def compare_endpoints(flags: RegressFlags) -> TimingComparison | None:
    """Compare an endpoint with a pin or another endpoint; None after a dry run."""
    metrics = parse_metrics(flags.metric or _METRICS, SPEED_METRICS)
    context, arms = _arms(flags, speed_context(flags), "endpoint")
    context, cases = _planned(
        flags,
        context,
        partial(endpoint_cases, arms=arms, metrics=metrics, cells=flags.cells),
    )
    timing = _Timing(
        flags=flags,
        settings=_settings(flags),
        context=context,
        kind=ENDPOINT_PAIRS,
        provide=_provider(flags),
    )
    for case in cases:
        say(f"{case.id}: to compare")
    if flags.dry_run:
        return None
    reported = identified(cases[0])
    for case in cases:
        parts = {
            arm: timing.provide(arm, cell, context.project)
            for arm, cell in case.cells.items()
            if isinstance(cell, Cell)
        }
        ledger = timing.ledger(case.id, case.digest(reported))
        subject = EndpointSubject(
            case=case,
            metrics=(case.metric,),
            test=case.test,
            parts=parts,
            reported=reported,
            seed=ledger.seed,
            project=context.project,
        )
        timing.add(subject, ledger)
    return timing.compare({case.id: case for case in cases}, reported=reported)


def compare_replays(
    flags: RegressFlags,
    *,
    project: Project | None = None,
    watch: Watch | None = None,
) -> TimingComparison | None:
    """Compare the arms on one recorded session; None after a dry run."""
    settings = _settings(flags)
    metrics = parse_metrics(flags.metric, REPLAY_METRICS)
    recording = read_recording(user_path(flags.replay))
    if recording.left_out:
        say(f"{recording.left_out} calls of the recording are left out")
    context, arms = _arms(flags, speed_context(flags, project), "replay")
    templates = _named_templates(arms, context)

    def planned(known: Context) -> tuple[ReplayCase, ...]:
        return select_cells(
            replay_cases(known, arms, recording=recording, templates=templates),
            flags.cells,
            ids=lambda case: [
                name for metric in metrics for name in _replay_ids(case, metric)
            ],
        )

    context, cases = _planned(flags, context, planned)
    wanted = {
        case.id: tuple(
            metric
            for metric in metrics
            if not flags.cells or matches_any(_replay_ids(case, metric), [flags.cells])
        )
        for case in cases
    }
    compared = {
        f"{case.id}/{metric}": case for case in cases for metric in wanted[case.id]
    }
    for case_id in compared:
        say(f"{case_id}: to compare")
    timing = _Timing(
        flags=flags,
        settings=settings,
        context=context,
        kind=REPLAY_PAIRS,
        provide=_provider(flags),
        watch=watch,
    )
    for case in cases:
        parts = timing.parts(case.cells)
        subject = _replay_subject(case, wanted[case.id], parts, context)
        ledger = timing.ledger(case.id, case.digest)
        broken = parts if isinstance(parts, str) else ""
        if not broken and not flags.dry_run:
            broken = broken_template(subject, ledger.own)
        if not broken:
            timing.add(subject, ledger)
            continue
        for metric in subject.metrics:
            timing.give_up(f"{case.id}/{metric}", metric, broken)
    return timing.compare(compared, servers=cases[0].servers)


def _replay_subject(
    case: ReplayCase,
    metrics: tuple[Metric, ...],
    parts: Mapping[Arm, Installed] | str,
    context: Context,
) -> ReplaySubject:
    """Return the subject with the servers of both arms, where these can be had."""
    parts = {} if isinstance(parts, str) else parts
    return ReplaySubject(
        case=case,
        metrics=metrics,
        parts=parts,
        launches={
            arm: launch_with(
                case.cells[arm],
                case.flags[arm],
                own.weights.path,
                context,
                case.templates.get(arm),
            )
            for arm, own in parts.items()
        },
        project=context.project,
    )


def _replay_ids(case: ReplayCase, metric: Metric) -> tuple[str, ...]:
    return (f"{case.id}/{metric}", *(cell.id for cell in case.cells.values()))


def compare_trials(
    flags: RegressFlags,
    *,
    project: Project | None = None,
    attempts: Attempts | None = None,
) -> AgentComparison | None:
    """Compare the arms by agents' trials; None after a dry run."""
    settings = _settings(flags)
    context = load_context(
        flags.profile, weights_dir=flags.weights_dir, project=project
    )
    context, arms = _arms(flags, context, "agent")
    words = [word.strip() for word in flags.tasks.split(",") if word.strip()]
    context, cases = _planned(
        flags,
        context,
        partial(
            agent_cases,
            arms=arms,
            trials=flags.trials,
            tasks=tuple(dict.fromkeys(words)),
            cells=flags.cells,
            templates=_named_templates(arms, context),
        ),
    )
    for case in cases:
        say(f"{case.id}: to compare")
    with ExitStack() as stack:
        own = attempts or RealAttempts(context=context, stack=stack)
        trials = trial_cases(cases, context.project, own)
        say_trials_forecast(trials, trials=flags.trials, budget_s=settings.budget_s)
        if flags.dry_run:
            return None
        return compare_agents(
            trials,
            profile=context.profile,
            trials=flags.trials,
            budget_s=settings.budget_s,
        )


def _settings(flags: RegressFlags) -> RunSettings:
    return RunSettings(
        budget_s=parsed("--budget", flags.budget, parse_duration_s),
        margin=parse_margin(flags.margin),
    )


def speed_context(flags: RegressFlags, project: Project | None = None) -> Context:
    """Load the profile of a comparison by timing.

    `engines` on a CPU, and full-sized synthetic weights of what a card holds; where the
    arms name models, the profile that fits this machine.
    """
    profile = flags.profile
    if not profile and "model:" not in f"{flags.baseline}{flags.candidate}":
        chosen = choose_profile().profile
        profile = {"smoke": "engines", "published": "synthetic"}.get(chosen, chosen)
    return load_context(profile, weights_dir=flags.weights_dir, project=project)


def _arms(
    flags: RegressFlags, context: Context, subject: str
) -> tuple[Context, dict[Arm, ArmSettings]]:
    """Read both arms; MatrixError for a kind that means nothing to the subject.

    The context has the pins and models that only the command line names, and hashes of
    local pins.
    """
    texts = {Arm.BASELINE: flags.baseline, Arm.CANDIDATE: flags.candidate}
    if subject != "agent" and not all(texts.values()):
        missing = next(arm for arm, text in texts.items() if not text)
        raise MatrixError(
            f"--{missing}: missing; name both arms, for example --baseline april "
            "--candidate current, or --candidate current,build:cpu-native"
        )
    arms = {}
    for arm, text in texts.items():
        named = text
        for model in re.findall(r"model:([^,]+)", text):
            matrix, key = with_model(context.matrix, model, flag=f"--{arm} model")
            context = replace(context, matrix=matrix)
            named = named.replace(f"model:{model}", f"model:{key}")
        settings = parse_arm(named, context.matrix, flag=f"--{arm}")
        if settings.pin:
            context, key = with_named_pin(context, settings.pin, flag=f"--{arm}")
            settings = replace(settings, pin=key)
        for setting in fields(settings):
            why = _REFUSED[subject].get(setting.name)
            if why and getattr(settings, setting.name):
                raise MatrixError(f"--{arm} {text!r}: {why}")
        arms[arm] = settings
    if subject == "agent" and len({bool(one.model) for one in arms.values()}) > 1:
        raise MatrixError(
            "model: one arm names a model, so the other must name one too"
        )
    arms = with_pins(arms, context.matrix, context.profile)
    return with_local_pins(context, [one.pin for one in arms.values()]), arms


def _planned(
    flags: RegressFlags, context: Context, cases: Callable[[Context], tuple[CaseT, ...]]
) -> tuple[Context, tuple[CaseT, ...]]:
    """The cases, once more where their published weights become known by asking."""
    planned = cases(context)
    cells = _engine_cells(cell for case in planned for cell in case.cells.values())
    known = with_known_weights(context, cells, ask_hub=not flags.dry_run)
    return known, planned if known.lock == context.lock else cases(known)


def _engine_cells(cells: Iterable[EngineCell | EndpointCell]) -> list[EngineCell]:
    return [cell for cell in cells if isinstance(cell, EngineCell)]


def _named_templates(
    arms: Mapping[Arm, ArmSettings], context: Context
) -> NamedTemplate:
    def named(arm: Arm, model: Model) -> Template | None:
        name = arms[arm].template
        if not name:
            return None
        return template_named(name, model, context, flag=f"--{arm} template")

    return named


def _provider(flags: RegressFlags) -> Provide:
    folder = user_path(flags.weights_dir) if flags.weights_dir else None

    def provide(_arm: Arm, cell: Cell, project: Project) -> Installed:
        return ENGINE.install(cell, project.cache, weights_dir=folder)

    return provide


@dataclass(kw_only=True, slots=True)
class RealAttempts:
    """Trials of a real agent, with what both arms need provided once."""

    context: Context
    stack: ExitStack
    """Ends what the trials share."""
    _parts: dict[tuple[str, ...], AgentParts] = field(default_factory=dict)
    _services: dict[str, Services | None] = field(default_factory=dict)

    def lacking(self, case: AgentCase) -> str:
        for cell in case.cells.values():
            if why := unmet(cell, self.context.project.cache, os.environ):
                return describe(why)
        return ""

    def broken(self, case: AgentCase) -> str:
        """A baseline that cannot be had stops the harness: nothing could be compared.

        So does a package of either arm that cannot be fetched.
        """
        baseline = self._provided(case, Arm.BASELINE)
        try:
            candidate = self._provided(case, Arm.CANDIDATE)
        except CompileError as error:
            return f"{UNBUILT}: {error}"
        except (MeasureError, ServeError) as error:
            return f"the candidate's template cannot be proven: {error}"
        if baseline.served is None or candidate.served is None:
            return ""  # an endpoint's template is not known
        return newly_failing(baseline.served.template, candidate.served.template)

    def attempt(
        self, case: AgentCase, arm: Arm, number: int, store: Store[TrialRecord]
    ) -> TrialRecord:
        cells, project = list(case.cells.values()), self.context.project
        network = str(cells[0].agent.network)
        if network not in self._services:
            self._services[network] = shared_services(cells, project, self.stack)
        return recorded_attempt(
            trial_status(case.cells[arm], store),
            number,
            self._provided(case, arm),
            project,
            self._services[network],
            store,
        )

    def describe(self, outcome: TrialOutcome) -> str:
        return describe(outcome)

    def _provided(self, case: AgentCase, arm: Arm) -> AgentParts:
        """The tasks of one engine share everything."""
        same = Arm.BASELINE if case.identical else arm
        key = (same, case.cells[arm].weights_key)
        if key not in self._parts:
            self._parts[key] = provide_agent_parts(
                case.cells[arm],
                self.context,
                template=case.templates.get(arm),
                any_template=True,  # what fails in both arms breaks neither
            )
        return self._parts[key]


_COMPARISONS: dict[
    str, Callable[[RegressFlags], TimingComparison | AgentComparison | None]
] = {
    "speed": compare_benches,
    "endpoint": compare_endpoints,
    "replay": compare_replays,
    "agent": compare_trials,
}
"""By subject."""
