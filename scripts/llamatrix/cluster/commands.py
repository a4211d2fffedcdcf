"""The measuring commands with `--cluster`."""

import hashlib
import io
import platform
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace

from llamatrix.cluster.driver import SILENCE_S, Driver, Host, Outcome, describe
from llamatrix.cluster.lanes import open_transport
from llamatrix.cluster.planning import ClassPlan, Planner, SiteClass
from llamatrix.commands.all import searches_of
from llamatrix.commands.bench import NOT_ALL_NUMBERS
from llamatrix.commands.context import search_text
from llamatrix.commands.cross_talk import shares_cards
from llamatrix.commands.doctor import finding, findings_text
from llamatrix.commands.flags import (
    AgentFlags,
    AllFlags,
    ContextFlags,
    DoctorFlags,
    MeasureFlags,
    PlanFlags,
)
from llamatrix.commands.pending import Pending, with_only_pin
from llamatrix.commands.plan import plan_json, plan_text
from llamatrix.commands.tabulate import summary_of, tables_of
from llamatrix.config.context import load_context
from llamatrix.config.matrix import Measurement
from llamatrix.errors import MeasureError
from llamatrix.exclusive import exclusive
from llamatrix.progress import say
from llamatrix.project import Project
from llamatrix.provision.local_pins import with_local_pins
from llamatrix.provision.resolve_weights import with_known_weights
from llamatrix.records.context_record import CONTEXT
from llamatrix.records.store import Store
from llamatrix.units import json_text

_ALL = (Measurement.SPEED, Measurement.SERVE_SPEED, Measurement.AGENT)


def bench(flags: MeasureFlags) -> int:
    planner = planner_of(flags, [Measurement.SPEED, Measurement.SERVE_SPEED])
    return NOT_ALL_NUMBERS if _measured(planner).without_number else 0


def agent(flags: AgentFlags) -> int:
    planner = planner_of(flags, [Measurement.AGENT])
    outcome = _measured(planner, lambda plans: _tables(tables_of, plans, planner))
    return NOT_ALL_NUMBERS if outcome.without_number else 0


def all_(flags: AllFlags) -> int:
    planner = planner_of(flags, _ALL)
    searches = [
        (
            asked,
            load_context(
                asked.profile, model=asked.model, weights_dir=asked.weights_dir
            ),
        )
        for asked in searches_of(planner.context, flags)
    ]
    planner = replace(planner, searches=searches)

    def text(plans: Sequence[ClassPlan]) -> str:
        if not flags.full:
            return _tables(summary_of, plans, planner)
        contexts = _contexts(ContextFlags(), plans, planner.context.project)
        return _tables(tables_of, plans, planner) + contexts

    outcome = _measured(planner, text)
    return NOT_ALL_NUMBERS if outcome.without_number > outcome.unscripted else 0


def context(flags: ContextFlags) -> None:
    """Search the largest context on one lane of each class of the cluster."""
    taken = MeasureFlags(
        cluster=flags.cluster,
        profile=flags.profile,
        model=flags.model,
        weights_dir=flags.weights_dir,
    )
    planner = planner_of(taken, ())
    asked = replace(flags, cluster="", profile=planner.context.profile)
    planner = replace(planner, searches=[(asked, planner.context)])
    project = planner.context.project
    _measured(planner, lambda plans: _contexts(flags, plans, project))


def plan(flags: PlanFlags) -> str:
    """What is due on each class of the cluster's hosts, and what no host can run."""
    asked = AgentFlags(
        cluster=flags.cluster,
        profile=flags.profile,
        cells=flags.cells,
        pin=flags.pin,
        again=flags.again,
        retry=flags.retry,
    )
    return _plan(planner_of(asked, _ALL, ask_hub=False), as_json=flags.json) + "\n"


def doctor(flags: DoctorFlags) -> None:
    """Print what each host is, and what keeps it from measuring with this checkout."""
    with redirect_stderr(io.StringIO()):  # which profile does not matter
        planner = planner_of(MeasureFlags(cluster=flags.cluster), (), ask_hub=False)
    with driver_of(planner) as driver:
        hosts, unfit = driver.survey()
    report = [
        finding(host.name, _described(host, planner), "", ok=True) for host in hosts
    ]
    remedy = "prepare it as docs/howto/several-machines.md says"
    report += [finding(name, why, remedy, ok=False) for name, why in unfit.items()]
    print(json_text(report) if flags.json else findings_text(report))


def _described(host: Host, planner: Planner) -> str:
    project, slug = planner.context.project, host.surveyed.host.slug
    return describe(host, shared=shares_cards(project, slug))


