"""Why an answer did not come: what became of the server, as data."""

import time
from pathlib import Path

from llamatrix.engines.llama_cpp.running import Serving
from llamatrix.engines.llama_cpp.startup_failure import (
    DeadServerError,
    Death,
    diagnose,
    read_log,
)
from llamatrix.engines.outcome import Crashed, OutOfMemory, Stage, TimedOut
from llamatrix.measure.context.found import Failure, Unanswered
from llamatrix.measure.context.generation import Broken
from llamatrix.shell import TAIL_LINES

_LAST_WORDS_S = 3.0
"""How long a server may take to end after its connection broke."""
_LOOK_EVERY_S = 0.05
_UNKNOWN = 1
"""Stands for the exit code of a server that we ended."""


def fall_while_loading(
    error: DeadServerError, weights: Path, log: Path, after_s: float
) -> Failure:
    """As an outcome; the error again where it is about the harness, not the size."""
    tail = tail_of(read_log(log), log, weights)
    match error.death:
        case Death.MEMORY:
            tail = (*tail_of(error.sign, log, weights), *tail)
            return OutOfMemory(exit_code=_UNKNOWN, tail=tail, stage=Stage.LOADING)
        case Death.SLOW:
            return TimedOut(after_s=after_s, tail=tail)
        case Death.UNKNOWN:
            return Crashed(exit_code=_UNKNOWN, tail=tail)
        case Death.PORT_TAKEN | Death.WEIGHTS | Death.TEMPLATE:
            raise error


def fall(
    serving: Serving, broken: Broken, *, log_begin: int, after_s: float
) -> Failure:
    """What became of a server that was ready; `log_begin` is where its log stood then."""
    code = _ended(serving)
    said = read_log(serving.log)[log_begin:]
    tail = tail_of(said, serving.log, serving.launch.weights)
    if code is None:
        if broken.timed_out:
            return TimedOut(after_s=after_s, tail=(broken.said, *tail))
        return Unanswered(said=broken.said, tail=tail)
    death, sign = diagnose(said, code)
    if death is Death.MEMORY:
        shown = (*tail_of(sign, serving.log, serving.launch.weights), *tail)
        return OutOfMemory(exit_code=code, tail=shown, stage=broken.stage)
    return Crashed(exit_code=code, tail=tail)


def tail_of(said: str, *files: Path) -> tuple[str, ...]:
    """The last lines, without the folders of this machine."""
    for file in files:
        said = said.replace(f"{file.parent}/", "")
    return tuple(said.splitlines()[-TAIL_LINES:])


def _ended(serving: Serving) -> int | None:
    deadline = time.monotonic() + _LAST_WORDS_S
    while serving.poll() is None and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)
    return serving.poll()
