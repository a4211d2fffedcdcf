"""The page's plots, drawn with matplotlib; the same data give the same bytes."""

import html
import io
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from llamatrix.reference.verdict import Comparison, ComparisonVerdict
from llamatrix.report.formats import share_text
from llamatrix.report.labels import Box, place_labels, spread
from llamatrix.report.render.html import Figure
from llamatrix.stats.pass_rates import TurnCurve
from llamatrix.units import context_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.typing import RcKeyType

TEXT = "#a0000a"
GRID = "#a0000b"
BAND = "#a0000c"
SERIES = tuple(f"#a0000{number}" for number in range(8))
SHADES = tuple(f"#b0000{number}" for number in range(4))
"""Stand-ins that plots are drawn with; the page's style sheet decides what they are."""

_VARIABLES = {
    TEXT: "currentColor",
    GRID: "var(--grid)",
    BAND: "var(--band)",
    **{colour: f"var(--s{number})" for number, colour in enumerate(SERIES)},
    **{colour: f"var(--p{number})" for number, colour in enumerate(SHADES)},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Palette:
    """One colour, marker and dash for each model, the same in every plot of a page."""

    models: Mapping[str, str]
    """Names by key: a label begins with either, or has the key as a part of a claim."""

    def style(self, label: str) -> int:
        """Return a place in `SERIES`; a label without a model gets the first."""
        named = [
            (len(text), place)
            for place, model in enumerate(self.models.items())
            for text in model
            if label.startswith(text)
        ]
        return max(named)[1] % len(SERIES) if named else 0


def inline_svg(
    text: str,
    *,
    id_: str,
    title: str,
    description: str,
    values: Mapping[str, str] | None = None,
) -> str:
    """Return an `<svg>` element in the colours of the page, with unique ids and a description.

    `values` are shown while the pointer is on an element, by the element's id.
    """
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", text)
    for element, value in (values or {}).items():
        text = text.replace(
            f'<g id="{element}">',
            f'<g id="{element}"><title>{html.escape(value)}</title>',
            1,
        )
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
_MARKERS = "osD^vPX*"
_BEYOND = 3
"""How far an interval is followed past the last ratio; two processes span decades."""
_FEW_DECADES = 2
_NARROW_DECADES = 0.5
_DASHES = ("-", "--", "-.", ":") * 2
_HEADROOM = 1.08
"""Above the largest value, so that no mark is cut."""
_ROOM = 1.4
"""The same on a logarithmic axis."""
_LOG_FROM = 20
"""A range of values beyond which small ones would vanish."""
_FACTORS_FROM = 3
"""The same of ratios, whose small changes matter."""
_TICKS_APART = 0.09
_LABEL_APART = 0.075
"""Both as shares of the axis."""
_NAME_SIZE = 9
_NAME_POINTS = 11.0
"""The height of a name on a plot."""
_NAME_CHARACTERS = 32
_MARK_POINTS = 8
_FEW = 10
"""Up to here the ticks of an axis can need decimals."""
_UNDECIDED_BAND = (0.9, 1.1)
PARTS = ("prefill", "generation", "tools and agent", "judging")
_BAND_ALPHA = 0.12
_APART = 0.04
"""Between the marks of two models on one turn, so that none hides another."""


class _Hover:
    """What the pointer shows on the elements of a plot, by the ids that it gives them."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def __call__(self, value: str) -> str:
        element = f"v{len(self.values)}"
        self.values[element] = value
        return element


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """The id of a plot, its title for those who cannot see it, and its caption."""

    id: str
    title: str
    caption: str


Points = Mapping[int, tuple[float, ...]]
"""By size: one value for each process."""
_Ends = list[tuple[float, float, str, int]]
"""Of each line: where it ends, its name and its style."""


def size_plot(
    series: Mapping[str, Points],
    words: Words,
    palette: Palette,
    *,
    label: str,
    log: bool = True,
) -> Figure:
    """Tokens per second over sizes: every process a mark, a line through means."""

    def draw(axes: "Axes", hover: _Hover) -> None:
        sizes = sorted({size for points in series.values() for size in points})
        ends: _Ends = []
        for name, points in series.items():
            style = palette.style(name)
            means = {size: fmean(points[size]) for size in sorted(points)}
            axes.plot([*means], [*means.values()], _DASHES[style], color=SERIES[style])
            for size, mean in means.items():
                axes.plot(
                    [size],
                    [mean],
                    color=SERIES[style],
                    marker=_MARKERS[style],
                    markersize=5,
                    clip_on=False,
                    gid=hover(f"{name}, {context_text(size)}: {_text(mean)} tokens/s"),
                )
                spots = [size] * len(points[size])
                axes.plot(spots, points[size], "_", color=SERIES[style], markersize=9)
            last = max(means)
            ends.append((last, means[last], name, style))
        if log:
            axes.set_xscale("log", base=2)
        shown = _spread_out(sizes, log=log)
        axes.set_xticks(shown, [context_text(size) for size in shown])
        axes.minorticks_off()
        _value_axis(axes, series)
        axes.set_xlabel(label)
        axes.set_ylabel("tokens/s")
        axes.grid(visible=True, axis="y")
        _label_ends(axes, ends)

    means = {
        name: ", ".join(
            f"{fmean(points[size]):,.0f} at {context_text(size)}"
            for size in sorted(points)
        )
        for name, points in series.items()
    }
    described = f"In tokens per second. {_labelled(means)}."
    return _drawn(draw, words, described, height_in=3.3)


def _labelled(texts: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {text}" for name, text in texts.items())


def _spread_out(sizes: Sequence[int], *, log: bool) -> list[int]:
    """Return the sizes whose labels do not touch."""
    place = math.log2 if log else float
    whole = (place(max(sizes)) - place(min(sizes))) if len(sizes) > 1 else 1.0
    shown: list[int] = []
    for size in sorted(sizes, reverse=True):
        if not shown or place(shown[-1]) - place(size) >= whole * _TICKS_APART:
            shown.append(size)
    return shown[::-1]


def _value_axis(axes: "Axes", series: Mapping[str, Points]) -> None:
    """Begin at 0 with room above, or take logarithms where values span decades."""
    values = [
        value
        for points in series.values()
        for several in points.values()
        for value in several
    ]
    if min(values) > 0 and max(values) / min(values) > _LOG_FROM:
        axes.set_yscale("log")
        axes.set_ylim(min(values) / _ROOM, max(values) * _ROOM)
        _decimal_ticks(axes, along="y")
    else:
        axes.set_ylim(0, max(values) * _HEADROOM)
        _thousands(axes, "y")


def _label_ends(axes: "Axes", ends: _Ends) -> None:
    """Write each name at the end of its line, pushed apart where two would touch."""
    low, high = axes.get_ylim()
    logarithmic = axes.get_yscale() == "log"

    def height(value: float) -> float:
        if logarithmic:
            return math.log(value / low) / math.log(high / low)
        return (value - low) / (high - low)

    ends = sorted(ends, key=lambda end: end[1])
    heights = [height(y) for _, y, _, _ in ends]
    places = spread(heights, apart=_LABEL_APART, top=1.0)
    for (x, y, name, style), place in zip(ends, places, strict=True):
        axes.annotate(
            name,
            (x, y),
            xycoords="data",
            xytext=(1.02, place),
            textcoords="axes fraction",
            color=SERIES[style],
            va="center",
            fontsize=9,
            annotation_clip=False,
        )


def generation_plot(
    series: Mapping[str, tuple[float, ...]], words: Words, palette: Palette
) -> Figure:
    """A bar for each model's mean, and every process on it."""
    means = {name: fmean(values) for name, values in series.items()}

    def draw(axes: "Axes", hover: _Hover) -> None:
        for row, (name, mean) in enumerate(means.items()):
            axes.barh(
                row,
                mean,
                height=0.55,
                color=SERIES[palette.style(name)],
                alpha=0.45,
                gid=hover(f"{name}: {_text(mean)} tokens/s"),
            )
            values = series[name]
            axes.plot(values, [row] * len(values), "|", color=TEXT, markersize=12)
            axes.annotate(
                f"{name}: {_text(mean)}",
                (0, row),
                xytext=(2, 14),
                textcoords="offset points",
                va="bottom",
            )
        axes.set_yticks([])
        axes.invert_yaxis()
        axes.set_ylim(top=-0.85)
        axes.set_xlim(0, max(map(max, series.values())) * _HEADROOM)
        _thousands(axes, "x")
        axes.set_xlabel("tokens/s")
        axes.grid(visible=True, axis="x")
        axes.set_axisbelow(True)
        axes.spines["left"].set_visible(False)

    labels = {name: f"{mean:,.2f}" for name, mean in means.items()}
    described = f"In tokens per second. {_labelled(labels)}."
    return _drawn(draw, words, described, height_in=0.9 + 0.62 * len(series))


def history_plot(
    series: Mapping[str, Mapping[str, tuple[float, ...]]],
    words: Words,
    palette: Palette,
) -> Figure:
    """Speed at every pin relative to the first, one line for each configuration.

    Of each line one value for each process, by pin, oldest first.
    """
    means = {
        name: {pin: fmean(values) for pin, values in by_pin.items()}
        for name, by_pin in series.items()
    }
    pins = list(dict.fromkeys(pin for by_pin in means.values() for pin in by_pin))

    def draw(axes: "Axes", hover: _Hover) -> None:
        ends: _Ends = []
        reached = [1.0]
        lines: Counter[int] = Counter()
        for name, by_pin in means.items():
            style = palette.style(name)
            dash = _DASHES[lines[style] % len(_DASHES)]
            lines[style] += 1
            first = next(iter(by_pin.values()))
            places = [pins.index(pin) for pin in by_pin]
            ratios = [mean / first for mean in by_pin.values()]
            axes.plot(places, ratios, dash, color=SERIES[style])
            for pin, place, ratio in zip(by_pin, places, ratios, strict=True):
                axes.plot(
                    [place],
                    [ratio],
                    _MARKERS[style],
                    color=SERIES[style],
                    markersize=5,
                    clip_on=False,
                    gid=hover(
                        f"{name}, {pin}: {_text(by_pin[pin])} tokens/s, "
                        f"{ratio:.3f} of the first, n = {len(series[name][pin])}"
                    ),
                )
            reached += ratios
            ends.append((places[-1], ratios[-1], name, style))
        low, high = min(reached), max(reached)
        if high / low > _FACTORS_FROM:
            axes.set_yscale("log")
            axes.set_ylim(low / _ROOM, high * _ROOM)
            _decimal_ticks(axes, along="y")
        else:
            room = 0.15 * max(high - low, 0.02)
            axes.set_ylim(low - room, high + room)
        axes.axhline(1.0, color=TEXT, linewidth=0.8)
        axes.set_xticks(range(len(pins)), pins)
        axes.set_xlim(-0.15, len(pins) - 0.85)
        axes.set_ylabel("÷ the first pin")
        axes.grid(visible=True, axis="y")
        _label_ends(axes, ends)

    labels = {
        name: ", ".join(f"{mean:,.2f} at {pin}" for pin, mean in by_pin.items())
        for name, by_pin in means.items()
    }
    described = f"In tokens per second. {_labelled(labels)}."
    return _drawn(draw, words, described, height_in=1.6 + 0.22 * max(6, len(series)))


@dataclass(frozen=True, kw_only=True, slots=True)
class ScatterMark:
    model: str
    tokens_per_second: float
    speed_interval: tuple[float, float] | None
    rate: float
    rate_interval: tuple[float, float]
    here: bool
    """Whether both were measured here; else the mark is hollow."""
    hover: str


def scatter_plot(
    marks: Sequence[ScatterMark], words: Words, palette: Palette
) -> Figure:
    """Correct over speed: the upper right corner is best."""

    def draw(axes: "Axes", hover: _Hover) -> None:
        for mark in marks:
            style = palette.style(mark.model)
            colour = SERIES[style]
            x, y = mark.tokens_per_second, mark.rate
            axes.vlines(x, *mark.rate_interval, color=colour, linewidth=1, alpha=0.6)
            if mark.speed_interval:
                axes.hlines(y, *mark.speed_interval, color=colour, linewidth=1)
            axes.plot(
                [x],
                [y],
                _MARKERS[style],
                markersize=_MARK_POINTS,
                markeredgecolor=colour,
                markerfacecolor=colour if mark.here else "none",
                clip_on=False,
                gid=hover(mark.hover),
            )
        speeds = [mark.tokens_per_second for mark in marks]
        axes.set_xscale("log")
        axes.set_xlim(min(speeds) / _ROOM**2, max(speeds) * _ROOM**3)
        _decimal_ticks(axes)
        axes.set_ylim(-0.08, 1.16)  # room for a name above
        axes.set_xlabel("generation, tokens/s (logarithmic)")
        axes.set_ylabel("correct")
        axes.grid(visible=True)
        axes.set_axisbelow(True)
        _label_points(axes, marks, palette)

    described = "; ".join(mark.hover for mark in marks)
    return _drawn(draw, words, described, height_in=3.4)


def _label_points(axes: "Axes", marks: Sequence[ScatterMark], palette: Palette) -> None:
    """Write each name beside its point, with a line to it where it had to move away."""
    from matplotlib.textpath import TextPath

    figure = axes.figure.canvas.figure
    figure.draw_without_rendering()  # lays the axes out
    points = 72 / figure.dpi
    frame = axes.get_window_extent()
    inside = Box(
        left=frame.x0 * points,
        bottom=frame.y0 * points,
        width=frame.width * points,
        height=frame.height * points,
    )
    half = 0.7 * _MARK_POINTS  # a diamond stands on its corner

    def at(x: float, y: float) -> tuple[float, float]:
        place = axes.transData.transform((x, y)) * points
        return float(place[0]), float(place[1])

    centres = [at(mark.tokens_per_second, mark.rate) for mark in marks]
    lines = []
    for mark, (x, y) in zip(marks, centres, strict=True):
        low, high = (at(mark.tokens_per_second, end)[1] for end in mark.rate_interval)
        lines.append(Box(left=x - 1, bottom=low, width=2, height=high - low))
        if mark.speed_interval:
            left, right = (at(end, mark.rate)[0] for end in mark.speed_interval)
            lines.append(Box(left=left, bottom=y - 1, width=right - left, height=2))
    names = [_cut(mark.model) for mark in marks]
    boxes = place_labels(
        [
            Box(left=x - half, bottom=y - half, width=2 * half, height=2 * half)
            for x, y in centres
        ],
        [
            (TextPath((0, 0), name, size=_NAME_SIZE).get_extents().width, _NAME_POINTS)
            for name in names
        ],
        inside=inside,
        lines=lines,
    )
    for mark, name, (x, y), box in zip(marks, names, centres, boxes, strict=True):
        colour = SERIES[palette.style(mark.model)]
        moved = abs(box.bottom + box.height / 2 - y) > 2 * box.height
        label = axes.annotate(
            name,
            (mark.tokens_per_second, mark.rate),
            xytext=(box.left - x, box.bottom + box.height / 2 - y),
            textcoords="offset points",
            va="center",
            fontsize=_NAME_SIZE,
            color=colour,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6}
            if moved
            else None,
        )
        label.set_in_layout(False)


