"""The page's plots, drawn with matplotlib; the same data give the same bytes."""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llamatrix.report.html.svg import BAND, GRID, SERIES, TEXT, inline_svg
from llamatrix.units import context_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.typing import RcKeyType

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
MARKERS = "osD^vP"
_BEYOND = 3
"""How far an interval is followed past the last ratio; two processes span decades."""
_FEW_DECADES = 2
_NARROW_DECADES = 0.5
DASHES = ("-", "--", "-.", ":", "-", "--")


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """How a plot is told to those who cannot see it."""

    id: str
    title: str
    description: str


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
) -> str:
    """Tokens per second over prompt size: every process a mark, a line through means."""

    def draw(axes: "Axes") -> None:
        sizes = sorted({size for points in series.values() for size in points})
        for number, (name, points) in enumerate(series.items()):
            style = number % len(SERIES)
            means = [sum(points[size]) / len(points[size]) for size in sorted(points)]
            axes.plot(
                sorted(points),
                means,
                DASHES[style],
                color=SERIES[style],
                marker=MARKERS[style],
                markersize=5,
                label=name,
            )
            for size, values in points.items():
                spots = [size] * len(values)
                axes.plot(spots, values, "_", color=SERIES[style], markersize=9)
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [context_text(size) for size in sizes])
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        axes.set_xlabel("prompt size, tokens")
        axes.set_ylabel("tokens/s")
        axes.grid(visible=True, axis="y")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)

    return drawn(draw, words, height_in=3.9)


def generation_plot(series: Mapping[str, tuple[float, ...]], words: Words) -> str:
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

    return drawn(draw, words, height_in=0.9 + 0.62 * len(series))


def ratio_plot(marks: Sequence[RatioMark], words: Words) -> str:
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

    return drawn(draw, words, height_in=1.0 + 0.26 * len(marks))


def limit_plot(marks: Sequence[LimitMark], words: Words) -> str:
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

    return drawn(draw, words, height_in=1.5 + 0.34 * len(rows))


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


def drawn(draw: Callable[["Axes"], None], words: Words, *, height_in: float) -> str:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        out = io.StringIO()
        none = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=none)
    return inline_svg(
        out.getvalue(), id_=words.id, title=words.title, description=words.description
    )
