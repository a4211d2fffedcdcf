"""`invoke verdict`: what may be claimed of a file of paired samples."""

from pathlib import Path

from llamatrix.errors import ReportError
from llamatrix.stats.looks import parse_looks
from llamatrix.stats.statement import verdict_json, verdict_of_file, verdict_text


def state(file: str, *, margin: str, looks: str, as_json: bool) -> int:
    """Print the verdict; return its exit code."""
    found = verdict_of_file(
        Path(file),
        margin=parse_margin(margin),
        looks=parse_looks(looks) if looks else None,
    )
    print(verdict_json(found) if as_json else verdict_text(found).rstrip())
    return found.word.exit_code


def parse_margin(text: str) -> float | None:
    """Read `0.02`, or `2%`; None for an empty text, which takes the default."""
    if not text:
        return None
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = 0.0
    margin = number / 100 if text.endswith("%") else number
    if not 0 < margin < 1:
        raise ReportError(
            f"margin: {text!r}: write the loss that matters as a fraction between 0 "
            "and 1, for example 0.02 for 2 %"
        )
    return margin