def _cut(name: str) -> str:
    """Shorten a long name in its middle: its ends tell models and quantizations apart."""
    half = _NAME_CHARACTERS // 2
    long = len(name) > _NAME_CHARACTERS
    return f"{name[:half]}…{name[1 - half :]}" if long else name


def ratio_plot(
    comparisons: Sequence[Comparison], words: Words, palette: Palette
) -> Figure:
    """Ours ÷ theirs with our interval, on the band that counts as reproduced.

    Comparisons have a ratio. The mark of one that no verdict was reached for is hollow.
    """
    names = [each.claim.partition("/")[2] for each in comparisons]
    ratios = [each.ratio or 0.0 for each in comparisons]
    bands = [each.band or _UNDECIDED_BAND for each in comparisons]

    def draw(axes: "Axes", hover: _Hover) -> None:
        for row, comparison in enumerate(comparisons):
            low, high = bands[row]
            axes.barh(row, high - low, left=low, height=0.8, color=BAND)
            colour = SERIES[palette.style(names[row])]
            if comparison.interval:
                ends = comparison.interval
                axes.plot(ends, [row, row], "-", color=colour, linewidth=1.5)
            decided = comparison.verdict in (
                ComparisonVerdict.REPRODUCED,
                ComparisonVerdict.DIFFERS,
            )
            axes.plot(
                [ratios[row]],
                [row],
                "o",
                markersize=5.5,
                markeredgecolor=colour,
                markerfacecolor=colour if decided else "none",
                gid=hover(f"{names[row]}: {ratios[row]:.3g}"),
            )
        axes.axvline(1.0, color=TEXT, linewidth=0.8)
        edges = [*ratios, *(edge for band in bands for edge in band)]
        seen = [end for each in comparisons for end in each.interval or ()]
        axes.set_xscale("log")
        axes.set_xlim(
            max(min(edges) / _BEYOND, 0.95 * min(edges + seen)),
            min(max(edges) * _BEYOND, 1.05 * max(edges + seen)),
        )
        _decimal_ticks(axes)
        _name_rows(axes, names)
        axes.set_xlabel("ours ÷ published (logarithmic)")
        axes.grid(visible=True, axis="x")

    labels = {name: f"{ratio:.3g}" for name, ratio in zip(names, ratios, strict=True)}
    described = f"Ratios of ours to published. {_labelled(labels)}."
    return _drawn(draw, words, described, height_in=1.0 + 0.26 * len(comparisons))


