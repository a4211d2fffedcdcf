"""The subject `replay`: a recorded agent session, replayed by fresh servers of both arms."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from llamatrix.compare.arms import ArmSettings, NamedTemplate, Template, both
from llamatrix.compare.session import Subject
from llamatrix.compare.speed import HANGS_AFTER, PATIENCE_S, facing_cells
from llamatrix.config.cell import Cell
from llamatrix.config.context import Context
from llamatrix.config.expand import select_profile
from llamatrix.config.lock import LockedTemplate, locked_template
from llamatrix.config.matrix import Server
from llamatrix.engines.protocol import Installed, Launch, Timeouts
from llamatrix.engines.registry import ENGINE
from llamatrix.errors import MatrixError, MeasureError, ServeError
from llamatrix.host import this_host
from llamatrix.measure.disturbances import Load, disturbances_throughout
from llamatrix.measure.replay import (
    Replayed,
    ReplayFailed,
    ReplayFailureKind,
    Script,
    replay,
    script_of,
)
from llamatrix.measure.telemetry import sampling
from llamatrix.measure.templates.checks import Conformance
from llamatrix.measure.templates.suite import check_template
from llamatrix.measuring import measuring
from llamatrix.progress import say
from llamatrix.provision.compiler import compiler_id
from llamatrix.proxy.recording import Recording
from llamatrix.records.pair_records import ReplayRun
from llamatrix.records.store import stamp
from llamatrix.shell import TAIL_LINES, read_log
from llamatrix.stats.pairs import Arm
from llamatrix.stats.verdict import Metric

REPLAY_VERSION = 1
"""Bumped by hand when sessions are replayed in another way."""
REPLAY_METRICS = (Metric.PROMPT, Metric.GENERATION, Metric.FIRST_TOKEN)
_ID_LENGTH = 8
_LONGEST_CALL_S = 3600.0


class ChangedPromptsError(MeasureError):
    """A template makes other prompts of the recording than in this series' pairs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayCase:
    """One model in both arms, replaying one recording."""

    cells: Mapping[Arm, Cell]
    servers: Mapping[Arm, str]
    """Names in matrix.toml …"""
    flags: Mapping[Arm, Server]
    """… and what stands there."""
    pinned: LockedTemplate | None
    """The model's corrected template; None where the one in its weights serves …"""
    templates: Mapping[Arm, Template]
    """… but of an arm that has one here, this."""
    recording: Recording

    @property
    def id(self) -> str:
        """As a cell id, with server and template where the arms differ, then the recording."""
        baseline, candidate = (self.cells[arm] for arm in Arm)
        differing = [
            both(*names.values())
            for names in (self.servers, self.template_names)
            if len(set(names.values())) > 1
        ]
        return "/".join(
            [
                *("replay", baseline.weights_key),
                both(baseline.pin_key, candidate.pin_key),
                both(baseline.build_key, candidate.build_key),
                *differing,
                self.recording.digest[:_ID_LENGTH],
            ]
        )

    @property
    def digest(self) -> str:
        """Over all that identifies both arms here: pairs of another one never mix."""
        content = (REPLAY_VERSION, self.recording.digest, [*map(self._arm, Arm)])
        return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()

    @property
    def identical(self) -> bool:
        baseline, candidate = (self._arm(arm) for arm in Arm)
        return baseline == candidate

    @property
    def same_prompts(self) -> bool:
        """Whether both arms get the very same tokens: one template made them."""
        baseline, candidate = (self._template(arm) for arm in Arm)
        return baseline == candidate

    @property
    def template_names(self) -> dict[Arm, str]:
        """For people; the model's own where none was named."""
        own = str(self.cells[Arm.BASELINE].model.chat_template_file or "embedded")
        named = {arm: template.name for arm, template in self.templates.items()}
        return {arm: named.get(arm, own) for arm in Arm}

    def _template(self, arm: Arm) -> str | None:
        if arm in self.templates:
            return self.templates[arm].sha256
        return self.pinned.result_sha256 if self.pinned else None

    def _arm(self, arm: Arm) -> tuple[object, ...]:
        """Of the model its settings as a server: what it is called does not count."""
        cell = self.cells[arm]
        model = cell.model
        return (
            cell.digest(
                host_slug=this_host().slug, compiler=compiler_id(cell.build.backend)
            ),
            self.flags[arm],
            (model.ctx_size, model.temp, model.top_k, model.top_p, model.min_p),
            model.chat_template_kwargs,
            self._template(arm),
        )


