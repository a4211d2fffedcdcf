"""`invoke plan`: the cells, what is recorded and what is due, for people and programs."""

from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec

from llamatrix.commands.flags import PlanFlags
from llamatrix.commands.pending import CellStatus, Pending, find_pending, with_only_pin
from llamatrix.config.agent_cell import AgentCell
from llamatrix.config.cell import Cell, EngineCell
from llamatrix.config.context import load_context
from llamatrix.config.endpoint_cell import EndpointCell
from llamatrix.config.lock import UNHASHED
from llamatrix.config.matrix import Backend, WeightsKind
from llamatrix.engines.outcome import Done
from llamatrix.host import this_host
from llamatrix.provision.build import bytes_to_build
from llamatrix.provision.weights.provide import bytes_to_provide
from llamatrix.records.speed_record import kind_of
from llamatrix.records.store import Store
from llamatrix.records.trial_record import AGENT
from llamatrix.report.render.markdown import markdown
from llamatrix.report.table import Table, count, numbers
from llamatrix.units import bytes_text, duration_text, json_text


class CellView(msgspec.Struct, frozen=True, kw_only=True):
    """One object of `invoke plan --json`."""

    id: str
    digest: str
    recorded: int
    """Tests or trials that have a record under this digest."""
    failed: int
    missing: tuple[str, ...]
    """Repeat and test, for example `2:pp512`; of an agent cell `1:trial`."""
    why: tuple[str, ...]
    """Why they are due, each reason once."""
    source: str
    """`unproven source` or `source unproven`; empty for a proven pin."""


def plan(flags: PlanFlags) -> str:
    pending = find_pending(
        with_only_pin(load_context(flags.profile), flags.pin),
        flags.cells,
        again=flags.again,
        retry=flags.retry,
    )
    return f"{plan_json(pending) if flags.json else plan_text(pending)}\n"


def plan_json(pending: Pending) -> str:
    return json_text(_views(pending))


def plan_text(pending: Pending) -> str:
    views = _views(pending)
    tests = sum(len(status.missing) for status in pending.speed)
    tests += sum(len(status.missing) for status in pending.endpoints)
    trials = sum(len(status.missing) for status in pending.trials)
    table = Table(
        caption=f"Plan: {len(views)} cells, {tests} tests and {trials} trials to make",
        columns=(
            "Cell",
            "Weights",
            *numbers("Recorded", "Failed"),
            "To measure",
            "Digest",
        ),
        rows=tuple(
            (
                view.id,
                "unverified"
                if isinstance(status.cell, EndpointCell)
                else status.cell.weights.label,
                count(view.recorded),
                count(view.failed),
                f"{len(view.missing)}: {', '.join(view.why)}"
                if view.missing
                else "nothing: all reused",
                view.digest[:12] if view.digest else f"not hashed: {view.source}",
            )
            for view, status in zip(views, pending.statuses, strict=True)
        ),
    )
    needs = needs_text(pending)
    return f"{markdown(table)}\n{needs}" if needs else markdown(table)


def _views(pending: Pending) -> list[CellView]:
    views = []
    for status in pending.statuses:
        cell = status.cell
        locked = None if isinstance(cell, EndpointCell) else cell.locked
        unhashed = locked is not None and locked.commit == UNHASHED
        views.append(
            CellView(
                id=cell.id,
                digest="" if unhashed else status.digest,
                recorded=status.recorded,
                failed=status.failed,
                missing=status.missing,
                why=tuple(dict.fromkeys(due.why for due in status.due)),
                source=locked.label if locked else "",
            )
        )
    return views


_Due = Sequence[CellStatus[Cell] | CellStatus[AgentCell]]
"""Cells of engines that lack something."""