@dataclass(frozen=True, kw_only=True, slots=True)
class LimitMark:
    row: str
    fraction: float
    ours: bool


def limit_plot(marks: Sequence[LimitMark], words: Words, palette: Palette) -> Figure:
    """Shares of the physical limit: published hollow, ours filled."""
    rows = list(dict.fromkeys(mark.row for mark in marks))
    texts = [
        f"{mark.row}, {'ours' if mark.ours else 'published'}: {share_text(mark.fraction)}"
        for mark in marks
    ]

    def draw(axes: "Axes", hover: _Hover) -> None:
        for mark, text in zip(marks, texts, strict=True):
            colour = SERIES[palette.style(mark.row)]
            axes.plot(
                [100 * mark.fraction],
                [rows.index(mark.row) + (0.12 if mark.ours else -0.12)],
                "o" if mark.ours else "D",
                markersize=5.5,
                markeredgecolor=colour,
                markerfacecolor=colour if mark.ours else "none",
                gid=hover(text),
            )
        axes.axvline(100, color=TEXT, linewidth=1.2)
        _name_rows(axes, rows, fontsize=9)
        most = max(1.0, *(mark.fraction for mark in marks))
        axes.set_xlim(0, 100 * most * _HEADROOM)
        axes.set_xlabel("% of the physical limit")
        axes.grid(visible=True)

    return _drawn(draw, words, "; ".join(texts), height_in=1.5 + 0.34 * len(rows))


