"""The driver: opens lanes, hands out orders, takes records in, survives lost hosts.

A lane is a thread that waits for its child. Nothing of the transport is asked to retry:
what a lost lane did not hand in is queued again, from the store.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from threading import Condition, Thread

import msgspec

from llamatrix.cluster.intake import Batch, Intake
from llamatrix.cluster.lanes import Lane, LaneLostError, Transport
from llamatrix.cluster.placing import LaneId, Placing, Unit
from llamatrix.cluster.planning import (
    ClassPlan,
    Planner,
    SiteClass,
    Work,
    follow_up,
    remaining,
)
from llamatrix.cluster.protocol import (
    Alive,
    FilePiece,
    Finished,
    FromChild,
    Provide,
    RecordLine,
    Said,
    Stop,
    Survey,
    Surveyed,
    Taken,
    decode_from_child,
    differences,
    encode,
    key_of,
    line_sha256,
    versions_of,
)
from llamatrix.commands.pending import Due
from llamatrix.errors import BenchError, RecordError
from llamatrix.measured_environment import process_conditions
from llamatrix.progress import say
from llamatrix.project import Project
from llamatrix.units import bytes_text

SILENCE_S = 60.0
"""After this time without a sign of life a lane is lost: a shorter cut costs nothing."""
_MOST_LOSSES = 3
"""In a row, after which a lane is left out."""
_PAUSE_S = 3.0
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
    ) -> None:
        self._transport = transport
        self._planner = planner
        self._project: Project = planner.context.project
        self._shares_cards = shares_cards
        self._silence_s = silence_s
        self._intake = Intake(self._project)
        self._placing: Placing[Work] = Placing()
        self._plans: dict[SiteClass, ClassPlan] = {}
        self._reasons: dict[str, str] = {}
        self._outcome = Outcome()
        self._news = Condition()
        self._opening: set[str] = set()
        """Hosts that have not been surveyed yet."""
        self._alive: dict[LaneId, Lane | None] = {}
        self._threads: dict[str, Thread] = {}
        self._over = False
        self._error: BaseException | None = None

    # The main thread

    def run(self) -> tuple[Outcome, list[ClassPlan]]:
        """Measure what is due on all classes; return when nothing is left to do."""
        try:
            while not self._is_done():
                self._start_new_hosts()
                with self._news:
                    self._news.wait(1.0)
                    if self._error:
                        raise self._error
        finally:
            self._end()
        self._give_up_rest()
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
                lane = self._transport.open(name, None)
                try:
                    fit.append(self._surveyed(lane, name, collect=False))
                finally:
                    stop(lane)
            except BenchError as error:
                unfit[name] = str(error)

        names = list(self._transport.hosts())
        threads = [Thread(target=look, args=(name,), daemon=True) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(fit, key=lambda host: names.index(host.name)), unfit

    def _is_done(self) -> bool:
        with self._news:
            if self._opening or not self._threads:
                return False
            return self._placing.idle or not self._alive

    def _start_new_hosts(self) -> None:
        """Start what joined, also what left and is back."""
        names = self._transport.hosts()
        for name, thread in list(self._threads.items()):
            if name not in names and not thread.is_alive():
                del self._threads[name]
        for name in names:
            if name not in self._threads:
                self._opening.add(name)
                thread = Thread(target=self._guarded, args=(name,), daemon=True)
                self._threads[name] = thread
                thread.start()

    def _end(self) -> None:
        """End every child: those at work at once, the others in order."""
        with self._news:
            self._over = True
            self._news.notify_all()
            busy = self._placing.in_flight
            lanes = [lane for lane in self._alive.values() if lane]
        if busy:
            for lane in lanes:
                lane.close()
        for thread in self._threads.values():
            thread.join(timeout=_END_S)

    def _give_up_rest(self) -> None:
        lost = [*self._placing.failed, *self._placing.without_lane(set())]
        for unit in lost:
            cell = unit.work.cell_id
            why = self._reasons.get(cell, f"no lane of {unit.work.site.slug} is left")
            self._outcome.unmeasured.append(f"{cell}: {why}")

    # A thread for each host, and one for each of its cards

    def _guarded(self, name: str) -> None:
        with self._reporting():
            self._host(name)
        with self._news:
            self._opening.discard(name)
            self._news.notify_all()

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Whatever stops a thread unexpectedly stops the run."""
        try:
            yield
        except BaseException as error:  # noqa: BLE001  raised again by the main thread
            with self._news:
                self._error = self._error or error
                self._news.notify_all()

    def _host(self, name: str) -> None:
        opened = self._opened(name)
        if opened is None:
            return
        host, lane = opened
        units = self._register(host)
        whole = LaneId(host=name, card=None, site=host.whole)
        lanes = [
            LaneId(host=name, card=card, site=site) for card, site in host.cards.items()
        ]
        with self._news:
            self._alive |= dict.fromkeys((whole, *lanes))
            self._alive[whole] = lane
            self._opening.discard(name)
            self._news.notify_all()
        try:
            self._provide(lane, name, units)
        except LaneLostError as error:
            say(f"{name}: lost: {error}")
            lane.close()
        threads = [
            Thread(target=self._serve, args=(lane_id, None), daemon=True)
            for lane_id in lanes
        ]
        for thread in threads:
            thread.start()
        self._serve(whole, lane)
        for thread in threads:
            thread.join()

    def _opened(self, name: str) -> tuple[Host, Lane] | None:
        """Open and survey a host; None where it does not answer or does not fit."""
        for loss in range(1, _MOST_LOSSES + 1):
            lane = None
            try:
                lane = self._transport.open(name, None)
                return self._surveyed(lane, name), lane
            except (LaneLostError, UnfitHostError) as error:
                lost = isinstance(error, LaneLostError)
                say(f"{name}: {'' if lost else 'left out: '}{error}")
                if lane:
                    lane.close()
                if not lost or loss == _MOST_LOSSES or self._pause(loss):
                    break
        return None

    def _provide(self, lane: Lane, name: str, units: Sequence[Unit[Work]]) -> None:
        """Build what the host needs while nothing is measured on it.

        What cannot be built is said again when a cell needs it.
        """
        orders = [unit.work.order for unit in units]
        engines = {key_of(one.speed): one.speed for one in orders if one.speed}
        agents = {key_of(one.agent): one.agent for one in orders if one.agent}
        if engines or agents:
            cells = Provide(
                engines=tuple(engines.values()), agents=tuple(agents.values())
            )
            lane.send(encode(cells))
            if problem := self._finished(lane, name, Batch()):
                say(f"{name}: {problem}")

    def _register(self, host: Host) -> list[Unit[Work]]:
        """Plan the host's classes, where they are new; return what is due of them."""
        shared = self._shares_cards(host.surveyed.host.slug)
        sites = tuple(dict.fromkeys((host.whole, *host.cards.values())))
        with self._news:
            for site in sites:
                if site not in self._plans:
                    plan = self._planner.plan(site)
                    self._plans[site] = plan
                    for unit in plan.units:
                        self._placing.add(unit)
            self._placing.add_host(host.name, whole=host.whole, shared=shared)
        say(describe(host, shared=shared))
        return [unit for site in sites for unit in self._plans[site].units]

    def _serve(self, lane_id: LaneId, lane: Lane | None) -> None:
        """Do the lane's units until nothing is left, or the lane is lost for good."""
        with self._reporting():
            try:
                self._do_units(lane_id, lane)
            finally:
                with self._news:
                    last = self._alive.pop(lane_id, None)
                    self._news.notify_all()
                if last:
                    stop(last)

    def _do_units(self, lane_id: LaneId, lane: Lane | None) -> None:
        losses = 0
        while unit := self._next(lane_id):
            opened = lane is not None
            try:
                lane = lane or self._reopened(lane_id)
                opened = True
                problem = self._do(lane_id, lane, unit.work)
            except LaneLostError as error:
                self._lost(lane_id, unit, error, blame=opened)
                lane, losses = None, losses + 1
            else:
                self._settle(lane_id, unit, problem)
                losses = losses + 1 if problem else 0
            if losses == _MOST_LOSSES:
                say(f"{lane_id}: left out after {losses} failures in a row")
                return
            if losses and self._pause(losses):
                return

    def _next(self, lane_id: LaneId) -> Unit[Work] | None:
        with self._news:
            while not self._over:
                if unit := self._placing.take(lane_id):
                    return unit
                self._news.wait(1.0)
        return None

    def _reopened(self, lane_id: LaneId) -> Lane:
        lane = self._transport.open(lane_id.host, lane_id.card)
        with self._news:
            self._alive[lane_id] = lane
        self._surveyed(lane, str(lane_id))
        return lane

    def _lost(
        self, lane_id: LaneId, unit: Unit[Work], error: LaneLostError, *, blame: bool
    ) -> None:
        """Close what is left of a lane and queue again what it did not hand in."""
        with self._news:
            lane, self._alive[lane_id] = self._alive[lane_id], None
            over = self._over
        if lane:
            lane.close()
        self._intake.discard(str(lane_id))
        if not over:
            say(f"{lane_id}: lost: {error}; {unit.work.cell_id} is queued again")
        self._settle(lane_id, unit, f"{lane_id} was lost: {error}", blame=blame)

    def _settle(
        self, lane_id: LaneId, unit: Unit[Work], problem: str, *, blame: bool = True
    ) -> None:
        """Free the lane; queue what the unit still lacks, or its next repeat."""
        work = unit.work
        left = remaining(work, self._project) if problem else ()
        status = None if left else follow_up(work, self._project)
        with self._news:
            self._placing.release(lane_id)
            if left:
                self._reasons[work.cell_id] = problem
                again = Unit(
                    site=unit.site, work=_with_due(work, left), attempts=unit.attempts
                )
                self._placing.put_back(again, blame=blame)
            elif status:
                self._placing.add(self._planner.unit(work.site, status))
            self._news.notify_all()

    def _pause(self, losses: int) -> bool:
        """Wait before a lane is opened again; whether the run is over meanwhile."""
        with self._news:
            return self._news.wait_for(lambda: self._over, _PAUSE_S * losses)

    # Conversations with a child

    def _surveyed(self, lane: Lane, name: str, *, collect: bool = True) -> Host:
        """Survey a host and take in what it kept; UnfitHostError where it does not fit."""
        engines, agents = self._planner.engines
        lane.send(encode(Survey(collect=collect, engines=engines, agents=agents)))
        batch = Batch()
        for message in self._answers(lane, name, batch):
            if isinstance(message, Surveyed):
                break
        else:
            raise LaneLostError("no answer to the survey")
        if batch.taken:
            lane.send(encode(Taken(lines=tuple(batch.taken))))
            if batch.kept:
                say(f"{name}: handed in {batch.kept} records of an earlier run")
        if problem := unfit(message, self._project):
            raise UnfitHostError(problem)
        whole, cards = self._planner.classes_of(message)
        return Host(name=name, surveyed=message, whole=whole, cards=cards)

    def _do(self, lane_id: LaneId, lane: Lane, work: Work) -> str:
        """Have one order done; return what stopped it.

        A host that came back may have handed in meanwhile what it asks for.
        """
        order = msgspec.structs.replace(work.order, due=remaining(work, self._project))
        if not order.due:
            return ""
        batch = Batch(
            host_slug=work.site.slug, digest=order.digest, known=set(order.written_at)
        )
        lane.send(encode(order))
        try:
            problem = self._finished(lane, str(lane_id), batch)
        finally:
            self._count(batch)
        lane.send(encode(Taken(lines=tuple(batch.taken))))
        if problem:
            say(f"{lane_id}: {work.cell_id}: {problem}")
        return problem

    def _finished(self, lane: Lane, name: str, batch: Batch) -> str:
        for message in self._answers(lane, name, batch):
            if isinstance(message, Finished):
                return message.problem
        raise LaneLostError("ended without a word")

    def _answers(self, lane: Lane, name: str, batch: Batch) -> Iterator[FromChild]:
        """Yield what ends a conversation; records are kept, words are said."""
        heard = time.monotonic()
        while time.monotonic() - heard < self._silence_s:
            lines = lane.receive(1.0)
            if lines:
                heard = time.monotonic()
            for line in lines:
                try:
                    message = decode_from_child(line)
                except msgspec.MsgspecError:  # a shell's greeting, another version
                    message = Said(line.decode(errors="replace"))
                match message:
                    case Alive():
                        continue
                    case Said():
                        say(f"{name}: {_without_stamp(message.text)}")
                    case FilePiece():
                        self._intake.keep_piece(name, message)
                    case RecordLine():
                        self._keep(name, message, batch)
                    case _:
                        yield message
        raise LaneLostError(f"no sign of life for {self._silence_s:.0f} s")

    def _keep(self, name: str, line: RecordLine, batch: Batch) -> None:
        try:
            new = self._intake.keep(name, line, batch)
        except RecordError as error:
            if type(error) is not RecordError:  # the driver's own disk
                raise
            say(f"{name}: refused: {error}")
            return
        batch.taken.append(line_sha256(line.line))
        if not new:
            say(f"{name}: {line.file}: already recorded, not added again")

    def _count(self, batch: Batch) -> None:
        with self._news:
            self._outcome.measured += batch.kept
            self._outcome.without_number += batch.without_number
            self._outcome.unscripted += batch.unscripted


def _with_due(work: Work, due: tuple[Due, ...]) -> Work:
    return replace(work, order=msgspec.structs.replace(work.order, due=due))


def _without_stamp(text: str) -> str:
    """Leave out the host's own time: ours stands before the line."""
    return text[_STAMP_CHARACTERS:] if text[10:11] == " " and text[:2] == "20" else text


def unfit(surveyed: Surveyed, project: Project) -> str:
    """Say why a host's numbers would be of something else; empty where it fits."""
    differing = differences(versions_of(project), surveyed.versions)
    if differing:
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
    behind = surveyed.time_s - time.time()
    if abs(behind) > _CLOCK_S:
        side = "ahead" if behind > 0 else "behind"
        words.append(f"its clock is {abs(behind):.0f} s {side}: correct it")
    return f"{host.name}: {surveyed.host.slug}: {', '.join(words)}"
