"""Names on plots: none covers another name or a mark, wherever the points are."""

import html
import itertools
import re

import pytest
from matplotlib.textpath import TextPath

from llamatrix.report.labels import Box, place_labels, spread
from llamatrix.report.plots import (
    Palette,
    ScatterMark,
    Words,
    history_plot,
    scatter_plot,
)

_WORDS = Words(id="x", title="", caption="")
_TEXT = re.compile(
    r'<text style="font-size: 9px[^>]*? x="([-\d.]+)" y="([-\d.]+)"[^>]*>([^<]+)</text>'
)
LONG = "Qwen3.5-35B-A3B-Instruct-UD-Q4_K_XL-with-a-long-name (synthetic)"


def _marks(
    *points: tuple[float, float], names: tuple[str, ...] = ()
) -> list[ScatterMark]:
    return [
        ScatterMark(
            model=name,
            tokens_per_second=speed,
            speed_interval=None,
            rate=rate,
            rate_interval=(max(0.0, rate - 0.2), min(1.0, rate + 0.2)),
            here=True,
            hover=name,
        )
        for (speed, rate), name in zip(
            points, names or ["Qwen3.5-27B"] * len(points), strict=True
        )
    ]


def _drawn_boxes(svg: str) -> list[Box]:
    """Return the boxes of the names, as wide as matplotlib's own font draws them."""
    boxes = []
    for x, y, name in _TEXT.findall(svg):
        width = TextPath((0, 0), html.unescape(name), size=9).get_extents().width
        boxes.append(Box(left=float(x), bottom=-float(y), width=width, height=9))
    return boxes


def _assert_apart(boxes: list[Box]) -> None:
    assert not [(a, b) for a, b in itertools.combinations(boxes, 2) if a.overlap(b) > 1]


CASES = {
    "one": _marks((100, 0.5)),
    "same place": _marks(*[(100, 0.5)] * 8),
    "same place in a corner": _marks(*[(100, 1.0)] * 6, (20, 0.0)),
    "long names": _marks((100, 1.0), (101, 1.0), (150, 0.9), names=(LONG,) * 3),
    "a row": _marks(*[(100 + 5 * step, 1.0) for step in range(8)]),
    "scattered": _marks(
        *[(10 + 137 * step % 290, 0.37 * step % 1) for step in range(12)]
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_drawn_names_are_apart_and_inside(case: str) -> None:
    marks = CASES[case]
    svg = scatter_plot(marks, _WORDS, Palette(models={})).svg
    boxes = _drawn_boxes(svg)
    assert len(boxes) == len(marks)
    _assert_apart(boxes)
    width = float(re.search(r'viewBox="0 0 ([\d.]+)', svg)[1])  # type: ignore[index]
    assert all(box.left > 0 and box.left + box.width < width for box in boxes)
    assert svg == scatter_plot(marks, _WORDS, Palette(models={})).svg


def test_a_name_covers_no_mark() -> None:
    marks = [Box(left=10 * number, bottom=50, width=8, height=8) for number in range(6)]
    inside = Box(left=0, bottom=0, width=300, height=200)
    boxes = place_labels(marks, [(40, 10)] * 6, inside=inside)
    assert not [1 for box in boxes for mark in marks if box.overlap(mark)]


@pytest.mark.parametrize("places", [[0.9, 0.95, 1.0], [0.1, 0.1, 0.1], [0.5]])
def test_names_at_the_ends_of_lines_are_apart_below_the_top(
    places: list[float],
) -> None:
    found = spread(places, apart=0.1, top=1.0)
    assert all(b - a > 0.1 - 1e-9 for a, b in itertools.pairwise(found))
    assert max(found) <= 1.0


def test_factors_of_pins_have_logarithms_where_they_span_more_than_three() -> None:
    def ticks(factor: float) -> list[str]:
        means = {"april": (100.0,), "current": (100.0 * factor,)}
        svg = history_plot({"m": means}, _WORDS, Palette(models={})).svg
        return re.findall(r"<text[^>]*>([\d.]+)</text>", svg)

    assert {"1", "10"} <= {*ticks(25.0)}
    assert "10" not in ticks(1.2)
