"""A table of typed cells; Markdown, CSV and HTML render the same object (`render/`).

A cell keeps its unrounded value, and text is made from the value only. No renderer reads
a number out of text. Words between backticks are code: Markdown keeps them, HTML marks
them up, and `plain` leaves them out.
"""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import KW_ONLY, dataclass, replace

from llamatrix.records.store import Stored

Format = Callable[[float], str]
Reference = Stored | str
"""A record, or the sha256 of its line in the store."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A word or a number; where there is none, the reason."""

    value: str | float | None
    """Unrounded; also what the column is sorted by."""
    unit: str = ""
    """Of `value`: `tokens/s`, `bytes`."""
    format: Format | str = str
    """Makes text of a number; a string is the text of a cell that says more than it."""
    note: str = ""
    """In brackets behind the text."""
    missing: str = "n/a"
    """Why there is no value."""
    records: tuple[Reference, ...] = ()
    """All records that the value was made of."""
    href: str = ""
    """A place on the HTML page or a file beside it, for cells without records."""
    id: str = ""
    """Of the cell on the HTML page."""
    hint: str = ""

    @property
    def text(self) -> str:
        """The value as people read it, or the reason why there is none."""
        if self.value is None:
            return self.missing
        if isinstance(self.value, str):
            text = self.value
        elif isinstance(self.format, str):
            text = self.format
        else:
            text = self.format(self.value)
        return f"{text} ({self.note})" if self.note else text


def plain(text: str) -> str:
    """Return a text as terminals show it: without the backticks around code."""
    return text.replace("`", "")


Row = tuple[Cell | str, ...]
_LONGEST_CONSTANT = 60
"""A text that fits a caption."""


@dataclass(frozen=True, slots=True)
class Column:
    text: str
    _: KW_ONLY
    number: bool = False
    """Whether it is aligned to the right."""
    wide: bool = False
    """Whether it holds sentences, which may wrap."""


@dataclass(frozen=True, slots=True)
class Table:
    """Strings among columns and cells are columns of words and cells with a word."""

    caption: str
    columns: Sequence[Column | str]
    rows: Sequence[Row]
    """The first cell of a row is its heading."""

    @property
    def headings(self) -> tuple[Column, ...]:
        return tuple(
            Column(column) if isinstance(column, str) else column
            for column in self.columns
        )

    @property
    def cells(self) -> tuple[tuple[Cell, ...], ...]:
        return tuple(
            tuple(Cell(value=cell) if isinstance(cell, str) else cell for cell in row)
            for row in self.rows
        )

    def plain(self) -> "Table":
        """Return the table for a terminal: texts alone, without marks of code."""
        rows = (tuple(plain(cell.text) for cell in row) for row in self.cells)
        return replace(self, rows=tuple(rows))

    def without_empty_columns(self) -> "Table":
        columns = list(zip(*self.cells, strict=True))
        return self._without(
            {
                place
                for place, cells in enumerate(columns)
                if not any(cell.text for cell in cells)
            }
        )

    def with_constants_apart(self) -> "tuple[Table, tuple[tuple[str, str], ...]]":
        """Return the table without columns of one text, and these columns' texts.

        Headings of rows, sentences and cells that lead somewhere stay; so does everything
        in a table of one row.
        """
        columns = list(zip(*self.cells, strict=True))
        constant = {
            place: cells[0].text
            for place, cells in enumerate(columns)
            if place
            and not self.headings[place].wide
            and len(cells) > 1
            and len({cell.text for cell in cells}) == 1
            and len(cells[0].text) <= _LONGEST_CONSTANT
            and not any(cell.records or cell.href or cell.id for cell in cells)
        }
        apart = ((self.headings[place].text, text) for place, text in constant.items())
        return self._without(constant), tuple(pair for pair in apart if pair[1])

    def _without(self, places: Collection[int]) -> "Table":
        kept = [place for place in range(len(self.columns)) if place not in places]
        return replace(
            self,
            columns=[self.columns[place] for place in kept],
            rows=[tuple(row[place] for place in kept) for row in self.rows],
        )

    @property
    def name(self) -> str:
        """The caption without its brackets, fit for the name of a file and an id."""
        words = self.caption.split(" (", maxsplit=1)[0].lower()
        return "-".join(re.findall(r"[a-z0-9.]+", words))


def numbers(*texts: str) -> tuple[Column, ...]:
    return tuple(Column(text, number=True) for text in texts)


def number(
    value: float | None,
    format_: Format | str,
    unit: str = "",
    *,
    records: tuple[Reference, ...] = (),
    note: str = "",
    missing: str = "n/a",
) -> Cell:
    return Cell(
        value=value,
        format=format_,
        unit=unit,
        records=records,
        note=note,
        missing=missing,
    )


def count(value: int) -> Cell:
    return Cell(value=value)
