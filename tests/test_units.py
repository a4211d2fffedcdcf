"""Quantities as people write and read them."""

import pytest

from llamatrix.units import (
    bytes_text,
    context_text,
    duration_text,
    parse_bytes,
    parse_duration_s,
)


@pytest.mark.parametrize(
    ("text", "count"),
    [("24GiB", 24 * 2**30), ("512 MiB", 2**29), ("24", 24 * 2**30), ("1.5kB", 1500)],
)
def test_size_with_unit_is_parsed(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize(
    "text", ["", "24 gigs", "GiB", "-1GiB", "nan", "1e400", "9" * 400, "2048TiB"]
)
def test_invalid_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="24GiB"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("20m", 1200), ("1.5h", 5400), ("45", 45)]
)
def test_duration_with_unit_is_parsed(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == seconds


def test_invalid_duration_is_refused_with_an_example() -> None:
    with pytest.raises(ValueError, match="20m"):
        parse_duration_s("a while")


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (512, "512"),
        (2048, "2K"),
        (32768, "32K"),
        (65336, "65K"),
        (130672, "130K"),
        (256000, "256K"),
    ],
)
def test_context_sizes_are_formatted_as_published(tokens: int, text: str) -> None:
    assert context_text(tokens) == text


def test_sizes_and_durations_are_formatted_for_people() -> None:
    assert bytes_text(17612029952) == "16.4 GiB"
    assert bytes_text(12) == "12 B"
    assert duration_text(0.84) == "0.8 s"
    assert duration_text(200) == "3 min 20 s"
    assert duration_text(7260) == "2 h 01 min"
