"""The page's plots, drawn with matplotlib; the same data give the same bytes."""

import html
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llamatrix.report.render.html import Figure
from llamatrix.stats.pass_rates import TurnCurve
from llamatrix.units import context_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.typing import RcKeyType

TEXT = "#a0000a"
GRID = "#a0000b"
BAND = "#a0000c"
SERIES = tuple(f"#a0000{number}" for number in range(6))
"""Stand-ins that plots are drawn with; the page's style sheet decides what they are."""

_VARIABLES = {
    TEXT: "currentColor",
    GRID: "var(--grid)",
    BAND: "var(--band)",
    **{colour: f"var(--s{number})" for number, colour in enumerate(SERIES)},
}


def inline_svg(text: str, *, id_: str, title: str, description: str) -> str:
    """Return an `<svg>` element in the colours of the page, with unique ids and a description."""
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{id_}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{id_}-\1)", text)
    text = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{id_}-\1"', text)
    for stand_in, colour in _VARIABLES.items():
        text = text.replace(stand_in, colour)
    text = text.replace("'DejaVu Sans'", "system-ui")
    head, body = text.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    named = f'{head} role="img" aria-labelledby="{id_}-title {id_}-desc">'
    words = (
        f'<title id="{id_}-title">{html.escape(title)}</title>'
        f'<desc id="{id_}-desc">{html.escape(description)}</desc>'
    )
    return named + words + body


_SETTINGS: "dict[RcKeyType, object]" = {
    "svg.fonttype": "none",
    "svg.hashsalt": "llamatrix",
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "text.color": TEXT,
    "axes.edgecolor": TEXT,
    "axes.labelcolor": TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
}
_WIDTH_IN = 4.8
_MARKERS = "osD^vP"
_BEYOND = 3
"""How far an interval is followed past the last ratio; two processes span decades."""
_FEW_DECADES = 2
_NARROW_DECADES = 0.5
_DASHES = ("-", "--", "-.", ":", "-", "--")


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """A plot in words; title and description are for those who cannot see it."""

    id: str
    title: str
    description: str
    caption: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RatioMark:
    label: str
    ratio: float
    interval: tuple[float, float] | None
    band: tuple[float, float]
    decided: bool
    """Whether the comparison has a verdict; else the mark is hollow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LimitMark:
    row: str
    fraction: float
    ours: bool


def prefill_plot(
    series: Mapping[str, Mapping[int, tuple[float, ...]]], words: Words
) -> Figure:
    """Tokens per second over prompt size: every process a mark, a line through means."""
    return _size_plot(series, words, label="prompt size, tokens", scale="log")


def depth_plot(
    series: Mapping[str, Mapping[int, tuple[float, ...]]], words: Words
) -> Figure:
    """Tokens per second over the tokens before the test."""
    return _size_plot(series, words, label="depth, tokens", scale="linear")


def _size_plot(
    series: Mapping[str, Mapping[int, tuple[float, ...]]],
    words: Words,
    *,
    label: str,
    scale: str,
) -> Figure:
    def draw(axes: "Axes") -> None:
        sizes = sorted({size for points in series.values() for size in points})
        for number, (name, points) in enumerate(series.items()):
            style = number % len(SERIES)
            means = [sum(points[size]) / len(points[size]) for size in sorted(points)]
            axes.plot(
                sorted(points),
                means,
                _DASHES[style],
                color=SERIES[style],
                marker=_MARKERS[style],
                markersize=5,
                label=name,
            )
            for size, values in points.items():
                spots = [size] * len(values)
                axes.plot(spots, values, "_", color=SERIES[style], markersize=9)
        if scale == "log":
            axes.set_xscale(scale, base=2)
        axes.set_xticks(sizes, [context_text(size) for size in sizes])
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        axes.set_xlabel(label)
        axes.set_ylabel("tokens/s")
        axes.grid(visible=True, axis="y")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)

    return _drawn(draw, words, height_in=3.9)


def generation_plot(series: Mapping[str, tuple[float, ...]], words: Words) -> Figure:
    """A bar for each model's mean, and every process on it."""

    def draw(axes: "Axes") -> None:
        for row, (name, values) in enumerate(series.items()):
            mean = sum(values) / len(values)
            colour = SERIES[row % len(SERIES)]
            axes.barh(row, mean, height=0.55, color=colour, alpha=0.45)
            axes.plot(values, [row] * len(values), "|", color=TEXT, markersize=12)
            axes.annotate(
                f"{name}: {mean:,.4g}",
                (0, row),
                xytext=(2, 14),
                textcoords="offset points",
                va="bottom",
            )
        axes.set_yticks([])
        axes.invert_yaxis()
        axes.set_ylim(top=-0.85)
        axes.set_xlim(left=0)
        axes.set_xlabel("tokens/s")
        axes.grid(visible=True, axis="x")
        axes.set_axisbelow(True)
        axes.spines["left"].set_visible(False)

    return _drawn(draw, words, height_in=0.9 + 0.62 * len(series))


