"""OpenCode: its configuration, command line, requests and tools, by version."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from llamatrix.agents.opencode import events
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
)
from llamatrix.errors import MeasureError
from llamatrix.proxy import chat_completions
from llamatrix.proxy.call import CallKind
from llamatrix.proxy.tool_uses import ObservedUse
from llamatrix.proxy.wire_api import ModelRequest, WireApi
from llamatrix.sandbox.spec import HOME, TOOLS

_PROVIDER = "local"
_CONFIG = ".config/opencode"
_CATALOGUE = f"{_CONFIG}/models.json"
"""An empty catalogue of models: none of it is offered here, and reading OpenCode's own
takes a third of 1.18.33's start."""
_LONGEST_ANSWER_TOKENS = 32_000
"""OpenCode never asks for a longer answer, whatever its configuration says."""

_AUTO_REJECT_SIGN = "auto-rejecting"
"""On standard error where a permission was asked for and nobody could answer."""
_TITLE_SIGN = "title generator"
_COMPACTION_SIGNS = ("summariz", "context summar")
_MAIN_TOOL = "task"
"""Main agents have it; the subagents they start do not (1.3.2 and 1.18.33)."""
_PARENT_HEADER = "x-parent-session-id"
"""1.18.33 sends it with a subagent's calls; 1.3.2 sends no such header."""

_SUCCESS = {"write": "Wrote file successfully", "edit": "Edit applied successfully"}
"""How the result of a tool that changes files begins where it did."""
_FAILURES = (
    *("The arguments provided to the tool are invalid", "File not found: "),
    *("StatusCode: non 2xx", "Request failed with status code", "Error: "),
)
_REFUSED = "tool was called with invalid arguments"

_TODO_FIX = """\
// Gives todowrite the array that some models send as its JSON text, which 1.3.2 and
// 1.18.33 both refuse.
export const TodoFix = async () => ({
  "tool.execute.before": async (call, work) => {
    if (call.tool !== "todowrite" || typeof work.args?.todos !== "string") return
    try {
      const todos = JSON.parse(work.args.todos)
      if (Array.isArray(todos)) work.args.todos = todos
    } catch {
      // not JSON: leave it to the tool to say so
    }
  },
})
"""


_TOOLS = frozenset(
    (
        *("bash", "edit", "glob", "grep", "read", "skill", "task", "todowrite"),
        *("webfetch", "write"),
    )
)
"""Offered by the main agent under `run`, without any MCP server."""
_TIMEOUTS = ("timeout", "headerTimeout", "chunkTimeout")
"""Options of the provider that would cut a slow prefill; old versions know one."""
_FIRST_NEW = (1, 14)


