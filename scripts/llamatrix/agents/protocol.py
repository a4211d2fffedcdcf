"""The contract of a coding agent: what a trial needs to know of the program it runs.

Each agent has one folder beside this module; nothing outside it knows the agent's
events, prompts, tool names or configuration. Installing an agent is `install.py` there.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import msgspec
from msgspec import Struct

from llamatrix.proxy.call import CallKind
from llamatrix.proxy.tool_uses import ObservedUse
from llamatrix.proxy.wire_api import ModelRequest, WireApi


class Read(Struct, frozen=True, kw_only=True, tag="read", tag_field="do"):
    path: str


class Write(Struct, frozen=True, kw_only=True, tag="write", tag_field="do"):
    path: str
    content: str


class Edit(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag="edit", tag_field="do"
):
    path: str
    old: str
    new: str
    more: tuple[tuple[str, str], ...] = ()
    """Old and new texts of further replacements in the same call."""

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        return ((self.old, self.new), *self.more)


class Run(Struct, frozen=True, kw_only=True, tag="run", tag_field="do"):
    """A shell command."""

    command: str


class LookUp(Struct, frozen=True, kw_only=True, tag="look-up", tag_field="do"):
    """A call of the documentation server."""

    tool: str
    """As the server names it, without an agent's prefix."""
    arguments: dict[str, str]


Action = Read | Write | Edit | Run | LookUp
"""What a tool call does, in no agent's words: an agent translates to and from it."""


def action_of(kind: str, arguments: Mapping[str, object]) -> Action | None:
    """Return the action with this tag; None where the arguments are not its own."""
    try:
        action: Action = msgspec.convert({**arguments, "do": kind}, type=Action)
    except msgspec.ValidationError:
        return None
    return action


def look_up(tool: str, arguments: Mapping[str, object]) -> LookUp:
    """Return the look-up with these arguments; older tools also take numbers."""
    texts = {name: str(value) for name, value in arguments.items()}
    return LookUp(tool=tool, arguments=texts)


class ToolCall(Struct, frozen=True, kw_only=True):
    """A tool call of the model and its result: one line of a trajectory."""

    tool: str
    """As the model named it."""
    action: Action | None
    """None for other tools, and for arguments that cannot be read."""
    completed: bool
    """Whether the tool did its work; a command that failed has completed."""
    output: str
    exit_code: int | None = None
    """Of a command, where the agent reports it."""
    begun_s: float = 0
    ended_s: float | None = None

    @property
    def command(self) -> str:
        """The shell command; empty for other actions."""
        return self.action.command if isinstance(self.action, Run) else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class McpServer:
    """A local MCP server that the agent starts inside the sandbox."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    tools: tuple[str, ...]
    """Their own names; each agent adds its prefix."""
    timeout_ms: int = 60_000


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentEvents:
    """What the agent's standard output says of a turn.

    The programs that the agent starts can write to it: nothing is counted from it.
    """

    session_id: str | None = None
    errors: tuple[str, ...] = ()
    finish: str = ""
    """The reason of the last step, for an explanation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InstalledAgent:
    programs: Mapping[str, Path]
    """By the names that they have in a sandbox."""
    shown: Mapping[Path, Path] = field(default_factory=dict)
    """Further folders to read: path inside → path on this machine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Agent(ABC):
    """An agent of one version, configured for a trial."""

    name: ClassVar[str]
    """For messages, such as `OpenCode`."""
    wire_api: ClassVar[WireApi]
    process_name: ClassVar[str]
    """One of the first two words of its command line, once it calls a model."""
    acting_tools: ClassVar[frozenset[str]]
    """The tools that run commands or change files."""
    discarded: ClassVar[tuple[str, ...]]
    """Paths of the sandbox from which the agent loads code or configuration.

    They begin with `home/` or `work/` and do not reach the next turn: a plugin left
    there would run inside the agent program.
    """
    version: str
    model: str
    """The id asked for."""
    context_tokens: int
    output_tokens: int
    mcp: tuple[McpServer, ...] = ()
    rules: str = ""
    """AGENTS.md of its configuration."""
    skills: Mapping[str, str] = field(default_factory=dict)
    """SKILL.md by name."""

    @property
    @abstractmethod
    def first_prompt_tokens(self) -> int:
        """At least what the first request with Context7 takes, in any vocabulary."""

    def room_tokens(self, context_tokens: int) -> int:
        """Return the longest prompt in a context before the agent compacts it."""
        return context_tokens - self.output_tokens

    @property
    @abstractmethod
    def tools_expected(self) -> frozenset[str]:
        """What the first request must offer the model."""

    @property
    @abstractmethod
    def environment(self) -> Mapping[str, str]: ...

    @abstractmethod
    def files(self, endpoint: str) -> Mapping[str, bytes]:
        """Return the files of a fresh home; a name that ends in `/` is a folder.

        `endpoint` is the model's address without a path.
        """

    def instructions(self, folder: str) -> dict[str, str]:
        """Return rules and skills as files of a configuration folder."""
        texts = {f"{folder}/AGENTS.md": self.rules} if self.rules else {}
        skills = self.skills.items()
        return texts | {
            f"{folder}/skills/{name}/SKILL.md": text for name, text in skills
        }

    @abstractmethod
    def argv(self, session: str | None) -> tuple[str, ...]:
        """Return the command of one turn; the prompt is its standard input.

        `session` is the one to resume; None begins one.
        """

    def keeps_event(self, line: str) -> bool:  # noqa: ARG002
        """Return whether a line of standard output is recorded."""
        return True

    @abstractmethod
    def parse_events(self, lines: Iterable[str]) -> AgentEvents: ...

    def asks_permission(self, line: str) -> bool:  # noqa: ARG002
        """Return whether a line of standard error asks what nobody can answer."""
        return False

    @abstractmethod
    def classify_request(
        self, headers: Mapping[str, str], request: ModelRequest
    ) -> CallKind:
        """Return what a call is made for; `headers` have lower-case names."""

    @abstractmethod
    def read_tool_use(self, use: ObservedUse) -> ToolCall: ...

    @abstractmethod
    def tool_call(self, action: Action) -> tuple[str, dict[str, object]]:
        """Return the tool and the arguments with which a model does an action."""
