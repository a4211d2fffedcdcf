"""Pi: its configuration, command line, events, requests and tools (1.6.0)."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from msgspec import Struct

from llamatrix.agents.context7 import TOOL_NAMES
from llamatrix.agents.protocol import (
    Action,
    Agent,
    AgentEvents,
    Edit,
    LookUp,
    Read,
    Run,
    ToolCall,
    Write,
    action_of,
    look_up,
)
from llamatrix.config.lock import NPM_TREES
from llamatrix.config.matrix import TOOLS_OF_PI
from llamatrix.proxy import chat_completions
from llamatrix.proxy.call import CallKind
from llamatrix.proxy.tool_uses import ObservedUse
from llamatrix.proxy.wire_api import ModelRequest, WireApi, decode
from llamatrix.sandbox.spec import HOME, TOOLS

FOLDER = Path("/opt/llamatrix/pi")
"""Where the installed package is mounted inside: the folder with `node_modules`."""
_PROGRAM = FOLDER / "node_modules" / NPM_TREES["pi"] / "dist" / "bundle" / "cli.js"
_PROVIDER = "local"
_CONFIG = ".pi/agent"
_SESSIONS = HOME / "sessions"
"""Apart from the configuration, which does not reach the next turn."""
_CALL_TIMEOUT_MS = 24 * 3_600_000
"""Never the first to end a call: a slow prefill takes what it takes."""

_SAFETY_TOKENS = 4096
"""Pi asks for answers so short that this many tokens of its window stay free. In a small
context they then have one token; llama-server itself refuses what is too long."""
_COMPACTION_SIGN = "context summarization assistant"
_MCP = "mcp__{server}__{tool}"
_KEPT_EVENTS = ('{"type":"session"', '{"type":"message_end"', '{"type":"tool_exec')
_DROPPED_EVENT = '{"type":"tool_execution_update"'

_SUCCESS = {"write": "Successfully wrote", "edit": "Successfully replaced"}
"""How the result of a tool that changes files begins where it did."""
_FAILURES = (
    *("Invalid arguments for tool ", "Validation failed for tool ", "Error "),
    *("ENOENT: ", "EACCES: ", "EISDIR: ", "Offset ", "Operation aborted"),
)
_UNKNOWN_TOOL = re.compile(r"Tool \S* not found")
_EXIT_CODE = re.compile(r"\n\nCommand exited with code (\d+)$")
_NOT_ENDED = re.compile(r"\n\nCommand (timed out after \S+ seconds|aborted)$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pi(Agent):
    name: ClassVar[str] = "Pi"
    wire_api: ClassVar[WireApi] = chat_completions
    process_name: ClassVar[str] = "pi"
    """What it makes of its own command line once it runs."""
    acting_tools: ClassVar[frozenset[str]] = frozenset(("bash", "edit", "write"))
    discarded: ClassVar[tuple[str, ...]] = ("home/.pi", "home/.agents", "work/.pi")
    tools: tuple[str, ...] = ()
    """Which of its own are offered, without those for MCP resources; empty offers all."""
    system_prompt: str = ""
    """In place of its own; empty keeps it."""

    @property
    def first_prompt_tokens(self) -> int:
        if not self.tools:
            return 2_800
        return 1_200 if self.mcp else 200

    @property
    def tools_expected(self) -> frozenset[str]:
        offered = (
            _mcp_name(server.name, tool) for server in self.mcp for tool in server.tools
        )
        return frozenset(self.tools or TOOLS_OF_PI).union(offered)

    @property
    def environment(self) -> Mapping[str, str]:
        return {"PI_OFFLINE": "1"}

    def files(self, endpoint: str) -> Mapping[str, bytes]:
        model = {
            "id": self.model,
            "reasoning": False,  # true sends a role and a field of OpenAI's own
            "contextWindow": self.context_tokens + _SAFETY_TOKENS,
            "maxTokens": self.output_tokens,
        }
        provider = {
            "baseUrl": f"{endpoint}/v1",
            "api": "openai-completions",
            "apiKey": "none",
            "compat": {"maxTokensField": "max_tokens"},
            "models": [model],
        }
        settings = {
            "compaction": {"enabled": False},  # `-p` leaves while one is under way
            "retry": {
                "enabled": False,
                "provider": {"maxRetries": 0, "timeoutMs": _CALL_TIMEOUT_MS},
            },
            "enableInstallTelemetry": False,
            "defaultProjectTrust": "never",
        }
        servers = {
            server.name: {
                "command": server.argv[0],
                "args": list(server.argv[1:]),
                "env": dict(server.environment),
                "timeout": server.timeout_ms // 1000,
                "exposure": "direct",  # else the model gets one tool that runs scripts
            }
            for server in self.mcp
        }
        texts = {
            f"{_CONFIG}/models.json": json.dumps({"providers": {_PROVIDER: provider}}),
            f"{_CONFIG}/settings.json": json.dumps(settings),
            f"{_CONFIG}/mcp.json": json.dumps({"mcpServers": servers}),
            **self.instructions(_CONFIG),
        }
        return {name: text.encode() for name, text in texts.items()}

    def argv(self, session: str | None) -> tuple[str, ...]:
        words = [str(TOOLS / "node"), str(_PROGRAM), "-p", "--mode", "json"]
        words += ["--provider", _PROVIDER, "--model", self.model]
        words += ["--session-dir", str(_SESSIONS), "--no-approve"]
        if self.tools:  # an MCP tool that is not named would not be offered either
            words += ["--tools", ",".join(sorted(self.tools_expected))]
        if self.system_prompt:
            words += ["--system-prompt", self.system_prompt]
        if session is not None:
            words += ["--session", session]
        return tuple(words)

    def keeps_event(self, line: str) -> bool:
        """Other lines repeat the conversation, again and again or piece by piece."""
        return not line.startswith('{"type":') or (
            line.startswith(_KEPT_EVENTS) and not line.startswith(_DROPPED_EVENT)
        )

    def parse_events(self, lines: Iterable[str]) -> AgentEvents:
        """Pi ends with 0 after every failure of a model: `stopReason` tells of one."""
        events = [event for line in lines if (event := decode(line, _Event))]
        answers = [
            event.message
            for event in events
            if event.type == "message_end" and event.message.role == "assistant"
        ]
        return AgentEvents(
            session_id=next((e.id for e in events if e.type == "session"), None),
            errors=tuple(a.errorMessage for a in answers if a.errorMessage),
            finish=answers[-1].stopReason if answers else "",
        )

    def classify_request(
        self, headers: Mapping[str, str], request: ModelRequest
    ) -> CallKind:
        if not headers.get("user-agent", "").startswith("pi/"):
            return CallKind.OTHER
        if not request.tool_names and _COMPACTION_SIGN in request.system_text:
            return CallKind.COMPACTION
        return CallKind.MAIN

    def read_tool_use(self, use: ObservedUse) -> ToolCall:
        """A result has no status in the conversation: Pi's own words tell."""
        result, ended = use.result or "", _EXIT_CODE.search(use.result or "")
        if use.tool in _SUCCESS:
            completed = result.startswith(_SUCCESS[use.tool])
        else:
            completed = use.result is not None and not (
                result.startswith(_FAILURES)
                or _UNKNOWN_TOOL.fullmatch(result)
                or (use.tool == "bash" and _NOT_ENDED.search(result))
            )
        exit_code = int(ended[1]) if ended else 0
        return ToolCall(
            tool=use.tool,
            action=_read_action(use.tool, use.arguments),
            completed=completed,
            output=result,
            exit_code=exit_code if use.tool == "bash" and completed else None,
            begun_s=use.begun_s,
            ended_s=use.ended_s,
        )

    def tool_call(self, action: Action) -> tuple[str, dict[str, object]]:
        match action:
            case Read(path=path):
                return "read", {"path": path}
            case Write(path=path, content=content):
                return "write", {"path": path, "content": content}
            case Edit(path=path):
                edits = [{"oldText": old, "newText": new} for old, new in action.pairs]
                return "edit", {"path": path, "edits": edits}
            case Run(command=command):
                return "bash", {"command": command}
            case LookUp(tool=tool, arguments=arguments):
                return _mcp_name("context7", tool), dict(arguments)


