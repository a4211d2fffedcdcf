"""In which order files are handed out where several workers share the tests."""

import pytest

_FIRST = ("network", "slow")
"""Marks: of real programs that are fetched, and of those that are compiled."""


def longest_first(items: list[pytest.Item]) -> list[pytest.Item]:
    """Whole files by the longest of their tests' marks; within a file as they stand."""
    place: dict[str, int] = {}
    for item in items:
        place[_file(item)] = min(place.get(_file(item), len(_FIRST)), _place(item))
    return sorted(items, key=lambda item: place[_file(item)])


def _file(item: pytest.Item) -> str:
    return item.nodeid.split("::", 1)[0]


def _place(item: pytest.Item) -> int:
    marked = (
        number for number, mark in enumerate(_FIRST) if item.get_closest_marker(mark)
    )
    return next(marked, len(_FIRST))
