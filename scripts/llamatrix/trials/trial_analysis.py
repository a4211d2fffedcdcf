"""Analyses a trial's finished work: test order, code quality, tokens by origin."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from llamatrix.errors import MeasureError
from llamatrix.provision.compiler import find_tool
from llamatrix.proxy.call import CallKind, read_calls
from llamatrix.proxy.wire_api import Breakdown, WireApi
from llamatrix.redaction import without_folders
from llamatrix.sandbox.sandboxed_parser import (
    ParserFailedError,
    ParserLimits,
    parse_sandboxed,
)
from llamatrix.trials.checks import finished_work
from llamatrix.trials.checks.quality import Quality
from llamatrix.trials.checks.tdd import TddOrder
from llamatrix.web import NoAnswerError, WrongAnswerError

_Part = TypeVar("_Part")
_LIMITS = ParserLimits(memory_bytes=2 << 30, seconds=60, output_bytes=16 << 20)
_UNREADABLE = (MeasureError, ParserFailedError, msgspec.MsgspecError, RecursionError)
_MSGSPEC = Path(msgspec.__file__).parent


@dataclass(frozen=True, kw_only=True, slots=True)
class Analysis:
    """A part is None where there is nothing to read it from."""

    tdd: TddOrder | None
    quality: Quality | None
    tokens: Breakdown | None
    unread: tuple[str, ...]
    """The parts that could not be read, and why."""


def analyse(
    trajectory: Path | None,
    *,
    workspace: Path | None,
    calls: Path | None,
    wire_api: WireApi,
    count_tokens: Callable[[str], int] | None,
    bwrap: Path | None,
) -> Analysis:
    """Analyse what there is; a part that fails does not change the trial's outcome.

    What the agent wrote is parsed in a sandbox.
    """
    unread: list[str] = []

    def part(name: str, read: Callable[[], _Part | None]) -> _Part | None:
        try:
            return read()
        except _UNREADABLE as error:
            unread.append(f"{name}: {without_folders(str(error))}")
            return None

    tdd = quality = tokens = None
    if trajectory:
        tdd = part(
            "test order",
            lambda: _parse(trajectory, finished_work.TEST_ORDER, TddOrder, bwrap),
        )
    if workspace:
        quality = part("code quality", lambda: _quality(workspace, bwrap))
    if calls and count_tokens:
        tokens = part("tokens", lambda: _tokens(calls, wire_api, count_tokens))
    return Analysis(tdd=tdd, quality=quality, tokens=tokens, unread=tuple(unread))


def _quality(workspace: Path, bwrap: Path | None) -> Quality:
    ruff = find_tool("ruff")
    if ruff is None:
        raise MeasureError("ruff: not found; `pip install ruff`")
    return _parse(workspace, finished_work.QUALITY, Quality, bwrap, ruff)


def _parse(
    data: Path, what: str, kind: type[_Part], bwrap: Path | None, *programs: Path
) -> _Part:
    return parse_sandboxed(
        Path(finished_work.__file__),
        data,
        *(what, *map(str, programs)),
        type_=kind,
        bwrap=bwrap,
        limits=_LIMITS,
        libraries=(_MSGSPEC, *programs),
    )


def _tokens(
    calls: Path, wire_api: WireApi, count_tokens: Callable[[str], int]
) -> Breakdown | None:
    """Count the last request of the main agent, which carries the whole conversation.

    None where there was none, and where the server could not count.
    """
    recorded = read_calls(calls) if (calls / "calls.jsonl").exists() else ()
    for call in reversed(recorded):
        if call.kind is CallKind.MAIN:
            body = (calls / f"{call.index:04}.request.json").read_bytes()
            with contextlib.suppress(NoAnswerError, WrongAnswerError):
                return wire_api.breakdown(body, count_tokens)
            break
    return None
