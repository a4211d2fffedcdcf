"""A recorded agent session as tokens: the same work for every server that replays it.

Prompts are the recorded ones and answers have the recorded lengths, whatever the model
would answer now.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec import Raw, Struct

from llamatrix.engines.llama_cpp.server import Serving, tokenize
from llamatrix.errors import MeasureError
from llamatrix.proxy.call import Call, CallKind, read_calls
from llamatrix.web import NoAnswerError, WrongAnswerError

_REPLAYED = {CallKind.MAIN, CallKind.TITLE}
_PREPARE_TIMEOUT_S = 600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedCall:
    index: int
    kind: CallKind
    request: bytes
    """The chat completion request as the tap stored it."""
    generated_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    calls: tuple[RecordedCall, ...]
    """In the order in which they began."""
    left_out: int
    """Calls of other kinds, and calls that failed when they were recorded."""

    @property
    def digest(self) -> str:
        """Over everything that is replayed."""
        parts = [
            (call.kind, hashlib.sha256(call.request).hexdigest(), call.generated_tokens)
            for call in self.calls
        ]
        return _sha256(parts)


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
        return _sha256(self)


def read_recording(folder: Path) -> Recording:
    """Read the main and title calls of a recording; MeasureError where it has none."""
    try:
        calls = sorted(read_calls(folder), key=lambda call: call.index)
        kept = tuple(_recorded(call, folder) for call in calls if _is_replayed(call))
    except FileNotFoundError as error:
        raise MeasureError(
            f"--replay {folder}: no {Path(error.filename).name} there; name the folder "
            "of a recorded turn with calls.jsonl and its requests"
        ) from error
    except (OSError, msgspec.MsgspecError) as error:
        raise MeasureError(f"--replay {folder}: cannot be read: {error}") from error
    if not kept:
        raise MeasureError(
            f"--replay {folder}: none of its {len(calls)} calls is an agent's that "
            "ended well; record the session again"
        )
    return Recording(calls=kept, left_out=len(calls) - len(kept))


def script_of(recording: Recording, serving: Serving) -> Script:
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


def _is_replayed(call: Call) -> bool:
    return call.kind in _REPLAYED and call.trouble is None


def _recorded(call: Call, folder: Path) -> RecordedCall:
    generated = call.generated_tokens
    if generated is None and call.timings:
        generated = call.timings.predicted_n
    if not generated:
        raise MeasureError(
            f"--replay {folder}: call {call.index} has no number of generated tokens; "
            "record it from a server that reports it (llama-server: `usage`)"
        )
    return RecordedCall(
        index=call.index,
        kind=call.kind,
        request=(folder / f"{call.index:04}.request.json").read_bytes(),
        generated_tokens=generated,
    )


def _script_call(call: RecordedCall, serving: Serving) -> ScriptCall:
    site = serving.site
    try:
        applied = site.post(
            "/apply-template", Raw(call.request), timeout_s=_PREPARE_TIMEOUT_S
        ).read(_Prompt)
        tokens = tokenize(
            site, applied.prompt, add_special=True, timeout_s=_PREPARE_TIMEOUT_S
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


def _sha256(content: object) -> str:
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()
