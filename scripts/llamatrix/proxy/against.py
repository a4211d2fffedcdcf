"""The tap against the server's own counters, where the server is there to be asked."""

from collections.abc import Callable, Sequence
from contextlib import suppress

from llamatrix.engines.protocol import Counters
from llamatrix.errors import ServeError
from llamatrix.proxy.call import Call
from llamatrix.proxy.totals import disagreements
from llamatrix.web import LateAnswerError, NoAnswerError


def read_counters(counters: Callable[[], Counters]) -> Counters | str | None:
    """Words where the server is gone; None where it is too busy to answer in time.

    A connection kept open may have been closed by a living server: one more try.
    """
    try:
        with suppress(NoAnswerError):
            return counters()
        return counters()
    except LateAnswerError:
        return None
    except (ServeError, NoAnswerError) as error:
        return str(error).partition("\n")[0]


def differing(
    calls: Sequence[Call], before: Counters | None, after: Counters | None
) -> tuple[str, ...]:
    """Where tap and server differ over a turn, in words."""
    if before is None or after is None:
        return ("the server was too busy to tell its own counters",)
    return disagreements(calls, after.since(before))
