"""The plan as people and programs read it: cells, what is recorded, what is not."""

from collections.abc import Sequence

import msgspec

from llamatrix.campaigns.agenda import Item
from llamatrix.report.tables import Table


class CellView(msgspec.Struct, frozen=True, kw_only=True):
    """One object of `invoke plan --json`."""

    id: str
    digest: str
    recorded: int
    """Tests that have a record under this digest."""
    failed: int
    missing: tuple[str, ...]
    """Repeat and test, for example `2:pp512`."""


def plan_json(items: Sequence[Item]) -> str:
    views = [
        CellView(
            id=item.cell.id,
            digest=item.digest,
            recorded=item.done,
            failed=item.failed,
            missing=tuple(
                f"{repeat.number}:{test.name}"
                for repeat in item.todo
                for test in repeat.tests
            ),
        )
        for item in items
    ]
    return msgspec.json.format(msgspec.json.encode(views), indent=2).decode()


def plan_text(items: Sequence[Item]) -> str:
    missing = sum(item.missing for item in items)
    table = Table(
        title=f"Plan: {len(items)} cells, {missing} tests to measure",
        header=("Cell", "Recorded", "Failed", "To measure", "Digest"),
        rows=tuple(
            (
                item.cell.id,
                str(item.done),
                str(item.failed),
                str(item.missing) if item.missing else "nothing: all reused",
                item.digest[:12],
            )
            for item in items
        ),
        right=(1, 2),
    )
    return table.markdown()