def replay_cases(
    context: Context,
    arms: Mapping[Arm, ArmSettings],
    *,
    recording: Recording,
    templates: NamedTemplate,
) -> list[ReplayCase]:
    """Every model of the profile, in its order."""
    matrix, profile = context.matrix, context.profile
    own = select_profile(matrix, profile).server
    servers = {arm: arms[arm].server or own for arm in Arm}
    named_servers = {arm: name for arm, name in servers.items() if name}
    if len(named_servers) < len(Arm):
        raise MatrixError(
            f"matrix.toml: profiles.{profile}.server: missing: name one of "
            f"{', '.join(matrix.servers)} to serve this profile's models"
        )
    cases = []
    for facing in facing_cells(context, arms):
        model_key, model = facing[Arm.BASELINE].model_key, facing[Arm.BASELINE].model
        named = {arm: templates(arm, model) for arm in Arm}
        cases.append(
            ReplayCase(
                cells={arm: _without_sweep(cell) for arm, cell in facing.items()},
                servers=named_servers,
                flags={arm: matrix.servers[named_servers[arm]] for arm in Arm},
                pinned=locked_template(matrix, context.lock, model_key),
                templates={
                    arm: template for arm, template in named.items() if template
                },
                recording=recording,
            )
        )
    return cases


def _without_sweep(cell: Cell) -> Cell:
    """llama-bench's sizes cannot change what a server does."""
    sweep = msgspec.structs.replace(
        cell.sweep, n_prompt=(), n_gen=(), n_depth=(0,), repetitions=1, threads=None
    )
    return msgspec.structs.replace(cell, sweep=sweep)


