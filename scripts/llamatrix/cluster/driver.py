"""The driver: opens lanes, hands out orders, takes records in, survives lost hosts.

A lane is a thread that waits for its child. Nothing of the transport is asked to retry:
what a lost lane did not hand in is queued again, from the store.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Condition, Lock, Thread
from typing import TypeVar

import msgspec

from llamatrix.cluster.intake import Batch, Intake
from llamatrix.cluster.lanes import Lane, LaneLostError, Transport
from llamatrix.cluster.placing import LaneId, Placing
from llamatrix.cluster.planning import (
    ClassPlan,
    Planner,
    SiteClass,
    Unit,
    follow_up,
    remaining,
)
from llamatrix.cluster.protocol import (
    FilePiece,
    Finished,
    RecordLine,
    Said,
    Stop,
    Survey,
    Surveyed,
    Taken,
    ToChild,
    Versions,
    Worked,
    decode_from_child,
    differences,
    encode,
    line_sha256,
    versions_of,
)
from llamatrix.errors import BenchError, RecordError
from llamatrix.measured_environment import process_conditions
from llamatrix.progress import say
from llamatrix.units import bytes_text

T = TypeVar("T")
A = TypeVar("A", Surveyed, Finished, Worked)

SILENCE_S = 60.0
"""After this time without a sign of life a lane is lost: a shorter cut costs nothing."""
_RETURN_WITHIN_S = 300.0
"""How long a lost lane is tried again."""
_MOST_FAILURES = 3
"""In a row, after which a lane is left out."""
_START_S = 180.0
"""Until a child says its first word: an interpreter starts slowly on a busy host."""
_PAUSE_S = 3.0
_LOOK_EVERY_S = 2.0
_CLOCK_S = 5.0
_END_S = 5.0
_STAMP_CHARACTERS = len("2026-01-01 00:00:00Z  ")


@dataclass(kw_only=True, slots=True)
class Outcome:
    """What a run on the cluster did."""

    reused: int = 0
    measured: int = 0
    without_number: int = 0
    unscripted: int = 0
    """Those among them in which a model spoke for itself."""
    unmeasured: list[str] = field(default_factory=list)
    """Cells that no host could measure, each with the last reason."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """A host that answered and fits."""

    name: str
    surveyed: Surveyed
    whole: SiteClass
    cards: dict[int, SiteClass]
    ahead_s: float
    """How far its clock is ahead of ours, where that is more than a message takes."""

    @property
    def sites(self) -> tuple[SiteClass, ...]:
        return tuple(dict.fromkeys((self.whole, *self.cards.values())))


class UnfitHostError(BenchError):
    """The host answers, and its numbers would be of something else."""


class Driver:
    def __init__(
        self,
        transport: Transport,
        planner: Planner,
        *,
        shares_cards: Callable[[str], bool] = lambda _: False,
        silence_s: float = SILENCE_S,
        return_within_s: float = _RETURN_WITHIN_S,
    ) -> None:
        self._transport = transport
        self._planner = planner
        self._project = planner.context.project
        self._versions = versions_of(self._project)
        self._builds = planner.engines
        self._shares_cards = shares_cards
        self._silence_s = silence_s
        self._return_within_s = return_within_s
        self._intake = Intake(self._project)
        self._placing: Placing[Unit] = Placing()
        self._plans: dict[SiteClass, ClassPlan] = {}
        self._reasons: dict[str, str] = {}
        self._outcome = Outcome()
        self._guard = Lock()
        self._main = Condition(self._guard)
        self._turns: dict[str, Condition] = {}
        """On which the lanes of each host wait."""
        self._opening: set[str] = set()
        """Hosts that have not been surveyed yet."""
        self._alive: dict[LaneId, Lane | None] = {}
        self._away: dict[LaneId, str] = {}
        """Why a lane was lost that is not back."""
        self._threads: dict[str, Thread] = {}
        self._over = False
        self._error: BaseException | None = None

    # The main thread

    def run(self) -> tuple[Outcome, list[ClassPlan]]:
        """Measure what is due on all classes; return when nothing is left to do."""
        try:
            done = False
            while not done:
                self._start_new_hosts()
                with self._guard:
                    self._main.wait(1.0)
                    if self._error:
                        raise self._error
                    sites = {lane_id.site for lane_id in self._alive}
                    done = not self._opening and self._placing.is_idle(sites)
        finally:
            self._end()
        for unit in self._placing.unmeasured():
            cell = unit.cell_id
            why = self._reasons.get(cell, f"no lane of {unit.site.slug} is left")
            self._outcome.unmeasured.append(f"{cell}: {why}")
        for plan in self._plans.values():
            self._outcome.reused += plan.reused
            self._outcome.without_number += plan.without_number
            self._outcome.unscripted += plan.unscripted
        return self._outcome, list(self._plans.values())

    def survey(self) -> tuple[list[Host], dict[str, str]]:
        """Return the hosts that fit, and why each of the others does not."""
        fit: list[Host] = []
        unfit: dict[str, str] = {}

        def look(name: str) -> None:
            try:
                host, lane = self.open(name)
            except BenchError as error:
                unfit[name] = str(error)
            else:
                fit.append(host)
                stop(lane)

        names = list(self._transport.hosts())
        threads = [Thread(target=look, args=(name,), daemon=True) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(fit, key=lambda host: names.index(host.name)), unfit

    def open(self, name: str, batch: Batch | None = None) -> tuple[Host, Lane]:
        """Start a child on a host and survey it; with a batch, take in what it kept."""
        lane = self._transport.open(name, None)
        try:
            return self._surveyed(lane, name, batch), lane
        except BenchError:
            lane.close()
            raise

    def ask(self, message: ToChild, kind: type[A], name: str, lane: Lane) -> A:
        lane.send(encode(message))
        return self._answer(kind, lane, name, Batch(), patience_s=self._silence_s)

    def _start_new_hosts(self) -> None:
        """Start what joined, also what left and is back."""
        names = dict.fromkeys(self._transport.hosts())
        for name, thread in list(self._threads.items()):
            if name not in names and not thread.is_alive():
                del self._threads[name]
        for name in names:
            if name not in self._threads:
                self._opening.add(name)
                self._turns[name] = Condition(self._guard)
                thread = Thread(target=self._reported, args=(self._host, name))
                thread.daemon = True
                self._threads[name] = thread
                thread.start()

    def _end(self) -> None:
        """End every child: those at work at once, the others in order."""
        with self._guard:
            self._over = True
            for turn in self._turns.values():
                turn.notify_all()
            lanes = [lane for lane in self._alive.values() if lane]
            busy, away = self._placing.in_flight, dict(self._away)
        if busy:
            for lane in lanes:
                lane.close()
        until = time.monotonic() + _END_S
        for thread in self._threads.values():
            thread.join(max(0.0, until - time.monotonic()))
        if away:
            listed = ", ".join(f"{lane_id} ({why})" for lane_id, why in away.items())
            say(
                f"lost and not back: {listed}; what was measured there is kept there, "
                "and the same command takes it in"
            )

    # A thread for each host, and one for each of its cards

    def _reported(self, work: Callable[..., None], *arguments: object) -> None:
        """Do a thread's work; whatever stops it unexpectedly stops the run."""
        try:
            work(*arguments)
        except BaseException as error:  # noqa: BLE001  raised again by the main thread
            with self._guard:
                self._error = self._error or error
                self._main.notify()

    def _host(self, name: str) -> None:
        try:
            if not (opened := self._opened(name)):
                return
            host, lane = opened
            self._register(host)
            whole = LaneId(host=name, card=None, site=host.whole)
            cards = [
                LaneId(host=name, card=card, site=site)
                for card, site in host.cards.items()
            ]
            with self._guard:
                for lane_id in (whole, *cards):
                    self._alive[lane_id] = None
                    self._away.pop(lane_id, None)
                self._alive[whole] = lane
        finally:
            with self._guard:
                self._opening.discard(name)
                self._main.notify()
        try:
            self._provide(lane, host)
        except LaneLostError as error:
            self._lost(whole, error)
        threads = [
            Thread(target=self._reported, args=(self._serve, card), daemon=True)
            for card in cards
        ]
        for thread in threads:
            thread.start()
        self._serve(whole)
        for thread in threads:
            thread.join()

    def _opened(self, name: str) -> tuple[Host, Lane] | None:
        """Open and survey a host; None where it does not answer or does not fit."""
        for attempt in range(1, _MOST_FAILURES + 1):
            try:
                return self.open(name, Batch())
            except (LaneLostError, UnfitHostError) as error:
                last = attempt == _MOST_FAILURES or isinstance(error, UnfitHostError)
                say(f"{name}: {'left out: ' if last else ''}{error}")
                if last or self._pause(name, attempt):
                    break
        return None

    def _register(self, host: Host) -> None:
        """Plan the host's classes, where they are new."""
        shared = self._shares_cards(host.surveyed.host.slug)
        with self._guard:
            for site in host.sites:
                if site not in self._plans:
                    self._plans[site] = plan = self._planner.plan(site)
                    for unit in plan.units:
                        self._placing.add(unit)
            self._placing.add_host(host.name, whole=host.whole, shared=shared)
        say(f"{host.name}: {describe(host, shared=shared)}")

    def _provide(self, lane: Lane, host: Host) -> None:
        """Build what the host needs while nothing is measured on it.

        What cannot be built is said again when a cell needs it.
        """
        for site in host.sites:
            if builds := self._plans[site].builds:
                lane.send(encode(builds))
                if problem := self._finished(lane, host.name, Batch()):
                    say(f"{host.name}: {problem}")

    def _serve(self, lane_id: LaneId) -> None:
        """Do the lane's units until nothing is left, or the lane is lost for good."""
        try:
            self._do_units(lane_id)
        finally:
            with self._guard:
                last = self._alive.pop(lane_id, None)
                if lane_id.card is None:
                    self._placing.drop_whole(lane_id.host)
                self._main.notify()
            if last:
                stop(last)

    def _do_units(self, lane_id: LaneId) -> None:
        failures = 0
        while failures < _MOST_FAILURES:
            lane = self._alive[lane_id] or self._reopened(lane_id)
            unit = self._when(lane_id, self._placing.take) if lane else None
            if not lane or not unit:
                return
            try:
                problem = self.do(lane_id, lane, unit)
            except LaneLostError as error:
                self._lost(lane_id, error, unit.cell_id)
                problem = f"{lane_id} was lost: {error}"
            self._settle(lane_id, unit, problem)
            failures = failures + 1 if problem else 0
            if failures and self._pause(lane_id.host, failures):
                return
        say(f"{lane_id}: left out after {failures} failures in a row")

    def _when(self, lane_id: LaneId, ask: Callable[[LaneId], T]) -> T | None:
        """Wait for an answer; None where the run is over before there is one.

        Lanes of a host wake each other; what others leave is seen a little later.
        """
        with self._guard:
            while not self._over:
                if answer := ask(lane_id):
                    return answer
                self._turns[lane_id.host].wait(_LOOK_EVERY_S)
        return None

    def _reopened(self, lane_id: LaneId) -> Lane | None:
        """Open a lane once there is work for it; None where it stays away."""
        until = 0.0
        while self._when(lane_id, self._placing.allows):
            try:
                lane = self._transport.open(lane_id.host, lane_id.card)
                with self._guard:
                    self._alive[lane_id] = lane
                batch = Batch()
                self._surveyed(lane, lane_id.host, batch)
            except (LaneLostError, UnfitHostError) as error:
                self._lost(lane_id, error)
                until = until or time.monotonic() + self._return_within_s
                if isinstance(error, UnfitHostError) or time.monotonic() > until:
                    say(f"{lane_id}: left out: {error}")
                    return None
                self._pause(lane_id.host)
            else:
                self._count(batch)
                with self._guard:
                    away = self._away.pop(lane_id, "")
                if away:
                    say(f"{lane_id}: is back")
                return lane
        return None

    def _lost(self, lane_id: LaneId, error: BenchError, cell_id: str = "") -> None:
        """Close what is left of a lane; say so once until it is back."""
        with self._guard:
            lane, self._alive[lane_id] = self._alive[lane_id], None
            first = lane_id not in self._away and not self._over
            if first:
                self._away[lane_id] = str(error)
        if lane:
            lane.close()
        self._intake.discard(str(lane_id))
        if first:
            again = f"; {cell_id} is queued again" if cell_id else ""
            say(f"{lane_id}: lost: {error}{again}")

    def _settle(self, lane_id: LaneId, unit: Unit, problem: str) -> None:
        """Free the lane; queue what the unit still lacks, or its next repeat."""
        left = remaining(unit, self._project) if problem else ()
        status = None if left else follow_up(unit, self._project)
        with self._guard:
            self._placing.release(lane_id)
            if left:
                self._reasons[unit.cell_id] = problem
                unit.order = msgspec.structs.replace(unit.order, due=left)
                self._placing.put_back(unit)
            elif status:
                self._placing.add(self._planner.unit(unit.site, status))
            self._turns[lane_id.host].notify_all()
            if not self._placing.in_flight:
                self._main.notify()

    def _pause(self, host: str, failures: int = 1) -> bool:
        """Wait before a lane is opened again; whether the run is over meanwhile."""
        with self._guard:
            return self._turns[host].wait_for(lambda: self._over, _PAUSE_S * failures)

    # Conversations with a child

    def _surveyed(self, lane: Lane, name: str, batch: Batch | None) -> Host:
        """Survey a host; UnfitHostError where it does not fit.

        With a batch, take in first what it measured for us and could not hand in.
        """
        engines, agents = self._builds
        survey = Survey(collect=batch is not None, engines=engines, agents=agents)
        lane.send(encode(survey))
        patience_s = max(_START_S, self._silence_s)
        surveyed = self._answer(
            Surveyed, lane, name, batch or Batch(), patience_s=patience_s
        )
        ahead_s = surveyed.time_s - time.time()
        ahead_s = ahead_s if abs(ahead_s) > _CLOCK_S else 0.0
        if batch:
            lane.send(encode(Taken(lines=tuple(batch.taken), clock_ahead_s=ahead_s)))
            if batch.taken:
                again = len(batch.taken) - batch.kept
                known = f", and {again} that were recorded already" if again else ""
                say(f"{name}: handed in {batch.kept} records of an earlier run{known}")
        if problem := unfit(surveyed, self._versions):
            raise UnfitHostError(problem)
        whole, cards = self._planner.classes_of(surveyed)
        return Host(
            name=name, surveyed=surveyed, whole=whole, cards=cards, ahead_s=ahead_s
        )

    def do(self, lane_id: LaneId, lane: Lane, unit: Unit) -> str:
        """Have one order done; return what stopped it.

        A host that came back may have handed in meanwhile what it asks for.
        """
        due = remaining(unit, self._project)
        if not due:
            return ""
        order = msgspec.structs.replace(unit.order, due=due)
        batch = Batch(
            host_slug=unit.site.slug, digest=order.digest, known=set(order.written_at)
        )
        lane.send(encode(order))
        try:
            problem = self._finished(lane, str(lane_id), batch)
        finally:
            self._count(batch)
        lane.send(encode(Taken(lines=tuple(batch.taken))))
        if again := len(batch.taken) - batch.kept:
            say(f"{lane_id}: {unit.cell_id}: {again} records are here already")
        if problem:
            say(f"{lane_id}: {unit.cell_id}: {problem}")
        return problem

    def _finished(self, lane: Lane, name: str, batch: Batch) -> str:
        finished = self._answer(Finished, lane, name, batch, patience_s=self._silence_s)
        return finished.problem

    def _answer(
        self, kind: type[A], lane: Lane, name: str, batch: Batch, *, patience_s: float
    ) -> A:
        """Return what ends a conversation; until then keep records and say words."""
        heard = time.monotonic()
        while time.monotonic() - heard < patience_s:
            for line in lane.receive(1.0):
                heard = time.monotonic()
                try:
                    message = decode_from_child(line)
                except msgspec.MsgspecError:  # a shell's greeting, another version
                    message = Said(line.decode(errors="replace"))
                match message:
                    case Said():
                        say(f"{name}: {_without_stamp(message.text)}")
                    case FilePiece():
                        self._intake.keep_piece(name, message)
                    case RecordLine():
                        self._keep(name, message, batch)
                    case _:
                        if isinstance(message, kind):
                            return message
        raise LaneLostError(f"no sign of life for {patience_s:.0f} s")

    def _keep(self, name: str, line: RecordLine, batch: Batch) -> None:
        try:
            self._intake.keep(name, line, batch)
        except RecordError as error:
            if type(error) is not RecordError:  # the driver's own disk
                raise
            say(f"{name}: refused: {error}")
        else:
            batch.taken.append(line_sha256(line.line))

    def _count(self, batch: Batch) -> None:
        with self._guard:
            self._outcome.measured += batch.kept
            self._outcome.without_number += batch.without_number
            self._outcome.unscripted += batch.unscripted


