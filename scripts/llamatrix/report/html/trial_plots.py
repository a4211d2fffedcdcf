"""The agent's plots: where a turn's time went, and how soon the work was correct."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llamatrix.report.html.plots import DASHES, MARKERS, Words, drawn
from llamatrix.report.html.svg import SERIES
from llamatrix.stats.pass_rates import TurnCurve

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


def anatomy_plot(rows: Sequence[Anatomy], words: Words) -> str:
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
            left = [start + one for start, one in zip(left, lengths, strict=True)]
        axes.set_yticks(range(len(rows)), [row.row for row in rows], fontsize=8.5)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.set_xlabel("seconds")
        axes.grid(visible=True, axis="x")
        axes.set_axisbelow(True)
        axes.figure.legend(loc="outside lower center", ncols=2)

    return drawn(draw, words, height_in=1.5 + 0.26 * len(rows))


def curve_plot(curves: Mapping[str, TurnCurve], words: Words) -> str:
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
                DASHES[style],
                color=colour,
                marker=MARKERS[style],
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

    return drawn(draw, words, height_in=3.9)
