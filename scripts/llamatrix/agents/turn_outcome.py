"""The outcomes of one turn of a trial. They are data; none is raised."""

from enum import StrEnum

from msgspec import Struct


class WhyNotRun(StrEnum):
    NO_SANDBOX = "no sandbox"
    NO_PROGRAM = "no program"
    """The agent or git is not available for this machine."""
    NO_KEY = "no key"
    SERVICE = "service"
    """The service no longer has what the task needs."""
    TEMPLATE = "template"
    """The chat template fails a case that agents cannot work without."""


class NotRun(Struct, frozen=True, kw_only=True, tag="not-run"):
    why: WhyNotRun
    reason: str
    remedy: str


class Answered(Struct, frozen=True, kw_only=True, tag="answered"):
    """The agent ended by itself after a last answer of the model: ready to be judged."""


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
    """The model filled the sandbox until the agent itself could not go on."""

    error: str


class EndpointDown(Struct, frozen=True, kw_only=True, tag="endpoint-down"):
    """Nothing listened at the model's address."""

    error: str


class EndpointFailed(Struct, frozen=True, kw_only=True, tag="endpoint-failed"):
    """It answered with errors, repeatedly."""

    status: int | None
    error: str


class EndpointDied(Struct, frozen=True, kw_only=True, tag="endpoint-died"):
    """Its answers broke off, repeatedly."""

    error: str


class EndpointStalled(Struct, frozen=True, kw_only=True, tag="endpoint-stalled"):
    """A call was open, and nothing arrived for too long."""

    silent_s: float


class AfterTools(Struct, frozen=True, kw_only=True):
    """Something that ends a turn from inside the sandbox."""

    after_tools: bool = False
    """Whether the model had run commands or changed files before, in this turn or an
    earlier one. These can reach the agent, though not the harness: then the model
    caused it."""


class AgentHung(AfterTools, frozen=True, kw_only=True, tag="agent-hung"):
    """The agent printed nothing and called nothing for too long."""

    silent_s: float
    error: str = ""
    """The first error on standard error."""


class AgentKilled(AfterTools, frozen=True, kw_only=True, tag="agent-killed"):
    signal: int
    error: str = ""


class AgentFailed(AfterTools, frozen=True, kw_only=True, tag="agent-failed"):
    """The agent ended with an error, or without a last answer."""

    exit_code: int
    errors: tuple[str, ...]
    finish: str = ""
    """The reason of the last step: `unknown` where a stream closed without one."""
    tail: tuple[str, ...]


class AskedPermission(AfterTools, frozen=True, kw_only=True, tag="asked-permission"):
    """The agent asked a question that nobody can answer: its configuration is wrong."""

    tail: tuple[str, ...]
    """The lines of standard error that ask; more lines in older records."""


class ToolsMissing(AfterTools, frozen=True, kw_only=True, tag="tools-missing"):
    """The first request lacked tools: an MCP server did not start."""

    tools: tuple[str, ...]


class CompactedForEver(Struct, frozen=True, kw_only=True, tag="compacted-for-ever"):
    """Every prompt, even right after a compaction, was too long.

    A mistake of the configuration: ctx_size less output_tokens is smaller than what the
    agent sends.
    """

    compactions: int
    needed_tokens: int
    """Of the smallest prompt and answer right after a compaction."""
    room_tokens: int


class SandboxLost(Struct, frozen=True, kw_only=True, tag="sandbox-lost"):
    reason: str


class JudgingFailed(Struct, frozen=True, kw_only=True, tag="judging-failed"):
    """The task's own check.py failed."""

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
    """Return whether the turn may be scored: not where the infrastructure failed."""
    if isinstance(outcome, AfterTools):
        return outcome.after_tools
    return isinstance(outcome, _THE_MODELS)
