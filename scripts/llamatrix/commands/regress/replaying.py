"""A session replayed by fresh servers, one arm after the other, watched and kept."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from llamatrix import __version__
from llamatrix.commands.regress.pairing import next_number, order_in_series
from llamatrix.commands.regress.replay_case import SessionCase
from llamatrix.commands.regress.replay_ledger import ReplayEntry
from llamatrix.engines.llama_cpp.engine import Installed
from llamatrix.engines.llama_cpp.launch import Launch
from llamatrix.engines.llama_cpp.server import Timeouts, read_log, running
from llamatrix.errors import MeasureError, ServeError
from llamatrix.exclusive import exclusive
from llamatrix.host import this_host
from llamatrix.measure.disturbances import Watch, disturbance, disturbances_throughout
from llamatrix.measure.replay import Replayed, ReplayFailed, ReplayFailureKind, replay
from llamatrix.measure.telemetry import Telemetry, sampling
from llamatrix.progress import say
from llamatrix.project import Project
from llamatrix.proxy.recording import Script, script_of
from llamatrix.records.store import Store
from llamatrix.shell import TAIL_LINES
from llamatrix.stats.pairs import Arm, drawn_order

_LONGEST_CALL_S = 3600.0
_HANGS_AFTER = 20
"""A call that takes so many times the baseline's longest is taken to hang …"""
_PATIENCE_S = 30.0
"""… but none is given up before this."""


class ChangedPromptsError(MeasureError):
    """A template makes other prompts of the recording than in this series' pairs."""


