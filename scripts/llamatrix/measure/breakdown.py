"""Replays a recorded session with one part of the serving switched off after another.

Every way sends the same prompts and asks for as many tokens; what a way takes less than
the one before is what the part that it leaves out costs.
"""

import time
from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec
from msgspec import Raw, Struct

from llamatrix.engines.protocol import Endpoint
from llamatrix.errors import MeasureError
from llamatrix.measure.replay import ScriptCall
from llamatrix.proxy.call import Timings
from llamatrix.proxy.recording import RecordedCall
from llamatrix.web import WrongAnswerError

CHAT_PATH = "/v1/chat/completions"
_GREEDY = {"samplers": ["top_k"], "top_k": 1}


class Way(StrEnum):
    """How the calls of a session are sent, from the agent's own way to the barest."""

    CHAT = "chat"
    """As the agent did: messages, streamed, with the model's sampling."""
    WHOLE = "whole"
    """… in one piece."""
    TOKENS = "tokens"
    """… with the prompt as tokens: no template, no tokenising, no parsed answer."""
    GREEDY = "greedy"
    """… with the likeliest token in place of the samplers."""
    UNCACHED = "uncached"
    """… with nothing kept of earlier prompts."""


class SentCall(Struct, frozen=True, kw_only=True):
    """One call of one way."""

    index: int
    wall_s: float
    """From the request to the complete answer, by our clock."""
    timings: Timings


class _Answer(Struct):
    timings: Timings | None = None
    error: Raw | None = None


def replay_as(
    way: Way,
    recorded: Mapping[int, RecordedCall],
    serving: Endpoint,
    *,
    calls: Sequence[ScriptCall],
    end_tokens: tuple[int, ...],
    timeout_s: float,
) -> tuple[SentCall, ...]:
    """Send all calls in order; MeasureError where an answer is not as long as asked.

    Nothing of an earlier replay is used: the first call begins with an empty cache.
    """
    sent = []
    for place, call in enumerate(calls):
        request: dict[str, object] = {
            "cache_prompt": place > 0 and way is not Way.UNCACHED,
            "ignore_eos": True,
            "logit_bias": [(token, False) for token in end_tokens],
            "seed": call.index,
        }
        if way in {Way.CHAT, Way.WHOLE}:
            own = msgspec.json.decode(recorded[call.index].request, type=dict[str, Raw])
            for word in ("max_completion_tokens", "stream", "stream_options"):
                own.pop(word, None)
            request = own | request | {"max_tokens": call.n_predict}
        else:
            request |= {"prompt": call.tokens, "n_predict": call.n_predict}
        if way in {Way.GREEDY, Way.UNCACHED}:
            request |= _GREEDY
        sent.append(_sent(way, call, request, serving, timeout_s))
    return tuple(sent)


def _sent(
    way: Way,
    call: ScriptCall,
    request: dict[str, object],
    serving: Endpoint,
    timeout_s: float,
) -> SentCall:
    begin = time.perf_counter()
    if way is Way.CHAT:
        lines = serving.site.stream(
            CHAT_PATH, request | {"stream": True}, timeout_s=timeout_s, closing=True
        )
        words = [line.removeprefix("data: ") for line in lines if "data: {" in line]
    else:
        path = CHAT_PATH if way is Way.WHOLE else "/completion"
        words = [serving.site.post(path, request, timeout_s=timeout_s).text]
    wall_s = time.perf_counter() - begin
    try:
        answers = [msgspec.json.decode(word, type=_Answer) for word in words[-2:]]
    except msgspec.MsgspecError as error:
        raise WrongAnswerError(f"{way}: {error}: {words[-1][:300]}") from error
    timings = next((answer.timings for answer in answers if answer.timings), None)
    generated = timings.predicted_n if timings else 0
    if timings is None or generated != call.n_predict:
        raise MeasureError(
            f"call {call.index} of the recording, sent as {way}: {generated} tokens "
            f"generated of {call.n_predict}: {words[-1][:300] if words else 'no answer'}"
        )
    return SentCall(index=call.index, wall_s=wall_s, timings=timings)
