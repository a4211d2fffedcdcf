"""`invoke regress --replay`: a recorded agent session by both arms, in pairs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llamatrix.commands.launching import Template, launch_with, template_named
from llamatrix.commands.regress.arms import matching
from llamatrix.commands.regress.command import Provide, provide_arms, provide_from
from llamatrix.commands.regress.pairing import last_series, ledger_id, series_seed
from llamatrix.commands.regress.proving import broken_template
from llamatrix.commands.regress.replay_case import (
    REPLAY_METRICS,
    ReplayCase,
    SessionCase,
    Sessions,
)
from llamatrix.commands.regress.replay_ledger import REPLAY_PAIRS
from llamatrix.commands.regress.replaying import Session
from llamatrix.commands.regress.request import Request
from llamatrix.commands.regress.session_metric import SessionMetric
from llamatrix.commands.regress.together import answer_of, say_plan
from llamatrix.config.context import Context
from llamatrix.config.lock import Lock
from llamatrix.config.matrix import Model
from llamatrix.engines.llama_cpp.engine import Installed
from llamatrix.engines.llama_cpp.launch import Launch
from llamatrix.errors import MeasureError
from llamatrix.host import this_host
from llamatrix.measure.disturbances import KernelWatch, Watch
from llamatrix.progress import say
from llamatrix.project import Project, find_project
from llamatrix.proxy.recording import Recording, read_recording
from llamatrix.records.store import Store
from llamatrix.report.regress import Regression
from llamatrix.stats.pairs import Arm
from llamatrix.stats.sequential import PairedComparison, broken_comparison


def replay(
    request: Request,
    *,
    project: Project | None = None,
    provide: Provide | None = None,
    watch: Watch | None = None,
) -> Regression | None:
    """Compare the arms on one recording; None after a dry run."""
    project = project or find_project()
    if request.replay is None:
        raise MeasureError("nothing to replay: give a recording's folder as --replay")
    recording = read_recording(request.replay)
    if recording.left_out:
        say(f"{recording.left_out} calls of the recording are left out")
    context, cases = _planned(request.context_in(project), request, recording)
    making = _Making(
        context=context,
        project=project,
        request=request,
        watch=watch or KernelWatch(),
        provide=provide or provide_from(request.weights_dir),
    )
    if request.dry_run:
        say_plan(making.metrics_of(cases, {}), request)
        return None
    parts, unready = making.provided(cases)
    ready = making.metrics_of([case for case in cases if case.id not in unready], parts)
    for session in {one.session: one.shared for one in ready}.values():
        if why := broken_template(session):
            say(why)
            unready |= making.broken(cases, session.case, why)
    ready = [one for one in ready if one.id not in unready]
    servers = cases[0].session.servers
    return answer_of(
        cases, ready, unready, request, profile=context.profile, servers=servers
    )


def _planned(
    context: Context, request: Request, recording: Recording
) -> tuple[Context, tuple[ReplayCase, ...]]:
    def named(arm: Arm, model: Model) -> Template | None:
        name = request.asked[arm].template
        if not name:
            return None
        flag = f"--{arm}-template"
        return template_named(name, model, context, flag=flag)

    sessions = Sessions(
        matrix=context.matrix,
        profile=context.profile,
        asked=request.asked,
        recording=recording,
        templates=named,
    )

    def cases(known: Lock) -> tuple[ReplayCase, ...]:
        every = sessions.cases(known, request.metrics or REPLAY_METRICS)
        return matching(every, request.cells)

    planned = cases(context.lock)
    cells = [cell for case in planned for cell in case.cells.values()]
    known = request.with_known_weights(context, cells)
    planned = cases(known.lock) if known.lock != context.lock else planned
    for case in planned:
        say(f"{case.id}: to compare")
    return known, planned


@dataclass(frozen=True, kw_only=True, slots=True)
class _Making:
    """From cases to sessions with everything they need."""

    context: Context
    project: Project
    request: Request
    watch: Watch
    provide: Provide

    def provided(
        self, cases: Sequence[ReplayCase]
    ) -> tuple[dict[str, dict[Arm, Installed]], dict[str, PairedComparison]]:
        """By session its parts, by case what is to be said where there are none."""
        parts: dict[str, dict[Arm, Installed]] = {}
        unready: dict[str, PairedComparison] = {}
        for session in {case.session.id: case.session for case in cases}.values():
            found = provide_arms(session.cells, self.project, self.provide)
            if not isinstance(found, str):
                parts[session.id] = found
                continue
            unready |= self.broken(cases, session, found)
        return parts, unready

    def broken(
        self, cases: Sequence[ReplayCase], session: SessionCase, why: str
    ) -> dict[str, PairedComparison]:
        """What is to be said of each metric of a session that cannot be replayed."""
        return {
            case.id: broken_comparison(
                why,
                margin=self.request.margin_of(case.metric),
                alpha=self.request.sequential.alpha_per_look,
                unit=case.metric.unit,
            )
            for case in cases
            if case.session.id == session.id
        }

    def metrics_of(
        self, cases: Sequence[ReplayCase], parts: dict[str, dict[Arm, Installed]]
    ) -> list[SessionMetric]:
        """The cases to conduct; those of one session share it."""
        sessions = {
            case.session.id: self._session(case.session, parts.get(case.session.id, {}))
            for case in {case.session.id: case for case in cases}.values()
        }
        return [
            SessionMetric(shared=sessions[case.session.id], metric=case.metric)
            for case in cases
        ]

    def _session(self, case: SessionCase, parts: dict[Arm, Installed]) -> Session:
        store = Store(reports=self.project.reports, kind=REPLAY_PAIRS)
        if not self.request.dry_run:
            store.require_room(this_host().slug)
        entries = store.read(
            host_slug=this_host().slug, record_id=ledger_id(case.id, case.digest)
        )
        series = last_series(entries) + (self.request.again and bool(entries))
        return Session(
            case=case,
            launches={
                arm: self._launch(case, arm, found) for arm, found in parts.items()
            },
            parts=parts,
            project=self.project,
            store=store,
            series=series,
            seed=series_seed(entries, series),
            watch=self.watch,
            tolerated_percent=self.request.tolerated_percent,
            entries=entries,
            known=len(entries),
        )

    def _launch(self, case: SessionCase, arm: Arm, parts: Installed) -> Launch:
        server = self.context.matrix.servers[case.servers[arm]]
        launch = launch_with(case.cells[arm], server, parts.weights.path, self.context)
        named = case.templates.get(arm)
        if named is None:
            return launch
        return replace(launch, template=named.path, template_pin=named.sha256)