def anatomy_plot(turns: Mapping[str, Sequence[float]], words: Words) -> Figure:
    """A bar for each turn, in its parts: seconds in the order of `PARTS`."""

    def draw(axes: "Axes", hover: _Hover) -> None:
        left = [0.0] * len(turns)
        for number, part in enumerate(PARTS):
            lengths = [parts[number] for parts in turns.values()]
            bars = axes.barh(
                range(len(turns)),
                lengths,
                left=left,
                height=0.7,
                color=SHADES[number],
                label=part,
            )
            for bar, turn, length in zip(bars, turns, lengths, strict=True):
                bar.set_gid(hover(f"{turn}, {part}: {length:,.1f} s"))
            left = [start + length for start, length in zip(left, lengths, strict=True)]
        _name_rows(axes, turns)
        axes.set_xlim(left=0)
        axes.set_xlabel("seconds")
        axes.grid(visible=True, axis="x")
        axes.figure.legend(loc="outside lower center", ncols=2)

    labels = {
        turn: ", ".join(
            f"{part} {seconds:.1f}" for part, seconds in zip(PARTS, parts, strict=True)
        )
        for turn, parts in turns.items()
    }
    described = f"In seconds. {_labelled(labels)}."
    return _drawn(draw, words, described, height_in=1.5 + 0.26 * len(turns))