def _plan(planner: Planner, *, as_json: bool = False) -> str:
    with driver_of(planner) as driver:
        hosts, unfit = driver.survey()
    for name, why in unfit.items():
        say(f"{name}: left out: {why}")
    if not hosts:
        raise _no_host(planner)
    places: dict[SiteClass, list[str]] = {}
    for host in hosts:
        say(f"{host.name}: {_described(host, planner)}")
        places.setdefault(host.whole, []).append(host.name)
        for card, site in host.cards.items():
            places.setdefault(site, []).append(f"{host.name} card {card}")
    plans = [planner.plan(site) for site in places]
    if as_json:
        return plan_json(_together(plans, planner))
    parts = [
        f"## {one.site.slug} ({', '.join(places[one.site])})\n\n{plan_text(one.pending)}"
        for one in plans
        if one.pending.statuses
    ]
    cells = planner.context.plan(planner.flags.cells).cells
    if nowhere := [c.id for c in cells if not any(site.runs(c) for site in places)]:
        parts.append("No host can run: " + ", ".join(nowhere))
    return "\n\n".join(parts)


def planner_of(
    flags: MeasureFlags, kinds: Collection[Measurement], *, ask_hub: bool = True
) -> Planner:
    """Read the matrix; resolve weights and hash local pins once, for all hosts."""
    loaded = load_context(
        flags.profile, model=flags.model, weights_dir=flags.weights_dir
    )
    loaded = with_only_pin(loaded, flags.pin)
    cells = loaded.plan(flags.cells).cells
    known = with_known_weights(loaded, cells, ask_hub=ask_hub and not flags.dry_run)
    known = with_local_pins(known, [cell.pin_key for cell in cells])
    chosen = known.plan(flags.cells)
    elsewhere = [cell.id for cell in chosen.endpoints if Measurement.SPEED in kinds]
    if Measurement.AGENT in kinds:
        elsewhere += [cell.id for cell in chosen.agents if cell.endpoint]
    if elsewhere:
        say(
            f"not measured with --cluster, but without it: {', '.join(elsewhere)}: an "
            "endpoint runs by itself, on none of the hosts"
        )
    return Planner(context=known, flags=flags, kinds=kinds)


@contextmanager
def driver_of(planner: Planner, *, silence_s: float = SILENCE_S) -> Iterator[Driver]:
    project = planner.context.project
    transport = open_transport(planner.flags.cluster, project, driver_id(project))
    try:
        yield Driver(
            transport,
            planner,
            shares_cards=lambda slug: shares_cards(project, slug),
            silence_s=silence_s,
        )
    finally:
        transport.close()


def driver_id(project: Project) -> str:
    """Name this checkout's records: hosts keep what they measured for them apart."""
    words = f"{platform.node()}\0{project.reports.resolve()}"
    return hashlib.sha256(words.encode()).hexdigest()[:12]


def _measured(
    planner: Planner, show: Callable[[Sequence[ClassPlan]], str] | None = None
) -> Outcome:
    """Measure on the cluster, say what was done, print what is to be shown of it."""
    flags, project = planner.flags, planner.context.project
    if flags.dry_run:
        print(_plan(planner))
        return Outcome()
    with (
        exclusive(project.reports / ".cluster.lock", purpose="driving a cluster"),
        driver_of(planner) as driver,
    ):
        outcome, plans = driver.run()
    if not plans:
        raise _no_host(planner)
    words = f"records: {outcome.measured} made, {outcome.reused} reused"
    if outcome.without_number:
        words += f"; {outcome.without_number} without a number (kept; `--retry` repeats them)"
    say(words)
    if show:
        print(show(plans), end="")
    if outcome.unmeasured:
        listed = "".join(f"\n  {line}" for line in outcome.unmeasured)
        raise MeasureError(
            f"{len(outcome.unmeasured)} cells could not be measured; all other records "
            f"are kept, and the same command goes on from there:{listed}"
        )
    return outcome


def _no_host(planner: Planner) -> MeasureError:
    return MeasureError(
        f"--cluster {planner.flags.cluster}: no host can measure; what each lacks is above"
    )


def _tables(
    write: Callable[..., str], plans: Sequence[ClassPlan], planner: Planner
) -> str:
    slugs = {one.site.slug for one in plans}
    return write(_together(plans, planner), host_slugs=slugs)


def _contexts(flags: ContextFlags, plans: Sequence[ClassPlan], project: Project) -> str:
    """Write the page of all searches; return the last answer of each that was planned."""
    planned = {
        (one.site.slug, status.digest) for one in plans for status in one.searches
    }
    answers = {
        (record.host.slug, record.cell.digest): record
        for record in Store(reports=project.reports, kind=CONTEXT).read_all()
    }
    return "".join(
        search_text(record, flags, project)
        for key, record in answers.items()
        if key in planned
    )


def _together(plans: Sequence[ClassPlan], planner: Planner) -> Pending:
    return Pending(
        context=planner.context,
        speed=tuple(status for one in plans for status in one.pending.speed),
        trials=tuple(status for one in plans for status in one.pending.trials),
    )
