"""Progress of long work: a bar on a terminal, plain dated lines elsewhere.

Everything here goes to standard error, so that standard output stays a result.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from llamatrix.units import bytes_text

_LINE_EVERY_S = 15.0


def say(text: str) -> None:
    """Print one dated line."""
    stamp = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    print(f"{stamp}  {text}", file=sys.stderr, flush=True)  # noqa: T201


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


def _lines(label: str, *, total: float, in_bytes: bool) -> Meter:
    last = time.monotonic()

    def amount(count: float) -> str:
        return bytes_text(int(count)) if in_bytes else f"{count:.0f}"

    def show(state: Meter) -> None:
        nonlocal last
        if time.monotonic() - last >= _LINE_EVERY_S:
            last = time.monotonic()
            note = f"  {state.note}" if state.note else ""
            say(f"{label}: {amount(state.done)} of {amount(state.total)}{note}")

    return Meter(total=total, show=show)


@contextmanager
def _bar(label: str, *, total: float, in_bytes: bool) -> Iterator[Meter]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True) if in_bytes else MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
        transient=True,
    )
    with bars:
        row = bars.add_task(label, total=total, note="")

        def show(state: Meter) -> None:
            bars.update(row, completed=state.done, total=state.total, note=state.note)

        yield Meter(total=total, show=show)