def curve_plot(
    curves: Mapping[str, TurnCurve], words: Words, palette: Palette
) -> Figure:
    """Share of trials that were correct by each turn, and its Wilson band."""

    def draw(axes: "Axes", hover: _Hover) -> None:
        longest = max(len(curve.points) for curve in curves.values())
        for number, (name, curve) in enumerate(curves.items()):
            style = palette.style(name)
            shift = (number - (len(curves) - 1) / 2) * _APART
            turns = [point.turn + shift for point in curve.points]
            lows = [point.band.low for point in curve.points]
            highs = [point.band.high for point in curve.points]
            colour = SERIES[style]
            axes.fill_between(
                turns, lows, highs, color=colour, alpha=_BAND_ALPHA, linewidth=0
            )
            axes.vlines(turns, lows, highs, color=colour, linewidth=1)
            shares = (
                f"{point.share:.2f} by turn {point.turn}" for point in curve.points
            )
            axes.plot(
                turns,
                [point.share for point in curve.points],
                _DASHES[style],
                color=colour,
                marker=_MARKERS[style],
                markersize=5,
                label=name,
                clip_on=False,
                gid=hover(f"{name}: {', '.join(shares)}"),
            )
        axes.set_xticks(range(1, longest + 1))
        axes.set_xlim(0.7, longest + 0.3)
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("turn")
        axes.set_ylabel("share of trials correct by then")
        axes.grid(visible=True, axis="y")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)

    labels = {
        name: ", ".join(
            f"turn {point.turn} {point.share:.2f} "
            f"({point.band.low:.2f} to {point.band.high:.2f})"
            for point in curve.points
        )
        + f", {curve.censored} of {curve.trials} trials never"
        for name, curve in curves.items()
    }
    described = f"Share of scored trials, with its interval. {_labelled(labels)}."
    return _drawn(draw, words, described, height_in=3.9)


