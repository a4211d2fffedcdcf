"""Who runs what where several workers share the tests: whole files, the longest first.

What measures with the user's cache waits for that cache's lock, so it goes to one
worker, one file after the other, while the others do the rest.
"""

import re

import pytest
from xdist.scheduler import LoadScopeScheduling

_MEASURES = re.compile(r"tests/campaigns/(\w+/)*test_real\.py")
_LONGEST_FIRST = ("network", "slow")
"""Marks: of real programs that are fetched, and of those that are compiled."""


class Shares(LoadScopeScheduling):  # type: ignore[misc]  # xdist tells no types
    """Shares of the work: a file each, but one for all that measures."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return "measuring" if _MEASURES.fullmatch(file) else file


def in_order(items: list[pytest.Item]) -> list[pytest.Item]:
    """Files that measure, then those with marks, then the rest; tests stay in place."""
    place: dict[str, int] = {}
    for item in items:
        file = _file(item)
        place[file] = min(place.get(file, len(_LONGEST_FIRST) + 1), _place(item))
    return sorted(items, key=lambda item: place[_file(item)])


def _file(item: pytest.Item) -> str:
    return item.nodeid.split("::", 1)[0]


def _place(item: pytest.Item) -> int:
    if _MEASURES.fullmatch(_file(item)):
        return 0
    marked = (
        number
        for number, mark in enumerate(_LONGEST_FIRST, start=1)
        if item.get_closest_marker(mark)
    )
    return next(marked, len(_LONGEST_FIRST) + 1)
