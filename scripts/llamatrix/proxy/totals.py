"""The published metrics, summed over the calls of a turn or a trial."""

from collections.abc import Callable, Sequence
from contextlib import suppress

from msgspec import Struct

from llamatrix.engines.protocol import Counters
from llamatrix.errors import ServeError
from llamatrix.proxy.call import Call, CallKind, Timings, Trouble
from llamatrix.web import LateAnswerError, NoAnswerError

_TOLERANCE_TOKENS = 1.0
_TOLERANCE_S = 0.05


class Totals(Struct, frozen=True, kw_only=True):
    """Raw sums; rates are formed where they are shown."""

    api_calls: int
    """All calls of the agent, retries included."""
    title_calls: int
    compaction_calls: int
    subagent_calls: int
    other_calls: int
    """Calls of other programs, or outside the model API: blocked, and in no other sum."""
    failed_calls: int
    """Refused, failed or broken off by the server."""
    left_calls: int = 0
    """Broken off by the agent, which ended or was ended with the call open."""
    untimed_calls: int
    """Answered without llama-server's timings: their tokens are in no sum."""
    tool_calls: int
    prompt_tokens: int
    """Processed: the sum of `timings.prompt_n`, cache hits excluded."""
    cached_tokens: int
    generated_tokens: int
    prompt_s: float
    generation_s: float

    @property
    def api_calls_without_titles(self) -> int:
        return self.api_calls - self.title_calls

    @property
    def prefill_tps(self) -> float | None:
        """Processed prompt tokens per second; None without any."""
        return self.prompt_tokens / self.prompt_s if self.prompt_s > 0 else None

    @property
    def generation_tps(self) -> float | None:
        """Tokens per second as in the published tables, first tokens included.

        The first token of a call comes with its prompt, so this exceeds the generation
        speed by one token per call, at every pin alike.
        """
        spent_s = self.generation_s
        return self.generated_tokens / spent_s if spent_s > 0 else None


def totals(calls: Sequence[Call], *, by_usage: bool = False) -> Totals:
    """Sum the calls; with `by_usage` those without timings by usage and our clock."""
    own = [call for call in calls if call.kind is not CallKind.OTHER]
    every = [call.timings or (_by_usage(call) if by_usage else None) for call in own]
    timed = [timings for timings in every if timings]
    kinds = [call.kind for call in own]
    return Totals(
        api_calls=len(own),
        title_calls=kinds.count(CallKind.TITLE),
        compaction_calls=kinds.count(CallKind.COMPACTION),
        subagent_calls=kinds.count(CallKind.SUBAGENT),
        other_calls=len(calls) - len(own),
        failed_calls=sum(call.trouble not in {None, Trouble.LEFT} for call in own),
        left_calls=sum(call.trouble is Trouble.LEFT for call in own),
        untimed_calls=len(own) - len(timed),
        tool_calls=sum(len(call.tool_calls) for call in own),
        prompt_tokens=sum(timing.prompt_n for timing in timed),
        cached_tokens=sum(call.cached_tokens or 0 for call in own),
        generated_tokens=sum(timing.predicted_n for timing in timed),
        prompt_s=sum(timing.prompt_ms for timing in timed) / 1000,
        generation_s=sum(timing.predicted_ms for timing in timed) / 1000,
    )


def _by_usage(call: Call) -> Timings | None:
    """A call's prompt lasts until its first token, HTTP and the queue included."""
    counted = call.prompt_tokens and call.generated_tokens
    if not counted or call.first_token_s is None:
        return None
    return Timings(
        prompt_n=(call.prompt_tokens or 0) - (call.cached_tokens or 0),
        prompt_ms=1000 * (call.first_token_s - call.begun_s),
        predicted_n=call.generated_tokens or 0,
        predicted_ms=1000 * (call.ended_s - call.first_token_s),
    )


def disagreements(calls: Sequence[Call], served: Counters) -> tuple[str, ...]:
    """Describe where the tap's sums and the server's own counters differ.

    `served` is the difference of two readings around the same calls. Calls that failed
    or broke off are in the counters and have no timings.
    """
    ours = totals(calls)
    pairs = (
        ("prompt tokens", ours.prompt_tokens, served.prompt_tokens, _TOLERANCE_TOKENS),
        (
            *("generated tokens", ours.generated_tokens, served.generated_tokens),
            _TOLERANCE_TOKENS,
        ),
        ("prompt seconds", ours.prompt_s, served.prompt_s, _TOLERANCE_S),
        ("generation seconds", ours.generation_s, served.generation_s, _TOLERANCE_S),
    )
    gone = sum(call.trouble in {Trouble.LEFT, Trouble.CUT} for call in calls)
    why = f" ({ours.untimed_calls} calls without timings, {gone} broken off)"
    return tuple(
        f"{name}: {tap:g} by the tap, {server:g} by /metrics"
        f"{why if ours.untimed_calls else ''}"
        for name, tap, server, tolerance in pairs
        if abs(tap - server) > tolerance
    )


def read_counters(counters: Callable[[], Counters]) -> Counters | str | None:
    """Read the server's counters: an error text without it, None where it is too busy.

    The server may have closed a kept connection: one retry.
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
    """Describe where tap and server differ over a turn."""
    if before is None or after is None:
        return ("the server was too busy to report its own counters",)
    return disagreements(calls, after.since(before))