def needs_text(pending: Pending) -> str:
    """Three lines: to provide, how long, needed; empty where nothing is due."""
    due: _Due = [
        *(status for status in pending.speed if status.due),
        *(s for s in pending.trials if s.due and not s.cell.endpoint),
    ]
    if not any(status.due for status in pending.statuses):
        return ""
    context = pending.context
    weights = {status.cell.weights_key: status.cell for status in due}
    sizes = [
        (
            cell,
            bytes_to_provide(
                cell, context.project.cache, weights_dir=context.weights_dir
            ),
        )
        for cell in weights.values()
    ]
    missing = [(cell, size) for cell, size in sizes if size != 0]
    builds = {f"{one.cell.pin_key}/{one.cell.build_key}": one.cell for one in due}
    to_build = {
        name: size
        for name, cell in builds.items()
        if (size := bytes_to_build(cell, context.project.cache))
    }
    lines = (
        _to_provide([size for _, size in missing], to_build),
        _time(pending),
        _needed(pending, due, [cell for cell, _ in missing], to_build),
    )
    return "".join(f"- {line}\n" for line in lines if line)


def _to_provide(weights: Sequence[int | None], builds: Mapping[str, int]) -> str:
    known = [size for size in weights if size is not None]
    parts = []
    if known:
        parts.append(f"about {bytes_text(sum(known))} in {len(known)} files of weights")
    if unknown := len(weights) - len(known):
        parts.append(f"{unknown} files of unknown size")
    if builds:
        most = bytes_text(max(builds.values()))
        parts.append(f"{', '.join(builds)} to compile ({most} of disk at work)")
    return f"to provide: {', '.join(parts) or 'nothing, all is in the cache'}"


def _time(pending: Pending) -> str:
    seconds = [*_seconds_of_tests(pending), *_seconds_of_trials(pending)]
    known = [one for one in seconds if one is not None]
    if not seconds:
        return ""
    if not known:
        return "time: unknown until each test and trial has run here once"
    rest = len(seconds) - len(known)
    unknown = f"; {rest} more never ran here" if rest else ""
    return (
        f"time: {duration_text(sum(known))} of measuring, by earlier records of "
        f"{len(known)} of them{unknown}; loading and compiling come on top"
    )


def _seconds_of_tests(pending: Pending) -> Iterator[float | None]:
    """What the repetitions of each due test took when they last ran on this host."""
    for status in pending.speed:
        if not status.due:
            continue
        store = Store(
            reports=pending.context.project.reports, kind=kind_of(status.cell)
        )
        records = store.read(host_slug=this_host().slug, record_id=status.cell.id)
        seconds = {
            record.test: sum(record.outcome.result.nanoseconds) / 1e9
            for record in records
            if isinstance(record.outcome, Done)
        }
        yield from (seconds.get(test) for due in status.due for test in due.tests)


def _seconds_of_trials(pending: Pending) -> Iterator[float | None]:
    store = Store(reports=pending.context.project.reports, kind=AGENT)
    for status in pending.trials:
        if status.due:
            records = store.read(host_slug=this_host().slug, record_id=status.cell.id)
            seconds = [record.result.seconds for record in records]
            mean = sum(seconds) / len(seconds) if seconds else None
            yield from (mean for _ in status.due)


def _needed(
    pending: Pending,
    due: _Due,
    to_fetch: Collection[EngineCell],
    to_build: Mapping[str, int],
) -> str:
    words = []
    if any(status.cell.build.backend is Backend.CUDA for status in due):
        words.append("a CUDA card")
    if to_build:
        words.append("a C++ compiler")
    if any(cell.weights is WeightsKind.HUB for cell in to_fetch):
        words.append("the hub")
    if any(status.due for status in pending.trials):
        words.append("bubblewrap")
    endpoints = [s.cell.endpoint_key for s in pending.endpoints if s.due]
    endpoints += [s.cell.model_key for s in pending.trials if s.due and s.cell.endpoint]
    words += [f"endpoint {key}" for key in dict.fromkeys(endpoints)]
    return f"needs: {', '.join(words)} (`invoke doctor` checks)" if words else ""