def ratio_plot(marks: Sequence[RatioMark], words: Words) -> Figure:
    """Ours ÷ theirs with our interval, on the band that counts as reproduced."""

    def draw(axes: "Axes") -> None:
        for row, mark in enumerate(marks):
            low, high = mark.band
            axes.barh(row, high - low, left=low, height=0.8, color=BAND)
            colour = SERIES[0]
            if mark.interval:
                axes.plot(mark.interval, [row, row], "-", color=colour, linewidth=1.5)
            axes.plot(
                [mark.ratio],
                [row],
                "o",
                markersize=5.5,
                markeredgecolor=colour,
                markerfacecolor=colour if mark.decided else "none",
            )
        axes.axvline(1.0, color=TEXT, linewidth=0.8)
        edges = [edge for mark in marks for edge in (mark.ratio, *mark.band)]
        seen = [edge for mark in marks for edge in mark.interval or ()]
        axes.set_xscale("log")
        axes.set_xlim(
            max(min(edges) / _BEYOND, 0.95 * min(edges + seen)),
            min(max(edges) * _BEYOND, 1.05 * max(edges + seen)),
        )
        _decimal_ticks(axes)
        axes.set_yticks(range(len(marks)), [mark.label for mark in marks], fontsize=8.5)
        axes.set_ylim(len(marks) - 0.4, -0.6)
        axes.set_xlabel("ours ÷ published (logarithmic)")
        axes.grid(visible=True, axis="x")
        axes.set_axisbelow(True)

    return _drawn(draw, words, height_in=1.0 + 0.26 * len(marks))


def limit_plot(marks: Sequence[LimitMark], words: Words) -> Figure:
    """Shares of the physical limit: published hollow, ours filled."""
    rows = list(dict.fromkeys(mark.row for mark in marks))

    def draw(axes: "Axes") -> None:
        for ours, label, shift in ((False, "published", -0.12), (True, "ours", 0.12)):
            chosen = [mark for mark in marks if mark.ours is ours]
            if not chosen:
                continue
            colour = SERIES[0 if ours else 1]
            axes.plot(
                [100 * mark.fraction for mark in chosen],
                [rows.index(mark.row) + shift for mark in chosen],
                "o" if ours else "D",
                label=label,
                markersize=5.5,
                markeredgecolor=colour,
                markerfacecolor=colour if ours else "none",
            )
        axes.axvline(100, color=TEXT, linewidth=1.2)
        axes.set_yticks(range(len(rows)), rows, fontsize=9)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.set_xlabel("% of the physical limit")
        axes.grid(visible=True)
        axes.set_axisbelow(True)
        axes.legend(loc="upper right", bbox_to_anchor=(1.0, -0.16), ncols=2)

    return _drawn(draw, words, height_in=1.5 + 0.34 * len(rows))


def _decimal_ticks(axes: "Axes") -> None:
    """1, 0.5, 0.02 on a logarithmic axis, instead of powers of ten."""
    low, high = axes.get_xlim()
    decades = math.log10(high / low)
    steps: tuple[float, ...] = (1,)
    if decades < _FEW_DECADES:
        steps = (1, 2, 5)
    if decades < _NARROW_DECADES:
        steps = (1, 1.1, 1.2, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)
    all_ = (step * 10.0**power for power in range(-6, 7) for step in steps)
    ticks = [tick for tick in all_ if low <= tick <= high]
    axes.minorticks_off()
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xlim(low, high)


def _drawn(draw: Callable[["Axes"], None], words: Words, *, height_in: float) -> Figure:
    import matplotlib as mpl
    from matplotlib.figure import Figure as Drawing

    with mpl.rc_context(_SETTINGS):
        figure = Drawing(figsize=(_WIDTH_IN, height_in), layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        out = io.StringIO()
        none = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=none)
    svg = inline_svg(
        out.getvalue(), id_=words.id, title=words.title, description=words.description
    )
    return Figure(id=f"{words.id}-figure", caption=words.caption, svg=svg)


if TYPE_CHECKING:
    from matplotlib.axes import Axes

PARTS = ("prefill", "generation", "tools and agent", "judging")
_BAND_ALPHA = 0.12
_APART = 0.04
"""Between the marks of two models on one turn, so that none hides another."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Anatomy:
    """A turn's time, in seconds."""

    row: str
    parts: tuple[float, float, float, float]
    """In the order of PARTS; means over the trials that had this turn."""


def anatomy_plot(rows: Sequence[Anatomy], words: Words) -> Figure:
    """A bar for each turn, in its parts."""

    def draw(axes: "Axes") -> None:
        left = [0.0] * len(rows)
        for number, part in enumerate(PARTS):
            lengths = [row.parts[number] for row in rows]
            axes.barh(
                range(len(rows)),
                lengths,
                left=left,
                height=0.7,
                color=SERIES[number],
                label=part,
            )
            left = [start + length for start, length in zip(left, lengths, strict=True)]
        axes.set_yticks(range(len(rows)), [row.row for row in rows], fontsize=8.5)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.set_xlabel("seconds")
        axes.grid(visible=True, axis="x")
        axes.set_axisbelow(True)
        axes.figure.legend(loc="outside lower center", ncols=2)

    return _drawn(draw, words, height_in=1.5 + 0.26 * len(rows))


def curve_plot(curves: Mapping[str, TurnCurve], words: Words) -> Figure:
    """Share of trials that were correct by each turn, and its Wilson band."""

    def draw(axes: "Axes") -> None:
        longest = max(len(curve.points) for curve in curves.values())
        for number, (name, curve) in enumerate(curves.items()):
            style = number % len(SERIES)
            shift = (number - (len(curves) - 1) / 2) * _APART
            turns = [point.turn + shift for point in curve.points]
            lows = [point.band.low for point in curve.points]
            highs = [point.band.high for point in curve.points]
            colour = SERIES[style]
            axes.fill_between(
                turns, lows, highs, color=colour, alpha=_BAND_ALPHA, linewidth=0
            )
            axes.vlines(turns, lows, highs, color=colour, linewidth=1)
            axes.plot(
                turns,
                [point.share for point in curve.points],
                _DASHES[style],
                color=colour,
                marker=_MARKERS[style],
                markersize=5,
                label=name,
            )
        axes.set_xticks(range(1, longest + 1))
        axes.set_xlim(0.7, longest + 0.3)
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("turn")
        axes.set_ylabel("share of trials correct by then")
        axes.grid(visible=True, axis="y")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)

    return _drawn(draw, words, height_in=3.9)
