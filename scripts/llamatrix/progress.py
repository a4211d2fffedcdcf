"""Progress of long work: a bar on a terminal, plain dated lines elsewhere.

Everything here goes to standard error, so that standard output stays a result.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from llamatrix.units import bytes_text

if TYPE_CHECKING:
    from rich.progress import Progress

_LINE_EVERY_S = 15.0
_LABEL = 40
"""Characters of a label beside a bar: of an id its end tells more."""


def say(text: str) -> None:
    """Print one dated line, whole also where threads print at once."""
    stamp = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    print(f"{stamp}  {text}\n", end="", file=sys.stderr, flush=True)  # noqa: T201


@dataclass(kw_only=True, slots=True)
class Meter:
    """How far one piece of work is; `show` draws it."""

    total: float
    show: Callable[["Meter"], None]
    done: float = 0.0
    note: str = field(default="")

    def advance(self, amount: float = 1.0, *, note: str | None = None) -> None:
        self.reach(self.done + amount, note=note)

    def reach(self, done: float, *, note: str | None = None) -> None:
        self.done = done
        if note is not None:
            self.note = note
        self.show(self)


@contextmanager
def meter(label: str, *, total: float, in_bytes: bool = False) -> Iterator[Meter]:
    """Show the progress of a piece of work until the block is left."""
    if sys.stderr.isatty():
        with _bar(label, total=total, in_bytes=in_bytes) as drawn:
            yield drawn
    else:
        yield _lines(label, total=total, in_bytes=in_bytes)


@contextmanager
def bar(label: str, *, total: float) -> Iterator[Meter]:
    """Show a bar on a terminal alone: for work that says each of its steps anyway."""
    if sys.stderr.isatty():
        with _bar(label, total=total, in_bytes=False) as drawn:
            yield drawn
    else:
        yield Meter(total=total, show=lambda _: None)


@contextmanager
def growing(label: str, folder: Path) -> Iterator[None]:
    """Show on a terminal alone what a program has written below a folder so far."""
    if not sys.stderr.isatty():
        yield
        return
    with _row(label, total=None, amount=_Growing(folder)):
        yield


@dataclass(frozen=True, slots=True)
class _Growing:
    """The size of a folder whenever it is drawn."""

    folder: Path

    def __format__(self, _spec: str) -> str:
        size = 0
        for path in self.folder.rglob("*"):
            with suppress(OSError):  # it may be moved away meanwhile
                size += path.lstat().st_size if path.is_file() else 0
        return bytes_text(size) if size else ""


def _amount(state: Meter, *, in_bytes: bool, of: str) -> str:
    return of.join(
        bytes_text(int(count)) if in_bytes else f"{count:.0f}"
        for count in (state.done, state.total)
    )


def _lines(label: str, *, total: float, in_bytes: bool) -> Meter:
    last = time.monotonic()

    def show(state: Meter) -> None:
        nonlocal last
        if time.monotonic() - last >= _LINE_EVERY_S:
            last = time.monotonic()
            note = f"  {state.note}" if state.note else ""
            say(f"{label}: {_amount(state, in_bytes=in_bytes, of=' of ')}{note}")

    return Meter(total=total, show=show)


_drawn: list["Progress"] = []
"""The bars on the terminal: work inside of other work adds a line to them."""


@contextmanager
def _row(
    label: str, *, total: float | None, amount: object = ""
) -> Iterator[Callable[..., None]]:
    """Add a line to the bars of the terminal; yield what changes it."""
    with ExitStack() as stack:
        if not _drawn:
            _drawn.append(stack.enter_context(_bars()))
            stack.callback(_drawn.pop)
        (bars,) = _drawn
        shown = label if len(label) <= _LABEL else f"...{label[3 - _LABEL :]}"
        row = bars.add_task(shown, total=total, note="", amount=amount)
        stack.callback(bars.remove_task, row)
        yield partial(bars.update, row)


@contextmanager
def _bar(label: str, *, total: float, in_bytes: bool) -> Iterator[Meter]:
    with _row(label, total=total) as update:

        def show(state: Meter) -> None:
            update(
                completed=state.done,
                total=state.total,
                note=state.note,
                amount=_amount(state, in_bytes=in_bytes, of="/"),
            )

        yield Meter(total=total, show=show)


def _bars() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Column

    def text(field: str, *, min_width: int | None = None) -> TextColumn:
        column = Column(no_wrap=True, overflow="crop", min_width=min_width)
        return TextColumn(field, markup=False, table_column=column)

    return Progress(
        text("{task.description}"),
        BarColumn(bar_width=12),
        text("{task.fields[amount]}", min_width=5),
        TimeElapsedColumn(table_column=Column(no_wrap=True, min_width=7)),
        text("{task.fields[note]}"),
        console=Console(stderr=True),
        transient=True,
    )
