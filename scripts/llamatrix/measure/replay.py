"""Replays a recorded session: sends its calls to a server, one after the other.

Prompts are the recorded ones and answers have the recorded lengths, whatever the model
would answer now: the same work for every server that replays it.
"""

import hashlib
import time
from enum import StrEnum

import msgspec
from msgspec import Raw, Struct

from llamatrix.engines.protocol import Endpoint
from llamatrix.errors import MeasureError
from llamatrix.proxy.call import CallKind, Timings
from llamatrix.proxy.recording import RecordedCall, Recording
from llamatrix.shell import TAIL_LINES, read_log
from llamatrix.web import NoAnswerError, WrongAnswerError

_PREPARE_TIMEOUT_S = 600.0


class ScriptCall(Struct, frozen=True, kw_only=True):
    """One call as any server accepts it."""

    index: int
    kind: CallKind
    tokens: tuple[int, ...]
    n_predict: int


class Script(Struct, frozen=True, kw_only=True):
    """A session in one model's tokens: the same for every server that replays it."""

    calls: tuple[ScriptCall, ...]
    end_tokens: tuple[int, ...]
    """Tokens that would end an answer early, and are never chosen."""

    @property
    def sha256(self) -> str:
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


def script_of(recording: Recording, serving: Endpoint) -> Script:
    """Return every prompt as tokens, by this server's template and vocabulary.

    The tokens are those of its chat endpoint: with the beginning-of-text token where
    the vocabulary has one, and special tokens parsed as such.
    """
    return Script(
        calls=tuple(_script_call(call, serving) for call in recording.calls),
        end_tokens=serving.end_tokens(),
    )


class _Prompt(Struct):
    prompt: str


def _script_call(call: RecordedCall, serving: Endpoint) -> ScriptCall:
    site = serving.site
    try:
        applied = site.post(
            "/apply-template", Raw(call.request), timeout_s=_PREPARE_TIMEOUT_S
        ).read(_Prompt)
        tokens = serving.tokenize(
            applied.prompt, add_special=True, timeout_s=_PREPARE_TIMEOUT_S
        )
    except (NoAnswerError, WrongAnswerError) as error:
        raise MeasureError(
            f"call {call.index} of the recording has no prompt: {error}\n"
            f"log: {serving.log}"
        ) from error
    room = serving.context_tokens
    if len(tokens) + call.generated_tokens > room:
        raise MeasureError(
            f"call {call.index} of the recording has {len(tokens)} prompt tokens for "
            f"{serving.launch.alias} and {call.generated_tokens} generated, but its "
            f"context holds {room}; raise its ctx_size in matrix.toml"
        )
    return ScriptCall(
        index=call.index,
        kind=call.kind,
        tokens=tokens,
        n_predict=call.generated_tokens,
    )


class CallSample(Struct, frozen=True, kw_only=True):
    """One call of a replay."""

    index: int
    kind: CallKind
    prompt_tokens: int
    """The whole prompt, cached or not."""
    timings: Timings
    wall_s: float
    """From the request to the complete answer, by our clock."""
    text_sha256: str
    """Of the answer, to compare the answers of two servers."""


class Replayed(Struct, frozen=True, kw_only=True, tag="replayed"):
    """A complete session."""

    calls: tuple[CallSample, ...]

    @property
    def prompt_tps(self) -> float | None:
        """Prompt tokens processed per second, without those from the cache."""
        tokens = sum(call.timings.prompt_n for call in self.calls)
        return _rate(tokens, self._prompt_ms)

    @property
    def decode_tps(self) -> float | None:
        """Tokens generated per second after the first of each call.

        `predicted_ms` starts at the first token, which the prompt yields. Whether the
        server's own `predicted_per_second` counts that token depends on its version.
        """
        tokens = sum(max(0, call.timings.predicted_n - 1) for call in self.calls)
        return _rate(tokens, sum(call.timings.predicted_ms for call in self.calls))

    @property
    def prompt_s(self) -> float | None:
        """Mean time per call until the prompt is processed, the cache included.

        By the server's clock, without its queue and the parsing of the request.
        """
        return self._prompt_ms / 1000 / len(self.calls) or None

    @property
    def _prompt_ms(self) -> float:
        return sum(call.timings.prompt_ms for call in self.calls)


class ReplayFailureKind(StrEnum):
    """Why a replay failed."""

    NOT_SERVED = "not-served"
    """The server never became ready, or was not the requested one."""
    DIED = "died"
    REFUSED = "refused"
    """The answer was not a completion."""
    TIMED_OUT = "timed-out"
    SHORT = "short"
    """Fewer tokens than requested, although no token could end the answer."""


class ReplayFailed(Struct, frozen=True, kw_only=True, tag="replay-failed"):
    """A session that ended early."""

    way: ReplayFailureKind
    call: int
    """Index of the failed call; 0 before the first."""
    said: str
    tail: tuple[str, ...] = ()
    """The last lines of the server's log."""


def replay(
    script: Script, serving: Endpoint, *, timeout_s: float
) -> Replayed | ReplayFailed:
    """Send all calls in order; `timeout_s` applies to each."""
    samples: list[CallSample] = []
    for call in script.calls:
        sample = _send(call, script.end_tokens, serving, timeout_s)
        if isinstance(sample, ReplayFailed):
            return sample
        samples.append(sample)
    return Replayed(calls=tuple(samples))


class _Completion(Struct):
    content: str
    timings: Timings


def _send(
    call: ScriptCall,
    end_tokens: tuple[int, ...],
    serving: Endpoint,
    timeout_s: float,
) -> CallSample | ReplayFailed:
    request = {
        "prompt": call.tokens,
        "n_predict": call.n_predict,
        "cache_prompt": True,
        "temperature": 0,
        # b8643 ignores `ignore_eos` (llama.cpp#21203); a bias works everywhere
        "ignore_eos": True,
        "logit_bias": [(token, False) for token in end_tokens],
    }
    begin = time.perf_counter()
    try:
        reply = serving.site.post("/completion", request, timeout_s=timeout_s)
        answer = reply.read(_Completion)
    except NoAnswerError as error:
        late = time.perf_counter() - begin >= timeout_s
        way = (
            ReplayFailureKind.TIMED_OUT
            if late and serving.is_alive
            else ReplayFailureKind.DIED
        )
        return _failed(way, call, str(error), serving)
    except WrongAnswerError as error:
        return _failed(ReplayFailureKind.REFUSED, call, str(error), serving)
    wall_s = time.perf_counter() - begin
    if answer.timings.predicted_n != call.n_predict:
        message = f"{answer.timings.predicted_n} tokens generated of {call.n_predict}"
        return _failed(ReplayFailureKind.SHORT, call, message, serving)
    return CallSample(
        index=call.index,
        kind=call.kind,
        prompt_tokens=len(call.tokens),
        timings=answer.timings,
        wall_s=wall_s,
        text_sha256=hashlib.sha256(answer.content.encode()).hexdigest(),
    )


def _failed(
    way: ReplayFailureKind, call: ScriptCall, message: str, serving: Endpoint
) -> ReplayFailed:
    tail = tuple(read_log(serving.log).splitlines()[-TAIL_LINES:])
    return ReplayFailed(way=way, call=call.index, said=message, tail=tail)


def _rate(tokens: int, milliseconds: float) -> float | None:
    return 1000 * tokens / milliseconds if tokens and milliseconds else None
