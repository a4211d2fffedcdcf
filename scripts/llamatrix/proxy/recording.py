"""A recorded agent session: the calls that can be sent to another server."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from llamatrix.errors import MeasureError
from llamatrix.proxy.call import Call, CallKind, read_calls

_REPLAYED = {CallKind.MAIN, CallKind.TITLE}


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
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def read_recording(folder: Path) -> Recording:
    """Read the main and title calls of a recording; MeasureError where it has none."""
    try:
        calls = sorted(read_calls(folder), key=lambda call: call.index)
        kept = tuple(
            _recorded(call, folder)
            for call in calls
            if call.kind in _REPLAYED and call.trouble is None
        )
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