def _name_rows(axes: "Axes", rows: Collection[str], fontsize: float = 8.5) -> None:
    axes.set_yticks(range(len(rows)), [*rows], fontsize=fontsize)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_axisbelow(True)


def _decimal_ticks(axes: "Axes", *, along: str = "x") -> None:
    """1, 0.5, 0.02 on a logarithmic axis, instead of powers of ten."""
    low, high = axes.get_xlim() if along == "x" else axes.get_ylim()
    decades = math.log10(high / low)
    steps: tuple[float, ...] = (1,)
    if decades < _FEW_DECADES:
        steps = (1, 2, 5)
    if decades < _NARROW_DECADES:
        steps = (1, 1.1, 1.2, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)
    all_ = (step * 10.0**power for power in range(-6, 7) for step in steps)
    ticks = [tick for tick in all_ if low <= tick <= high]
    axes.minorticks_off()
    texts = [f"{tick:,.0f}" if tick >= 1000 else f"{tick:g}" for tick in ticks]  # noqa: PLR2004
    if along == "x":
        axes.set_xticks(ticks, texts)
        axes.set_xlim(low, high)
    else:
        axes.set_yticks(ticks, texts)
        axes.set_ylim(low, high)


def _thousands(axes: "Axes", along: Literal["x", "y"]) -> None:
    """Separate thousands on an axis, as tables do."""
    axis = axes.xaxis if along == "x" else axes.yaxis
    axis.set_major_formatter(
        "{x:,.0f}" if max(axis.get_view_interval()) > _FEW else "{x:g}"
    )


def _text(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"  # noqa: PLR2004


def _drawn(
    draw: Callable[["Axes", "_Hover"], None],
    words: Words,
    description: str,
    *,
    height_in: float,
) -> Figure:
    import matplotlib as mpl
    from matplotlib.figure import Figure as Drawing

    hover = _Hover()
    with mpl.rc_context(_SETTINGS):
        figure = Drawing(figsize=(_WIDTH_IN, height_in), layout="constrained")
        draw(figure.add_subplot(), hover)
        out = io.StringIO()
        none = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=none)
    svg = inline_svg(
        out.getvalue(),
        id_=words.id,
        title=words.title,
        description=description,
        values=hover.values,
    )
    return Figure(id=f"{words.id}-figure", caption=words.caption, svg=svg)