class _Message(Struct, frozen=True):
    role: str = ""
    stopReason: str = ""  # noqa: N815  Pi's own spelling
    errorMessage: str = ""  # noqa: N815  Pi's own spelling


class _Event(Struct, frozen=True):
    type: str
    id: str | None = None
    message: _Message = _Message()


class _Replacement(Struct, frozen=True):
    oldText: str  # noqa: N815  Pi's own spelling
    newText: str  # noqa: N815  Pi's own spelling


class _EditArguments(Struct, frozen=True):
    path: str
    edits: tuple[_Replacement, ...]


def _mcp_name(server: str, tool: str) -> str:
    return _MCP.format(server=server, tool=tool.replace("-", "_"))


_ACTIONS = {"read": "read", "write": "write", "bash": "run"}
"""Tools whose arguments are those of an action of ours, by its tag."""


def _read_action(tool: str, arguments: str) -> Action | None:
    if tool == "edit" and (edit := decode(arguments, _EditArguments)) and edit.edits:
        (old, new), *more = ((one.oldText, one.newText) for one in edit.edits)
        return Edit(path=edit.path, old=old, new=new, more=tuple(more))
    if tool in _ACTIONS:
        return action_of(_ACTIONS[tool], decode(arguments, dict[str, object]) or {})
    looked_up = {_mcp_name("context7", name): name for name in TOOL_NAMES}.get(tool)
    if looked_up:
        return look_up(looked_up, decode(arguments, dict[str, object]) or {})
    return None
