"""Quantities and documents as people write and read them: bytes, durations, JSON."""

import re

import msgspec

_BYTES = {
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
_MOST_BYTES = 2**50
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_MINUTE_S = 60
_YEAR_S = 8766 * 3600


def parse_bytes(text: str) -> int:
    """Read `24GiB`, `512 MiB` or `24` (GiB); ValueError names the accepted forms."""
    match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)\s*([A-Za-z]*)", text.strip())
    unit = (match[2] or "GiB") if match else ""
    if not match or unit not in _BYTES:
        raise ValueError(f"{text!r} is no size; write for example 24GiB or 512MiB")
    count = round(float(match[1]) * _BYTES[unit])
    if count > _MOST_BYTES:
        raise ValueError(
            f"{text!r} is more than any machine has; write for example 24GiB"
        )
    return count


def parse_card_bytes(text: str) -> int:
    """Read the memory of a card, as `parse_bytes`; ValueError below 1 MiB."""
    count = parse_bytes(text)
    if count < _BYTES["MiB"]:
        raise ValueError(f"{text!r}: no card is so small; write for example 24GiB")
    return count


def parse_duration_s(text: str) -> float:
    """Read `90s`, `20m`, `1.5h` or `45` (seconds), up to a year."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if not match:
        raise ValueError(f"{text!r} is no duration; write for example 90s, 20m or 2h")
    seconds = float(match[1]) * _SECONDS[match[2] or "s"]
    if seconds > _YEAR_S:
        raise ValueError(f"{text!r}: write a duration of at most 8766h")
    return seconds


def bytes_text(count: int) -> str:
    """Write a size with a binary unit and three significant digits: `16.4 GiB`."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if count >= _BYTES[unit]:
            return f"{count / _BYTES[unit]:.3g} {unit}"
    return f"{count} B"


def duration_text(seconds: float) -> str:
    """Write a duration as a person would say it: `0.8 s`, `45 s`, `3 min 20 s`."""
    if seconds < 10:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    if seconds < _MINUTE_S:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), _MINUTE_S)
    if minutes < _MINUTE_S:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, _MINUTE_S)
    return f"{hours} h {minutes:02d} min"


def context_text(tokens: int) -> str:
    """Write a context size as the published tables do: 512, 2K, 32K, 65K, 130K.

    Powers of two count in units of 1024; all others (65336, 130672, 256000) are
    cut to thousands, as in "65K", "130K" and "256K".
    """
    if tokens < _BYTES["kB"]:
        return str(tokens)
    power_of_two = tokens & (tokens - 1) == 0
    return f"{tokens // _BYTES['KiB' if power_of_two else 'kB']}K"


def json_text(value: object) -> str:
    """Return the indented JSON of a value, without a newline at its end."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