@dataclass(kw_only=True, slots=True)
class Session:
    """One recording in one series; what it knows is all on disk."""

    case: SessionCase
    launches: dict[Arm, Launch]
    parts: dict[Arm, Installed]
    project: Project
    store: Store[ReplayEntry]
    series: int
    seed: int
    """What the order of each pair is drawn from."""
    watch: Watch
    tolerated_percent: float
    entries: list[ReplayEntry]
    """Everything in the ledger, older series and our own additions included."""
    known: int = 0
    """How many of them were there before."""
    timeouts: Timeouts = field(default_factory=Timeouts)
    _scripts: dict[Arm, Script] = field(default_factory=dict)

    @property
    def own(self) -> list[ReplayEntry]:
        return [entry for entry in self.entries if entry.series == self.series]

    def run_pair(self) -> None:
        """Replay by both arms, in an order drawn from the seed of the series."""
        number = next_number(self.entries, self.series)
        order = drawn_order(self.seed, number)
        with exclusive(self.project.cache / "measuring.lock", purpose="measuring"):
            for place, arm in enumerate(order, 1):
                self.run(arm, pair=number, place=place)

    def run(self, arm: Arm, *, pair: int, place: int) -> ReplayEntry:
        """Replay by one fresh server and have its entry on the disk."""
        script = self.prepare(arm)
        cell, parts, launch = (
            self.case.cells[arm],
            self.parts[arm],
            self.launches[arm],
        )
        mark, begin = self.watch.mark(), time.monotonic()
        seen = self._seen(script, launch, self.log(arm))
        seconds = time.monotonic() - begin
        load = self.watch.since(mark)
        entry = ReplayEntry(
            case=self.case.id,
            digest=self.case.digest,
            series=self.series,
            pair=pair,
            place=place,
            arm=arm,
            cell=cell.id,
            server=self.case.servers[arm],
            recording=self.case.recording.digest,
            script=script.sha256,
            argv=tuple(self._bare(word, launch) for word in seen.argv),
            outcome=seen.outcome,
            seconds=seconds,
            load=load,
            disturbed=disturbance(
                load, seen.telemetry, tolerated_percent=self.tolerated_percent
            ),
            telemetry=seen.telemetry,
            locked=cell.locked,
            build=parts.built.manifest,
            weights=parts.weights.facts,
            host=this_host(),
            measured_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            made_by=f"llamatrix {__version__}",
            seed=self.seed,
            order=order_in_series(pair, place),
        )
        self.store.append(entry)
        self.entries.append(entry)
        return entry

    def _seen(self, script: Script, launch: Launch, log: Path) -> "_Seen":
        with sampling() as sampler:
            argv: tuple[str, ...] = ()
            try:
                with running(launch, log=log, timeouts=self.timeouts) as serving:
                    argv = serving.argv
                    sampler.since_last_take()  # loading is no part of it
                    outcome = replay(script, serving, timeout_s=self._limit_s())
                    telemetry = sampler.since_last_take()
            except ServeError as error:
                return _Seen(
                    argv=argv,
                    outcome=self._not_served(error, launch, log),
                    telemetry=sampler.since_last_take(),
                )
        if isinstance(outcome, ReplayFailed):
            outcome = self._bare_failure(outcome, launch)
        return _Seen(
            argv=argv, outcome=outcome, telemetry=_annotated(telemetry, outcome)
        )

    def prepare(self, arm: Arm) -> Script:
        """The prompts of an arm, made once for all processes of a run.

        The baseline makes them for both, but where the arms' templates differ.
        """
        maker = Arm.BASELINE if self.case.same_prompts else arm
        if maker not in self._scripts:
            launch, log = self.launches[maker], self.log(maker)
            with running(launch, log=log, timeouts=self.timeouts) as serving:
                script = script_of(self.case.recording, serving)
            tokens = sum(len(call.tokens) for call in script.calls)
            calls = len(script.calls)
            say(f"{self.case.id}: {maker}: {calls} calls, {tokens} prompt tokens")
            self._scripts[maker] = script
        script = self._scripts[maker]
        earlier = {entry.script for entry in self.own if entry.arm is arm}
        if earlier - {script.sha256}:
            raise ChangedPromptsError(
                f"{self.case.id}: the prompts are not those of this series' earlier "
                "pairs: the template may write the date into them; --again begins a "
                "new series"
            )
        return script

    def _limit_s(self) -> float:
        known = [
            entry.longest_s
            for entry in self.own
            if entry.arm is Arm.BASELINE and entry.longest_s
        ]
        if not known:
            return _LONGEST_CALL_S
        return min(_LONGEST_CALL_S, max(_PATIENCE_S, _HANGS_AFTER * max(known)))

    def log(self, arm: Arm) -> Path:
        return self.project.logs / f"{self.case.id.replace('/', '-')}-{arm}.log"

    def _not_served(self, error: ServeError, launch: Launch, log: Path) -> ReplayFailed:
        failed = ReplayFailed(
            way=ReplayFailureKind.NOT_SERVED,
            call=0,
            said="; ".join(line.strip() for line in str(error).splitlines()[:2]),
            tail=tuple(read_log(log).splitlines()[-TAIL_LINES:]),
        )
        return self._bare_failure(failed, launch)

    def bare(self, arm: Arm, text: str) -> str:
        return self._bare(text, self.launches[arm])

    def _bare_failure(self, failed: ReplayFailed, launch: Launch) -> ReplayFailed:
        return ReplayFailed(
            way=failed.way,
            call=failed.call,
            said=self._bare(failed.said, launch),
            tail=tuple(self._bare(line, launch) for line in failed.tail),
        )

    def _bare(self, text: str, launch: Launch) -> str:
        """Without the folders of this machine: lines on disk hold no path."""
        files = [launch.weights, launch.program, launch.template]
        folders = [file.parent for file in files if file]
        for folder in (*folders, self.project.cache, self.project.root):
            text = text.replace(f"{folder}/", "").replace(str(folder), "")
        return text


@dataclass(frozen=True, kw_only=True, slots=True)
class _Seen:
    argv: tuple[str, ...]
    outcome: Replayed | ReplayFailed
    telemetry: Telemetry


def _annotated(telemetry: Telemetry, outcome: Replayed | ReplayFailed) -> Telemetry:
    """A failure's clocks mean little: nothing is said of them."""
    if isinstance(outcome, ReplayFailed):
        return telemetry
    return msgspec.structs.replace(
        telemetry, disturbances=disturbances_throughout(telemetry)
    )
