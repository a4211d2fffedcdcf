"""`invoke plan`: the cells, what is recorded and what is due, for people and programs."""

import msgspec

from llamatrix.commands.flags import PlanFlags
from llamatrix.commands.pending import Pending, find_pending, with_only_pin
from llamatrix.commands.plan_needs import needs_text
from llamatrix.config.context import load_context
from llamatrix.config.endpoint_cell import EndpointCell
from llamatrix.config.lock import UNHASHED
from llamatrix.report.render.markdown import markdown
from llamatrix.report.table import Table, count, numbers
from llamatrix.units import json_text


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
    """Return a table, or one JSON list of all cells."""
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
