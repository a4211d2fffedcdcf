"""What the page's template is given: text already rounded, links already resolved."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    text: str
    sort: float | None = None
    """The unrounded number; None where the text itself is sorted by."""
    href: str = ""
    """A place on the page or a file beside it; empty for none."""
    id: str = ""
    hint: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    text: str
    number: bool = False
    wide: bool = False
    """Sentences, which may wrap."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    id: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    """The first cell of a row is its heading."""
    folded: bool = False
    """Shown only on demand."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    id: str
    caption: str
    svg: str
    """A whole `<svg>` element that carries its own text alternative."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    id: str
    title: str
    facts: tuple[tuple[str, str], ...] = ()
    """Term and description."""
    conditions: tuple[tuple[str, str], ...] = ()
    """More of them, shown on demand under the id of the section and `-conditions`."""
    warning: str = ""
    notes: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    title: str
    about: str
    sections: tuple[Section, ...]
    downloads: tuple[tuple[str, str], ...]
    """Text and file of what lies beside the page."""