@dataclass(kw_only=True, slots=True)
class ReplaySubject(Subject[ReplayRun]):
    case: ReplayCase
    launches: Mapping[Arm, Launch]
    parts: Mapping[Arm, Installed]
    timeouts: Timeouts = field(default_factory=Timeouts)
    scripts: dict[Arm, Script] = field(default_factory=dict)
    """The prompts of an arm, made once for all of its processes."""

    def case_id(self, metric: Metric) -> str:
        return f"{self.case.id}/{metric}"

    def work(self, own: Sequence[ReplayRun]) -> str:  # noqa: ARG002
        return f"{len(self.case.recording.calls)} calls"

    def prepare(self, arm: Arm, own: Sequence[ReplayRun]) -> None:
        """Make the prompts of an arm, and hold them against those of earlier pairs.

        The baseline makes them for both, unless the arms' templates differ.
        """
        maker = Arm.BASELINE if self.case.same_prompts else arm
        if maker not in self.scripts:
            launch, log = self.launches[maker], self._log(maker)
            with ENGINE.serve(launch, log=log, timeouts=self.timeouts) as serving:
                script = script_of(self.case.recording, serving)
            tokens = sum(len(call.tokens) for call in script.calls)
            calls = len(script.calls)
            say(f"{self.id}: {maker}: {calls} calls, {tokens} prompt tokens")
            self.scripts[maker] = script
        script = self.scripts[arm] = self.scripts[maker]
        earlier = {run.script for run in own if run.arm is arm}
        if earlier - {script.sha256}:
            raise ChangedPromptsError(
                f"{self.id}: the prompts are not those of this series' earlier "
                "pairs: the template may write the date into them; --again begins a "
                "new series"
            )

    def run(self, arm: Arm, own: Sequence[ReplayRun], *, pair: int) -> ReplayRun:  # noqa: ARG002
        script, launch, log = self.scripts[arm], self.launches[arm], self._log(arm)
        cell, parts = self.case.cells[arm], self.parts[arm]
        known = [
            max(call.wall_s for call in run.outcome.calls)
            for run in own
            if run.arm is Arm.BASELINE and isinstance(run.outcome, Replayed)
        ]
        limit_s = _LONGEST_CALL_S
        if known:
            limit_s = min(limit_s, max(PATIENCE_S, HANGS_AFTER * max(known)))
        begin = time.monotonic()
        argv: tuple[str, ...] = ()
        outcome: Replayed | ReplayFailed
        with sampling() as sampler:
            try:
                with ENGINE.serve(launch, log=log, timeouts=self.timeouts) as serving:
                    argv = serving.argv
                    sampler.since_last_take()  # loading is no part of it
                    outcome = replay(script, serving, timeout_s=limit_s)
                    telemetry = sampler.since_last_take()
            except ServeError as error:
                telemetry = sampler.since_last_take()
                outcome = ReplayFailed(
                    way=ReplayFailureKind.NOT_SERVED,
                    call=0,
                    said="; ".join(map(str.strip, str(error).splitlines()[:2])),
                    tail=tuple(read_log(log).splitlines()[-TAIL_LINES:]),
                )
        seconds = time.monotonic() - begin
        if isinstance(outcome, ReplayFailed):
            outcome = msgspec.structs.replace(
                outcome,
                said=self.without_folders(outcome.said, arm),
                tail=tuple(self.without_folders(line, arm) for line in outcome.tail),
            )
        else:  # a failure's clocks mean little: nothing is said of them
            telemetry = msgspec.structs.replace(
                telemetry, disturbances=disturbances_throughout(telemetry)
            )
        return ReplayRun(
            case=self.case.id,
            digest=self.case.digest,
            series=0,
            pair=0,
            place=0,
            arm=arm,
            cell=cell.id,
            server=self.case.servers[arm],
            recording=self.case.recording.digest,
            script=script.sha256,
            argv=tuple(self.without_folders(word, arm) for word in argv),
            outcome=outcome,
            seconds=seconds,
            load=Load(),
            disturbed="",
            telemetry=telemetry,
            locked=cell.locked,
            build=parts.built.manifest,
            weights=parts.weights.facts,
            **stamp(),
        )

    def _log(self, arm: Arm) -> Path:
        return self.project.logs / f"{self.id.replace('/', '-')}-{arm}.log"

    def without_folders(self, text: str, arm: Arm) -> str:
        """Return the text without the folders of this machine: lines on disk hold no path."""
        launch = self.launches[arm]
        files = [launch.weights, launch.program, launch.template]
        folders = [file.parent for file in files if file]
        for folder in (*folders, self.project.cache, self.project.root):
            text = text.replace(f"{folder}/", "").replace(str(folder), "")
        return text

    def conformance(self, arm: Arm) -> Conformance | None:
        """What the suite says of an arm's template; None of one inside the weights."""
        launch = self.launches[arm]
        if launch.template is None:
            return None
        return check_template(
            launch,
            name=self.case.template_names[arm],
            pin=self.case.cells[arm].pin_key,
            log=self._log(arm),
            timeouts=self.timeouts,
        )


def broken_template(subject: ReplaySubject, own: Sequence[ReplayRun]) -> str:
    """Why the candidate's template makes it broken from the start; empty where not.

    Checked where the arms are not the same and the templates are files. A baseline that
    does not serve stops the harness.
    """
    case = subject.case
    if case.identical or subject.launches[Arm.CANDIDATE].template is None:
        return ""
    with measuring(purpose="proving a template"):
        say(f"{case.id}: proving the chat template in both arms")
        baseline = subject.conformance(Arm.BASELINE)
        subject.prepare(Arm.BASELINE, own)
        try:
            candidate = subject.conformance(Arm.CANDIDATE)
            if candidate and (why := newly_failing(baseline, candidate)):
                say(why)
                return why
            if not case.same_prompts:
                subject.prepare(Arm.CANDIDATE, own)
        except ChangedPromptsError:
            raise
        except (MeasureError, ServeError) as error:
            text = subject.without_folders(str(error), Arm.CANDIDATE)
            why = f"the candidate's template cannot be proven: {text}"
            say(why)
            return why
    return ""


def newly_failing(baseline: Conformance | None, candidate: Conformance) -> str:
    """The essential cases that only the candidate fails, with their reasons."""
    before = {case.id for case in baseline.failed} if baseline else set()
    failing = [
        case for case in candidate.failed if case.essential and case.id not in before
    ]
    if not failing:
        return ""
    return "\n".join(
        [
            f"the candidate's template {candidate.template} fails essential cases of "
            "`invoke template-check`: " + ", ".join(case.id for case in failing),
            *(f"{case.id}: {case.reason[:200]}" for case in failing),
        ]
    )
