"""The plan as people and programs read it: cells, what is recorded, what is not."""

from collections.abc import Iterator

import msgspec

from llamatrix.commands.session import Session
from llamatrix.report.render.markdown import markdown
from llamatrix.report.table import Table, count, numbers


class CellView(msgspec.Struct, frozen=True, kw_only=True):
    """One object of `invoke plan --json`."""

    id: str
    digest: str
    recorded: int
    """Tests or trials that have a record under this digest."""
    failed: int
    missing: tuple[str, ...]
    """Repeat and test, for example `2:pp512`; of an agent cell `1:trial`."""


def plan_json(session: Session) -> str:
    views = list(_views(session))
    return msgspec.json.format(msgspec.json.encode(views), indent=2).decode()


def plan_text(session: Session) -> str:
    views = list(_views(session))
    tests = sum(item.missing for item in session.items)
    trials = sum(len(item.todo) for item in session.trials)
    table = Table(
        caption=f"Plan: {len(views)} cells, {tests} tests and {trials} trials to make",
        columns=("Cell", *numbers("Recorded", "Failed"), "To measure", "Digest"),
        rows=tuple(
            (
                view.id,
                count(view.recorded),
                count(view.failed),
                str(len(view.missing)) if view.missing else "nothing: all reused",
                view.digest[:12],
            )
            for view in views
        ),
    )
    return markdown(table)


def _views(session: Session) -> Iterator[CellView]:
    for item in session.items:
        yield CellView(
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
    for trials in session.trials:
        yield CellView(
            id=trials.cell.id,
            digest=trials.digest,
            recorded=trials.done,
            failed=trials.failed,
            missing=tuple(f"{number}:trial" for number in trials.todo),
        )
