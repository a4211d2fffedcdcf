"""The agent's own home: OpenCode's configuration, plugins, rules and skills."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from llamatrix.agents.opencode import todo_fix
from llamatrix.agents.opencode.program import (
    CATALOGUE,
    CONFIG,
    MODEL_URL,
    PROVIDER,
    quirks_of,
    room_for_prompts,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class McpServer:
    """A local server of tools, started by OpenCode inside the sandbox."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    tools: tuple[str, ...]
    """Their own names; OpenCode offers them as `<server>_<tool>`."""
    timeout_ms: int = 60_000

    @property
    def offered(self) -> tuple[str, ...]:
        return tuple(f"{self.name}_{tool}" for tool in self.tools)


@dataclass(frozen=True, kw_only=True, slots=True)
class Agent:
    """How OpenCode is set up for a trial."""

    version: str
    model: str
    """The id asked for; parts of it choose OpenCode's prompt (facts: `gpt-oss` …)."""
    context_tokens: int
    output_tokens: int
    sampling: Mapping[str, float] = field(default_factory=dict)
    """Sent with every request: temperature, top_p, top_k, min_p, seed; what is not
    here is left to the server's own flags."""
    title: str | None = "trial"
    """A fixed title; None lets OpenCode ask the model for one."""
    lsp: bool | None = False
    """None is that version's own default."""
    todo_fix: bool = False
    mcp: tuple[McpServer, ...] = ()
    rules: str = ""
    """AGENTS.md of the home."""
    skills: Mapping[str, str] = field(default_factory=dict)
    """SKILL.md by name."""

    @property
    def room_tokens(self) -> int:
        """What OpenCode leaves for a prompt before it compacts."""
        return room_for_prompts(self.context_tokens, self.output_tokens)

    @property
    def lsp_on(self) -> bool:
        return quirks_of(self.version).lsp_default if self.lsp is None else self.lsp

    @property
    def tools_expected(self) -> frozenset[str]:
        """What the first request must offer the model."""
        own = quirks_of(self.version).tools
        return frozenset(own).union(*(server.offered for server in self.mcp))


def home_files(agent: Agent) -> dict[str, bytes]:
    """Every file of a fresh home, by path; a name that ends in `/` is a folder."""
    stub = {"@opencode-ai/plugin": agent.version}  # keeps OpenCode from npm
    lock = {"lockfileVersion": 3, "packages": {"": {"dependencies": stub}}}
    texts = {
        f"{CONFIG}/opencode.json": json.dumps(config(agent), indent=1),
        f"{CONFIG}/package.json": json.dumps({"dependencies": stub}),
        f"{CONFIG}/package-lock.json": json.dumps(lock),
        f"{CONFIG}/node_modules/": "",
        CATALOGUE: "{}",
    }
    if agent.todo_fix:
        texts[f"{CONFIG}/plugins/{todo_fix.FILE_NAME}"] = todo_fix.SOURCE
    if agent.rules:
        texts[f"{CONFIG}/AGENTS.md"] = agent.rules
    for name, text in agent.skills.items():
        texts[f"{CONFIG}/skills/{name}/SKILL.md"] = text
    return {name: text.encode() for name, text in texts.items()}


def config(agent: Agent) -> dict[str, object]:
    """`opencode.json`: one provider, one model, nothing that asks or phones home."""
    sampled = dict(agent.sampling)
    by_agent = {
        key: sampled.pop(key) for key in ("temperature", "top_p") if key in sampled
    }
    model = {
        "name": agent.model,
        "tool_call": True,
        "reasoning": True,
        "temperature": bool(by_agent),
        "limit": {"context": agent.context_tokens, "output": agent.output_tokens},
        "options": sampled,
    }
    quirks = quirks_of(agent.version)
    options = {
        "baseURL": f"{{env:{MODEL_URL}}}",
        "apiKey": "none",
        **quirks.provider_options,
    }
    found: dict[str, object] = {
        "provider": {
            PROVIDER: {
                "npm": "@ai-sdk/openai-compatible",
                "name": PROVIDER,
                "options": options,
                "models": {agent.model: model},
            }
        },
        "model": f"{PROVIDER}/{agent.model}",
        "small_model": f"{PROVIDER}/{agent.model}",
        "enabled_providers": [PROVIDER],
        "permission": {
            "*": "allow",
            "external_directory": "allow",
            "doom_loop": "allow",
        },
        "share": "disabled",
        "autoupdate": False,
        "snapshot": False,
    }
    if by_agent:
        found["agent"] = {"build": by_agent}
    if not agent.lsp_on:
        found["lsp"] = False
    elif quirks.lsp_key:
        found["lsp"] = True
    if agent.mcp:
        found["mcp"] = {server.name: _mcp(server) for server in agent.mcp}
    return found


def _mcp(server: McpServer) -> dict[str, object]:
    return {
        "type": "local",
        "command": list(server.argv),
        "environment": dict(server.environment),
        "enabled": True,
        "timeout": server.timeout_ms,
    }
