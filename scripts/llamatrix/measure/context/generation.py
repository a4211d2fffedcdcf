"""One filled prompt and what is generated after it, timed by the server itself."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from llamatrix.engines.outcome import Stage
from llamatrix.web import LateAnswerError, NoAnswerError, Site, WrongAnswerError

SMALLEST_TOKENS = 512
"""The small context that all others are held against."""
GENERATED_TOKENS = 128
"""Generated at each step, the last of its tokens."""
_ENDLESS = 2**40
_NEAR = 0.9
"""A step that fills more of the largest than this would say what that one says."""


def context_steps(largest_tokens: int) -> tuple[int, ...]:
    """512, 768, 1024, 1536 … and the largest itself.

    Between powers of two lies one more: with a cached prompt it costs its generation.
    """
    below = [one for one in _steps() if one <= _NEAR * largest_tokens]
    return (*below, largest_tokens)


def _steps() -> Iterator[int]:
    size = SMALLEST_TOKENS
    while size < _ENDLESS:
        yield size
        yield size * 3 // 2
        size *= 2


_DATA = "data: "
_COMMENT = ":"
"""Sent by newer servers after half a minute without a token, so that nobody hangs up."""
_ERROR = "error"
"""Older servers name the event so, newer ones send an object of that key."""
_SEED = 1


class CompletionTimings(msgspec.Struct, frozen=True, kw_only=True):
    """`timings` of an answer, as llama-server names and counts them."""

    prompt_n: int
    """Processed for this answer; what the cache had is not in it."""
    prompt_ms: float
    predicted_n: int
    """2 or more: an answer of a single token has no generation speed."""
    predicted_ms: float
    """From the first token to the last."""
    cache_n: int = 0

    @property
    def prefill_tps(self) -> float | None:
        return 1000 * self.prompt_n / self.prompt_ms if self.prompt_ms > 0 else None

    @property
    def generation_tps(self) -> float:
        """After the first token, which comes with the prompt: its time is not in it."""
        return 1000 * (self.predicted_n - 1) / self.predicted_ms


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedRequest:
    """The answer did not come, or did not end."""

    stage: Stage
    """Generation from the first token on."""
    said: str
    timed_out: bool = False


class _Piece(msgspec.Struct, frozen=True):
    stop: bool = False
    timings: CompletionTimings | None = None
    error: object = None


def generate(
    site: Site, prompt: Sequence[int], *, ends: Sequence[int], timeout_s: float
) -> CompletionTimings | FailedRequest:
    """Fill the context with the prompt, of which the cache may have a beginning.

    The time is for all of it: a server's signs of life are no answer.

    `ends` are the tokens that would end a generation: they are forbidden, since
    `ignore_eos` does nothing in the server of b8643 (ggml-org/llama.cpp#21203).
    """
    request = {
        "prompt": prompt,
        "n_predict": GENERATED_TOKENS,
        "cache_prompt": True,
        "ignore_eos": True,
        "logit_bias": [[token, False] for token in ends],
        "seed": _SEED,
        "stream": True,
    }
    stage = Stage.PREFILL
    until = time.monotonic() + timeout_s
    try:
        for line in site.stream("/completion", request, timeout_s=timeout_s):
            if time.monotonic() > until:
                said = f"no whole answer within {timeout_s:.0f} s"
                return FailedRequest(stage=stage, said=said, timed_out=True)
            match _read(line):
                case CompletionTimings() as timings:
                    return timings
                case str() as error:
                    return FailedRequest(stage=stage, said=error)
                case bool() as token_came:
                    stage = Stage.GENERATION if token_came else stage
    except LateAnswerError as error:
        return FailedRequest(stage=stage, said=str(error), timed_out=True)
    except (NoAnswerError, WrongAnswerError) as error:
        return FailedRequest(stage=stage, said=str(error))
    return FailedRequest(stage=stage, said="the answer ended without its timings")


def _read(line: str) -> CompletionTimings | str | bool:
    """Timings at the end, words where it went wrong, else whether a token came."""
    if line.startswith(_ERROR):
        return line[:300]
    if not line.strip() or line.startswith(_COMMENT):
        return False
    try:
        piece = msgspec.json.decode(line.removeprefix(_DATA), type=_Piece)
    except msgspec.MsgspecError as error:
        return f"unreadable answer: {error}: {line[:300]}"
    if piece.error is not None:
        return line[:300]
    timings = piece.timings
    if piece.stop and timings and timings.predicted_n > 1 and timings.predicted_ms > 0:
        return timings
    return True
