"""What is read of a trial's finished work: test order, code quality, tokens."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from llamatrix.errors import MeasureError
from llamatrix.measure.judging.quality import Quality, quality
from llamatrix.measure.judging.tdd import TddOrder, tdd_order
from llamatrix.measure.judging.transcript import read_transcript
from llamatrix.measure.redaction import without_folders
from llamatrix.measure.tap.breakdown import Breakdown, breakdown
from llamatrix.measure.tap.call import read_calls
from llamatrix.measure.tap.request import Kind
from llamatrix.web import NoAnswerError, WrongAnswerError

_Part = TypeVar("_Part")


@dataclass(frozen=True, kw_only=True, slots=True)
class Analysis:
    """Its parts are None where there is nothing to read them from."""

    tdd: TddOrder | None
    quality: Quality | None
    tokens: Breakdown | None
    unread: tuple[str, ...]
    """Which part could not be read, and why."""


def analyse(
    trajectory: Path | None,
    *,
    workspace: Path | None,
    calls: Path | None,
    count_tokens: Callable[[str], int],
) -> Analysis:
    """Read what there is; what cannot be read leaves the trial what it is."""
    unread: list[str] = []

    def part(name: str, read: Callable[[], _Part | None]) -> _Part | None:
        try:
            return read()
        except (MeasureError, msgspec.MsgspecError, RecursionError) as error:
            unread.append(f"{name}: {without_folders(str(error))}")
            return None

    return Analysis(
        tdd=part(
            "test order",
            lambda: tdd_order(read_transcript(trajectory)) if trajectory else None,
        ),
        quality=part("code quality", lambda: quality(workspace) if workspace else None),
        tokens=part("tokens", lambda: _tokens(calls, count_tokens) if calls else None),
        unread=tuple(unread),
    )


def _tokens(calls: Path, count_tokens: Callable[[str], int]) -> Breakdown | None:
    """Of the last call of the main agent; None where there was none to count."""
    recorded = read_calls(calls) if (calls / "calls.jsonl").exists() else ()
    for call in reversed(recorded):
        if call.kind is Kind.MAIN:
            body = (calls / f"{call.index:04}.request.json").read_bytes()
            with contextlib.suppress(NoAnswerError, WrongAnswerError):
                return breakdown(body, count_tokens)
            break
    return None
