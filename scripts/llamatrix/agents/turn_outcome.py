"""What can come of one turn of a trial. Everything here is data; nothing is raised."""

from enum import StrEnum

from msgspec import Struct


class WhyNotRun(StrEnum):
    NO_SANDBOX = "no sandbox"
    NO_PROGRAM = "no program"
    """OpenCode or git is not to be had for this machine."""
    NO_KEY = "no key"
    SERVICE = "service"
    """The service no longer has what the task asks for."""
    TEMPLATE = "template"
    """The chat template fails a case that agents cannot work without."""


class NotRun(Struct, frozen=True, kw_only=True, tag="not-run"):
    why: WhyNotRun
    reason: str
    remedy: str


class Answered(Struct, frozen=True, kw_only=True, tag="answered"):
    """OpenCode ended by itself after a last word of the model: ready to be judged."""


class CutShort(Struct, frozen=True, kw_only=True, tag="cut-short"):
    """The model's last answer ran into its token limit."""


class ContextFull(Struct, frozen=True, kw_only=True, tag="context-full"):
    """The conversation no longer fits into the model's context."""

    error: str


class TimedOut(Struct, frozen=True, kw_only=True, tag="turn-timed-out"):
    after_s: float


class RanAway(Struct, frozen=True, kw_only=True, tag="ran-away"):
    """Too many processes inside the sandbox."""

    processes: int


class DiskFull(Struct, frozen=True, kw_only=True, tag="disk-full"):
    """The agent filled the sandbox until OpenCode itself could not go on."""

    error: str


class EndpointDown(Struct, frozen=True, kw_only=True, tag="endpoint-down"):
    """Nothing listened where the model should be."""

    error: str


class EndpointFailed(Struct, frozen=True, kw_only=True, tag="endpoint-failed"):
    """It answered with errors, again and again."""

    status: int | None
    error: str


class EndpointDied(Struct, frozen=True, kw_only=True, tag="endpoint-died"):
    """Its answers broke off, again and again."""

    error: str


class EndpointStalled(Struct, frozen=True, kw_only=True, tag="endpoint-stalled"):
    """A call was open, and for too long nothing came."""

    silent_s: float


class AfterTools(Struct, frozen=True, kw_only=True):
    """Something that ends a turn from inside the sandbox."""

    after_tools: bool = False
    """Whether the model had run commands or changed files before, in this turn or an
    earlier one. The harness is out of their reach and OpenCode is not: then it counts
    as what the model did."""


class AgentHung(AfterTools, frozen=True, kw_only=True, tag="agent-hung"):
    """OpenCode said nothing and asked for nothing for too long."""

    silent_s: float
    error: str = ""
    """What standard error tells, in one line."""


class AgentKilled(AfterTools, frozen=True, kw_only=True, tag="agent-killed"):
    signal: int
    error: str = ""


class AgentFailed(AfterTools, frozen=True, kw_only=True, tag="agent-failed"):
    """OpenCode ended with an error, or without a last word."""

    exit_code: int
    errors: tuple[str, ...]
    finish: str = ""
    """The reason of the last step: `unknown` where a stream closed without a word."""
    tail: tuple[str, ...]


class AskedPermission(AfterTools, frozen=True, kw_only=True, tag="asked-permission"):
    """OpenCode asked where nobody can answer: its set-up is wrong."""

    tail: tuple[str, ...]


class ToolsMissing(AfterTools, frozen=True, kw_only=True, tag="tools-missing"):
    """The first request did not offer what it should: an MCP server did not start."""

    tools: tuple[str, ...]


class CompactedForEver(Struct, frozen=True, kw_only=True, tag="compacted-for-ever"):
    """Every prompt, right after a compaction too, was over the room for prompts.

    The set-up's fault: ctx_size less output_tokens is smaller than what OpenCode sends.
    """

    compactions: int
    needed_tokens: int
    """Of the smallest prompt and answer right after a compaction."""
    room_tokens: int


class SandboxLost(Struct, frozen=True, kw_only=True, tag="sandbox-lost"):
    reason: str


class JudgingFailed(Struct, frozen=True, kw_only=True, tag="judging-failed"):
    """The task's own check.py did not do its work."""

    error: str


TurnOutcome = (
    Answered
    | CutShort
    | ContextFull
    | TimedOut
    | RanAway
    | DiskFull
    | EndpointDown
    | EndpointFailed
    | EndpointDied
    | EndpointStalled
    | AgentHung
    | AgentKilled
    | AgentFailed
    | AskedPermission
    | ToolsMissing
    | CompactedForEver
    | SandboxLost
    | JudgingFailed
    | NotRun
)

_THE_MODELS = (Answered, CutShort, ContextFull, TimedOut, RanAway, DiskFull)


def is_the_models(outcome: TurnOutcome) -> bool:
    """Whether the turn may be scored; what the infrastructure did never is."""
    if isinstance(outcome, AfterTools):
        return outcome.after_tools
    return isinstance(outcome, _THE_MODELS)
