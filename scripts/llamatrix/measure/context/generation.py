"""One filled prompt and the tokens generated after it, timed by the server."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from llamatrix.engines.outcome import Stage
from llamatrix.web import LateAnswerError, NoAnswerError, Site, WrongAnswerError

SMALLEST_TOKENS = 512
"""The context that all larger ones are compared with."""
GENERATED_TOKENS = 128
"""Generated at each step, the last of its tokens."""
_MAX_STEP_RATIO = 0.9
"""A step that fills more of the largest context than this would repeat its result."""
_SHOWN_CHARACTERS = 300
_SEED = 1


def context_steps(largest_tokens: int) -> tuple[int, ...]:
    """Return the sizes to fill: 512, 768, 1024, 1536 … and the largest itself.

    With a cached prompt, the step between two powers of two costs only its generation.
    """
    steps = []
    size = SMALLEST_TOKENS
    while size <= _MAX_STEP_RATIO * largest_tokens:
        steps += [size, size * 3 // 2]
        size *= 2
    below = [step for step in steps if step <= _MAX_STEP_RATIO * largest_tokens]
    return (*below, largest_tokens)


class CompletionTimings(msgspec.Struct, frozen=True, kw_only=True):
    """`timings` of a completion, named and counted as in llama-server."""

    prompt_n: int
    """Processed for this answer, without tokens from the cache."""
    prompt_ms: float
    predicted_n: int
    """At least 2: a single token has no generation speed."""
    predicted_ms: float
    """From the first token to the last."""
    cache_n: int = 0

    @property
    def prefill_tps(self) -> float | None:
        return 1000 * self.prompt_n / self.prompt_ms if self.prompt_ms > 0 else None

    @property
    def generation_tps(self) -> float:
        """After the first token, which the prompt yields: its time is not counted."""
        return 1000 * (self.predicted_n - 1) / self.predicted_ms


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedRequest:
    """The answer did not arrive, or did not end."""

    stage: Stage
    """Generation from the first token on."""
    reason: str
    timed_out: bool = False


class _Event(msgspec.Struct, frozen=True):
    stop: bool = False
    timings: CompletionTimings | None = None
    error: object = None


def generate(
    site: Site, prompt: Sequence[int], *, end_tokens: Sequence[int], timeout_s: float
) -> CompletionTimings | FailedRequest:
    """Send the prompt, of which the cache may hold a prefix, and time the answer.

    The timeout covers the complete answer: keep-alive comments do not extend it.

    `end_tokens` are forbidden, since they would end the generation: the server of b8643
    ignores `ignore_eos` (ggml-org/llama.cpp#21203).
    """
    request = {
        "prompt": prompt,
        "n_predict": GENERATED_TOKENS,
        "cache_prompt": True,
        "ignore_eos": True,
        "logit_bias": [[token, False] for token in end_tokens],
        "seed": _SEED,
        "stream": True,
    }
    stage = Stage.PREFILL
    deadline = time.monotonic() + timeout_s
    try:
        for line in site.stream(
            "/completion", request, timeout_s=timeout_s, closing=True
        ):
            if time.monotonic() > deadline:
                reason = f"no complete answer within {timeout_s:.0f} s"
                return FailedRequest(stage=stage, reason=reason, timed_out=True)
            match _parse_line(line):
                case CompletionTimings() as timings:
                    return timings
                case str() as error:
                    return FailedRequest(stage=stage, reason=error)
                case bool() as is_token:
                    stage = Stage.GENERATION if is_token else stage
    except LateAnswerError as error:
        return FailedRequest(stage=stage, reason=str(error), timed_out=True)
    except (NoAnswerError, WrongAnswerError) as error:
        return FailedRequest(stage=stage, reason=str(error))
    return FailedRequest(stage=stage, reason="the answer ended without its timings")


def _parse_line(line: str) -> CompletionTimings | str | bool:
    """Return the timings at the end, an error's text, or whether this is a token."""
    # older servers name the event `error`, newer ones send an object with that key
    if line.startswith("error"):
        return line[:_SHOWN_CHARACTERS]
    # newer servers send a comment after 30 s without a token, as a keep-alive
    if not line.strip() or line.startswith(":"):
        return False
    try:
        event = msgspec.json.decode(line.removeprefix("data: "), type=_Event)
    except msgspec.MsgspecError as error:
        return f"unreadable answer: {error}: {line[:_SHOWN_CHARACTERS]}"
    if event.error is not None:
        return line[:_SHOWN_CHARACTERS]
    timings = event.timings
    if event.stop and timings and timings.predicted_n > 1 and timings.predicted_ms > 0:
        return timings
    return True