def _is_new(version: str) -> bool:
    """1.3.2 and 1.18.33 are known; other versions are like their neighbour."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None:
        raise MeasureError(f"opencode: {version!r} is not a version")
    return (int(numbers[1]), int(numbers[2])) >= _FIRST_NEW


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenCode(Agent):
    name: ClassVar[str] = "OpenCode"
    wire_api: ClassVar[WireApi] = chat_completions
    process_name: ClassVar[str] = str(TOOLS / "opencode")
    acting_tools: ClassVar[frozenset[str]] = frozenset(
        ("bash", "task", "write", "edit", "multiedit", "patch", "apply_patch")
    )
    """`task` starts a subagent, which has them all."""
    discarded: ClassVar[tuple[str, ...]] = (
        *("home/.config", "home/.opencode"),
        *("work/.opencode", "work/opencode.json", "work/opencode.jsonc"),
    )
    title: str | None = "trial"
    """A fixed title; None lets OpenCode ask the model for one."""
    lsp: bool | None = False
    """None is that version's own default."""
    todo_fix: bool = False

    @property
    def first_prompt_tokens(self) -> int:
        """In a vocabulary of 200,000 words: none of today's models need fewer."""
        return 8_500 if _is_new(self.version) else 11_400

    def room_tokens(self, context_tokens: int) -> int:
        return context_tokens - min(self.output_tokens, _LONGEST_ANSWER_TOKENS)

    @property
    def lsp_on(self) -> bool:
        return not _is_new(self.version) if self.lsp is None else self.lsp

    @property
    def tools_expected(self) -> frozenset[str]:
        offered = (f"{mcp.name}_{tool}" for mcp in self.mcp for tool in mcp.tools)
        return _TOOLS.union(offered)

    @property
    def environment(self) -> Mapping[str, str]:
        own = {
            "OPENCODE_MODELS_PATH": str(HOME / _CATALOGUE),
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_SHARE": "1",
        }
        return own if self.lsp_on else {**own, "OPENCODE_DISABLE_LSP_DOWNLOAD": "1"}

    def files(self, endpoint: str) -> Mapping[str, bytes]:
        stub = {"@opencode-ai/plugin": self.version}  # keeps OpenCode from npm
        lock = {"lockfileVersion": 3, "packages": {"": {"dependencies": stub}}}
        texts = {
            f"{_CONFIG}/opencode.json": json.dumps(self._config(endpoint), indent=1),
            f"{_CONFIG}/package.json": json.dumps({"dependencies": stub}),
            f"{_CONFIG}/package-lock.json": json.dumps(lock),
            f"{_CONFIG}/node_modules/": "",
            _CATALOGUE: "{}",
            **self.instructions(_CONFIG),
        }
        if self.todo_fix:
            texts[f"{_CONFIG}/plugins/todo-fix.js"] = _TODO_FIX
        return {name: text.encode() for name, text in texts.items()}

    def _config(self, endpoint: str) -> dict[str, object]:
        """Return `opencode.json`: one provider, one model, no questions, no telemetry."""
        new = _is_new(self.version)
        options = dict.fromkeys(_TIMEOUTS if new else _TIMEOUTS[:1], False)
        config = {
            **_one_model(
                self.model,
                provider=_PROVIDER,
                url=endpoint,
                name=self.model,
                limit=(self.context_tokens, self.output_tokens),
                options=options,
            ),
            "enabled_providers": [_PROVIDER],
            "permission": dict.fromkeys(
                ("*", "external_directory", "doom_loop"), "allow"
            ),
            "share": "disabled",
            "autoupdate": False,
            "snapshot": False,
        }
        if not self.lsp_on:
            config["lsp"] = False
        elif new:
            config["lsp"] = True
        if self.mcp:
            config["mcp"] = {
                server.name: {
                    "type": "local",
                    "command": list(server.argv),
                    "environment": dict(server.environment),
                    "enabled": True,
                    "timeout": server.timeout_ms,
                }
                for server in self.mcp
            }
        return config

    def argv(self, session: str | None) -> tuple[str, ...]:
        words = [str(TOOLS / "opencode"), "run", "--format", "json", "--thinking"]
        words += ["--model", f"{_PROVIDER}/{self.model}"]
        if session is not None:
            words += ["--session", session]
        elif self.title is not None:
            words += ["--title", self.title]
        return tuple(words)

    def parse_events(self, lines: Iterable[str]) -> AgentEvents:
        return events.parse(lines)

    def asks_permission(self, line: str) -> bool:
        return _AUTO_REJECT_SIGN in line

    def classify_request(
        self, headers: Mapping[str, str], request: ModelRequest
    ) -> CallKind:
        if "opencode" not in headers.get("user-agent", "").lower():
            return CallKind.OTHER
        if headers.get(_PARENT_HEADER):
            return CallKind.SUBAGENT
        if request.tool_names:
            own = _MAIN_TOOL in request.tool_names
            return CallKind.MAIN if own else CallKind.SUBAGENT
        system = request.system_text.lower()
        if _TITLE_SIGN in system:
            return CallKind.TITLE
        if any(sign in system for sign in _COMPACTION_SIGNS):
            return CallKind.COMPACTION
        return CallKind.MAIN

    def read_tool_use(self, use: ObservedUse) -> ToolCall:
        """A result has no status in the conversation: OpenCode's own words tell."""
        invalid, result = use.named == events.INVALID_TOOL, use.result or ""
        if use.result is None or invalid or _REFUSED in result[:100]:
            completed = False
        elif use.tool in _SUCCESS:
            completed = result.startswith(_SUCCESS[use.tool])
        else:
            completed = use.tool == "bash" or not result.startswith(_FAILURES)
        arguments = use.arguments.encode()
        return ToolCall(
            tool=use.tool,
            action=None if invalid else events.read_action(use.tool, arguments),
            completed=completed,
            output=result,
            begun_s=use.begun_s,
            ended_s=use.ended_s,
        )

    def tool_call(self, action: Action) -> tuple[str, dict[str, object]]:
        match action:
            case Read(path=path):
                return "read", {"filePath": path}
            case Write(path=path, content=content):
                return "write", {"filePath": path, "content": content}
            case Edit(path=path, old=old, new=new):
                given = {"filePath": path, "oldString": old, "newString": new}
                return "edit", dict(given)
            case Run(command=command):
                return "bash", {"command": command, "description": "Run it"}
            case LookUp(tool=tool, arguments=arguments):
                return f"context7_{tool}", dict(arguments)


def opencode_config(*, url: str, key: str, name: str, context_tokens: int) -> str:
    """Return an `opencode.json`, known to work with OpenCode 1.3.2 and 1.18.33."""
    output_tokens = min(_LONGEST_ANSWER_TOKENS, context_tokens // 2)
    limit = (context_tokens, output_tokens)
    config = _one_model(key, provider="llamatrix", url=url, name=name, limit=limit)
    return json.dumps(config, indent=2, ensure_ascii=False)


def _one_model(
    key: str,
    *,
    provider: str,
    url: str,
    name: str,
    limit: tuple[int, int],
    options: Mapping[str, bool] | None = None,
) -> dict[str, object]:
    """Return the configuration of one model, by its key and at one provider.

    Sampling is left to the server's own flags: `temperature` false keeps OpenCode
    from sending its own. `limit` is context and answer, in tokens.
    """
    model = {
        "name": name,
        "tool_call": True,
        "reasoning": True,
        "temperature": False,
        "limit": dict(zip(("context", "output"), limit, strict=True)),
    }
    served = {
        "npm": "@ai-sdk/openai-compatible",
        "name": provider,
        "options": {"baseURL": f"{url}/v1", "apiKey": "none", **(options or {})},
        "models": {key: model},
    }
    return {
        "provider": {provider: served},
        "model": f"{provider}/{key}",
        "small_model": f"{provider}/{key}",
    }
