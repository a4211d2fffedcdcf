"""An authored transcript: what the scripted model answers, call by call."""

import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import msgspec
from msgspec import Struct

from llamatrix.errors import MeasureError


class Fault(StrEnum):
    """How a call goes wrong before the step is played."""

    HTTP_500 = "http-500"
    HTTP_400 = "http-400"
    CUT = "cut"
    """The answer breaks off after its first words."""
    STALL = "stall"
    """The answer stops after its first words, and the line stays open."""


class ToolCall(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    tool: str
    arguments: Mapping[str, object] = {}
    raw_arguments: str | None = None
    """Sent as they stand: for calls that are wrong on purpose."""

    @property
    def text(self) -> str:
        if self.raw_arguments is not None:
            return self.raw_arguments
        return json.dumps(self.arguments, ensure_ascii=False)


class Step(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One answer of the model."""

    reasoning: str = ""
    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    faults: tuple[Fault, ...] = ()
    """One for each attempt at this step, in order; then it is played."""
    always: Fault | None = None
    """A fault for every attempt."""

    @property
    def length_tokens(self) -> int:
        """About how long it is: four characters to a token, at least one."""
        spoken = self.reasoning + self.text
        characters = len(spoken) + sum(len(call.text) for call in self.tool_calls)
        return max(1, characters // 4)


class Transcript(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    steps: tuple[Step, ...]
    """In order over all turns of a trial: the history tells which one is due."""


def load_transcript(path: Path) -> Transcript:
    """Read a transcript from JSON."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Transcript)
    except OSError as error:
        raise MeasureError(f"{path.name}: cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise MeasureError(f"{path.name}: not a transcript: {error}") from error
