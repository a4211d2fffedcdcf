"""The order of test files when several workers share the tests."""

import pytest

_FIRST = ("network", "slow")
"""Markers of tests that download real programs, and of tests that compile them."""


def longest_first(items: list[pytest.Item]) -> list[pytest.Item]:
    """Sort whole files by the slowest marker of their tests; keep the order within."""
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