def _without_stamp(text: str) -> str:
    """Leave out the host's own time: ours stands before the line."""
    return text[_STAMP_CHARACTERS:] if text[10:11] == " " and text[:2] == "20" else text


def unfit(surveyed: Surveyed, ours: Versions) -> str:
    """Say why a host's numbers would be of something else; empty where it fits."""
    if differing := differences(ours, surveyed.versions):
        return (
            f"versions differ: {'; '.join(differing)}; bring it to the same checkout, "
            "matrix.toml, matrix.lock and Python"
        )
    own, theirs = process_conditions(), surveyed.conditions
    if theirs.niceness > own.niceness or theirs.oom_score_adj > own.oom_score_adj:
        return (
            f"measured programs would have niceness {theirs.niceness} and oom_score_adj "
            f"{theirs.oom_score_adj}, here {own.niceness} and {own.oom_score_adj}; start "
            "what starts them without `nice`, and Ray with RAY_worker_niceness=0 "
            "RAY_worker_oom_score_adjustment=0"
        )
    return ""


def stop(lane: Lane) -> None:
    """End a child in order: it first does what it was told."""
    with suppress(LaneLostError):
        lane.send(encode(Stop()))
        until = time.monotonic() + _END_S
        while time.monotonic() < until:
            lane.receive(1.0)
    lane.close()


def describe(host: Host, *, shared: bool) -> str:
    """Say in one line what a host is, and what is odd about it."""
    surveyed = host.surveyed
    cards = len(surveyed.cards)
    words = [f"{cards} cards" if cards != 1 else "one card"] if cards else ["no card"]
    if cards > 1:
        words[0] += (
            ", side by side"
            if shared
            else (
                ", one at a time: `invoke cross-talk` has not shown that they do not "
                "disturb each other"
            )
        )
    words.append(f"{bytes_text(surveyed.free_bytes)} free")
    if host.ahead_s:
        side = "ahead" if host.ahead_s > 0 else "behind"
        words.append(
            f"its clock is {abs(host.ahead_s):.0f} s {side}: its records get this "
            "machine's time"
        )
    return f"{surveyed.host.slug}: {', '.join(words)}"
