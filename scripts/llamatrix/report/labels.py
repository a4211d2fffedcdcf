"""Where the names on a plot go, so that none covers another name or a mark."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_GAP = 4.0
"""Points between a mark and its name, and between two names."""
_HARD = 100.0
"""What an area of a name or mark costs that is covered, beside that of a line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """In points, from the lower left corner of the figure."""

    left: float
    bottom: float
    width: float
    height: float

    def overlap(self, other: "Box") -> float:
        """Return the area that both share."""
        across = min(self.left + self.width, other.left + other.width)
        across -= max(self.left, other.left)
        along = min(self.bottom + self.height, other.bottom + other.height)
        along -= max(self.bottom, other.bottom)
        return max(across, 0.0) * max(along, 0.0)


def place_labels(
    marks: Sequence[Box],
    sizes: Sequence[tuple[float, float]],
    *,
    inside: Box,
    lines: Sequence[Box] = (),
) -> tuple[Box, ...]:
    """Return a box for the name of each mark, of its size and inside of the plot.

    A name takes the nearest free place around its mark, and crosses a line only where
    nothing else is free. The same marks in the same order give the same boxes.
    """
    placed: list[Box] = []
    for mark, (width, height) in zip(marks, sizes, strict=True):

        def cost(box: Box) -> float:
            covered = sum(map(box.overlap, (*marks, *placed)))
            outside = box.width * box.height - box.overlap(inside)
            return _HARD * (covered + outside) + sum(map(box.overlap, lines))

        candidates = list(_around(mark, width, height, rows=len(marks) + 2))
        placed.append(
            min(candidates, key=lambda box: (round(cost(box)), candidates.index(box)))
        )
    return tuple(placed)


def _around(mark: Box, width: float, height: float, *, rows: int) -> Iterator[Box]:
    """Yield places beside, above and below the mark, the nearest first."""
    middle = mark.bottom + (mark.height - height) / 2
    centre = mark.left + (mark.width - width) / 2
    right, left = mark.left + mark.width + _GAP, mark.left - width - _GAP
    for row in range(rows):
        step = row * (height + _GAP)
        for bottom in (middle + step, middle - step):
            for side in (*((centre,) if row else ()), right, left):
                yield Box(left=side, bottom=bottom, width=width, height=height)


def spread(places: Sequence[float], *, apart: float, top: float) -> list[float]:
    """Return ascending places pushed up until none touch, and down from the top."""
    spread_out: list[float] = []
    for place in places:
        spread_out.append(max([place, *(last + apart for last in spread_out[-1:])]))
    for number in reversed(range(len(spread_out))):
        most = top - apart * (len(spread_out) - 1 - number)
        spread_out[number] = min(spread_out[number], most)
    return spread_out
