"""What is due on each class of hosts, and the orders for it."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from llamatrix.cluster.protocol import Order, Provide, Surveyed, key_of
from llamatrix.commands.context import plan_search
from llamatrix.commands.flags import AgentFlags, ContextFlags, MeasureFlags
from llamatrix.commands.launching import cell_to_serve
from llamatrix.commands.pending import (
    CellStatus,
    Due,
    Pending,
    Site,
    context_status,
    find_pending,
    latest_trials,
    speed_status,
    still_due,
)
from llamatrix.config.agent_cell import AgentCell
from llamatrix.config.cell import Cell
from llamatrix.config.context import Context
from llamatrix.config.matrix import Backend, Measurement
from llamatrix.project import Project
from llamatrix.records.context_record import CONTEXT, ContextCell
from llamatrix.records.speed_record import SpeedRecord, kind_of
from llamatrix.records.store import Store
from llamatrix.records.trial_record import AGENT


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteClass:
    """What lanes must share for their numbers to be of one kind."""

    slug: str
    whole: bool
    """Whether a lane is a whole host, or one card."""
    compilers: tuple[tuple[str, str], ...]
    """Of each `PIN/BUILD` of the plan …"""
    refused: frozenset[str]
    """… and those that cannot run there."""

    @property
    def site(self) -> Site:
        return Site(slug=self.slug, compilers=dict(self.compilers))

    def runs(self, cell: Cell | AgentCell) -> bool:
        return (
            not of_endpoint(cell)
            and uses_whole_host(cell) is self.whole
            and key_of(cell) not in self.refused
        )


@dataclass(kw_only=True, slots=True)
class Unit:
    """An order, whose it is, and how often it has failed."""

    site: SiteClass
    cell_id: str
    order: Order
    attempts: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassPlan:
    """What one class has recorded and what it lacks."""

    site: SiteClass
    pending: Pending
    searches: tuple[CellStatus[ContextCell], ...]
    units: tuple[Unit, ...]
    builds: Provide | None
    """What each of its hosts builds before it measures."""

    @property
    def reused(self) -> int:
        statuses = (*self.pending.statuses, *self.searches)
        return sum(status.reused for status in statuses)

    @property
    def without_number(self) -> int:
        return sum(status.reused_without_number for status in self.pending.statuses)

    @property
    def unscripted(self) -> int:
        """Those among them in which a model spoke for itself."""
        return sum(
            status.reused_without_number
            for status in self.pending.trials
            if not status.cell.scripted
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Planner:
    """Turns the survey of a host into classes, and a class into what is due."""

    context: Context
    flags: MeasureFlags
    kinds: Collection[Measurement]
    searches: Sequence[tuple[ContextFlags, Context]] = ()
    """The largest contexts to find, on one lane of each class, and their profiles."""

    @property
    def engines(self) -> tuple[tuple[Cell, ...], tuple[AgentCell, ...]]:
        """One cell of each pin and build."""
        searched = (
            cell_to_serve(context, pin=flags.pin) for flags, context in self.searches
        )
        cells = (*self.context.plan(self.flags.cells).cells, *searched)
        each = {key_of(cell): cell for cell in cells}.values()
        return (
            tuple(cell for cell in each if isinstance(cell, Cell)),
            tuple(cell for cell in each if isinstance(cell, AgentCell)),
        )

    def classes_of(self, surveyed: Surveyed) -> tuple[SiteClass, dict[int, SiteClass]]:
        """Return the class of the host as a whole and those of its cards."""
        whole = SiteClass(
            slug=surveyed.host.slug,
            whole=True,
            compilers=tuple(sorted(surveyed.compilers.items())),
            refused=frozenset(surveyed.refusals),
        )
        cards = {
            index: replace(whole, slug=slug, whole=False)
            for index, slug in surveyed.cards
        }
        return whole, cards

    def plan(self, site: SiteClass) -> ClassPlan:
        pending = Pending(context=self.context, speed=(), trials=())
        if self.kinds:
            pending = find_pending(
                self.context,
                self.flags.cells,
                kinds=self.kinds,
                again=self.flags.again,
                retry=self.flags.retry,
                site=site.site,
            )
        pending = replace(
            pending,
            speed=tuple(one for one in pending.speed if site.runs(one.cell)),
            trials=tuple(one for one in pending.trials if site.runs(one.cell)),
            endpoints=(),
        )
        searches = tuple(self._searches(site))
        units = [self.unit(site, speed) for speed in pending.speed if speed.due]
        units += [self.unit(site, trial) for trial in pending.trials if trial.due]
        units += [self.unit(site, *one) for one in searches if one[0].due]
        speeds = [one.order.speed for one in units if one.order.speed]
        agents = [one.order.agent for one in units if one.order.agent]
        builds = Provide(
            engines=tuple({key_of(cell): cell for cell in speeds}.values()),
            agents=tuple({key_of(cell): cell for cell in agents}.values()),
        )
        return ClassPlan(
            site=site,
            pending=pending,
            searches=tuple(status for status, _ in searches),
            units=tuple(units),
            builds=builds if speeds or agents else None,
        )

    def unit(
        self,
        site: SiteClass,
        status: CellStatus[Cell] | CellStatus[AgentCell] | CellStatus[ContextCell],
        search: ContextFlags | None = None,
    ) -> Unit:
        cell = status.cell
        order = Order(
            digest=status.digest,
            due=status.due,
            written_at=status.written_at,
            profile=self.context.profile,
            weights_dir=self.flags.weights_dir,
            any_template=isinstance(self.flags, AgentFlags) and self.flags.any_template,
            speed=cell if isinstance(cell, Cell) else None,
            agent=cell if isinstance(cell, AgentCell) else None,
            context=search,
        )
        return Unit(site=site, cell_id=cell.id, order=order)

    def _searches(
        self, site: SiteClass
    ) -> Iterator[tuple[CellStatus[ContextCell], ContextFlags]]:
        store = Store(reports=self.context.project.reports, kind=CONTEXT)
        for flags, context in self.searches:
            search = plan_search(flags, site=site.site, context=context)
            if site.runs(search.cell):
                status, _ = context_status(
                    search.known, store, again=flags.again, site=site.site
                )
                yield status, flags


def of_endpoint(cell: Cell | AgentCell) -> bool:
    """Whether a server answers that runs by itself, on none of our hosts."""
    return isinstance(cell, AgentCell) and cell.endpoint is not None


def uses_whole_host(cell: Cell | AgentCell) -> bool:
    """Whether the cell needs all cores, or is spread over cards."""
    flags = cell.sweep if isinstance(cell, Cell) else cell.server
    spread = flags.split_mode or flags.tensor_split or flags.main_gpu is not None
    return cell.build.backend is Backend.CPU or bool(spread)


def follow_up(unit: Unit, project: Project) -> CellStatus[Cell] | None:
    """Return the cell again where its spread asks for another repeat; else None."""
    cell = unit.order.speed
    if cell is None or cell.sweep.target_spread is None:
        return None
    store = Store(reports=project.reports, kind=kind_of(cell))
    status = speed_status(cell, store, site=unit.site.site)
    return status if status.due else None


def remaining(unit: Unit, project: Project) -> tuple[Due, ...]:
    """Return what is due of an order, without what the store has got since."""
    order, slug = unit.order, unit.site.slug
    if cell := order.speed:
        speeds: Store[SpeedRecord] = Store(reports=project.reports, kind=kind_of(cell))
        status = CellStatus(cell=cell, digest=order.digest, written_at=order.written_at)
        left = (
            replace(due, tests=still_due(status, due, speeds, host_slug=slug))
            for due in order.due
        )
        return tuple(due for due in left if due.tests)
    if order.agent:
        trials = Store(reports=project.reports, kind=AGENT)
        latest = latest_trials(order.agent, order.digest, trials, host_slug=slug)
        made = {
            number
            for number, record in latest.items()
            if record.measured_at not in order.written_at
        }
        return tuple(due for due in order.due if due.number not in made)
    searches = Store(reports=project.reports, kind=CONTEXT)
    found = searches.read(host_slug=slug, record_id=unit.cell_id)
    known = [one for one in found if one.settled and one.cell.digest == order.digest]
    return () if len(known) >= order.due[0].number else order.due
