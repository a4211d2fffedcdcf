"""The page as one HTML file that needs nothing but itself."""

import html
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from llamatrix.report.table import Cell, Reference, Table, plain

_HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    id: str
    caption: str
    svg: str
    """A whole `<svg>` element that carries its own text alternative."""


class Mood(StrEnum):
    """The colour of an answer; its words say the same."""

    GOOD = "good"
    BAD = "bad"
    OPEN = "open"


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """A question with its answer; words between backticks are code."""

    id: str
    question: str
    answer: str
    mood: Mood
    lines: tuple[str, ...]
    href: str
    """Where the evidence stands; empty for none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    id: str
    title: str
    open: bool = False
    """Whether it is shown without a click."""
    badges: tuple[str, ...] = ()
    """Words of `Page.badges` that hold for all of it."""
    facts: tuple[tuple[str, str], ...] = ()
    """Term and description."""
    conditions: tuple[tuple[str, str], ...] = ()
    """More of them, shown on demand under the id of the section and `-conditions`."""
    warning: str = ""
    """Of this section alone; what a badge says needs none."""
    notes: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    figures_last: bool = False
    """Whether tables come before the figures."""
    tables: tuple[Table, ...] = ()
    folded: tuple[Table, ...] = ()
    """Shown on demand."""
    records: tuple[Table, ...] = ()
    """The same, of single records: never printed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    title: str
    about: str
    cards: tuple[Card, ...] = ()
    badges: Mapping[str, str] = field(default_factory=dict)
    """Each badge of the page, and what it means."""
    sections: tuple[Section, ...]
    downloads: tuple[tuple[str, str], ...]
    """Text and file name of a file beside the page."""
    bibtex: str
    """Entries for this project and the sources that the page compares with."""


def record_id(sha256: str) -> str:
    return f"rec-{sha256[:16]}"


def render(page: Page, *, sha256_of: Callable[[Reference], str]) -> str:
    """`sha256_of` tells the digest of a record's line, by which its row is found."""
    import jinja2

    def anchors(cell: Cell) -> list[str]:
        return [record_id(sha256_of(record)) for record in cell.records]

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {"anchors": anchors, "hint_of": _hint}
    environment.filters["code"] = lambda text: jinja2.filters.do_mark_safe(
        re.sub("`([^`]*)`", r"<code>\1</code>", html.escape(text))
    )
    return environment.get_template("index.html.j2").render(
        page=page,
        style=(_HERE / "style.css").read_text(encoding="utf-8"),
        script=(_HERE / "page.js").read_text(encoding="utf-8"),
    )


def _hint(cell: Cell) -> str:
    """The unrounded value with its unit, and how many records it was made of."""
    parts = [plain(cell.hint)]
    if cell.unit and isinstance(cell.value, float):
        parts.append(f"{cell.value:.9g} {cell.unit}")
    if len(cell.records) > 1:
        parts.append(f"of {len(cell.records)} records")
    return ", ".join(part for part in parts if part)
