"""An agent's cell: one task, done by one model, driven by one version of an agent."""

import msgspec

from llamatrix.config.cell import EngineCell, digest_fields, sha256_of
from llamatrix.config.lock import LockedNpm, LockedTemplate
from llamatrix.config.matrix import AgentKind, AgentSetup, HttpEndpoint, Key, Server

AGENT_VERSION = 2
"""Bumped by hand when the way of running or judging trials changes."""

_OF_THE_SERVER = (
    *("ctx_size", "temp", "top_k", "top_p", "min_p"),
    *("chat_template_file", "chat_template_kwargs", "template", "todo_fix"),
)
"""What a model brings to its server and its agent; its name and table row do not."""
_LATER = ("seed", "temperatures", "tools", "system_prompt", "first_prompt")
"""Keys that came after the first records: at their defaults they change no digest."""


class AgentCell(EngineCell, frozen=True, kw_only=True):
    server_key: str
    server: Server
    agent_key: str
    agent: AgentSetup
    program: LockedNpm
    """The agent's."""
    context7: LockedNpm
    task: Key
    template: LockedTemplate | None
    """Of the corrected template it is served with; None for the one in the weights."""
    endpoint: HttpEndpoint | None = None
    """The server that answers as it runs; None starts a llama-server of the engine.

    What it reports takes the place of the engine's source, its key that of a pin.
    """

    @property
    def id(self) -> str:
        """`agent/qwen35-27b/april/cuda/april/httpx-post`: the second pin is OpenCode's.

        Of another agent it has the agent's name: `pi-current`.
        """
        engine = (self.weights_key, self.pin_key, self.build_key)
        return "/".join(("agent", *engine, self.agent_name, self.task))

    @property
    def served_name(self) -> str:
        """The model's name in the agent's requests."""
        return self.endpoint.model if self.endpoint else self.model_key

    @property
    def agent_name(self) -> str:
        kind, version = self.agent.kind, self.agent.version_key
        return version if kind is AgentKind.OPENCODE else f"{kind}-{version}"

    @property
    def scripted(self) -> bool:
        """Whether an authored transcript speaks in the model's place."""
        return bool(self.agent.scripts)

    def script_of(self, trial: int) -> str | None:
        """The name of the transcript that this trial plays, from 1; they take turns."""
        names = self.agent.scripts.get(self.task)
        return names[(trial - 1) % len(names)] if names else None

    def seed_of(self, trial: int) -> int | None:
        """The server's seed in this trial, from 1; None leaves it to chance."""
        first = self.agent.seed
        return None if first is None else first + trial - 1

    def temperature_of(self, trial: int) -> float:
        """The server's temperature in this trial, from 1."""
        temperatures = self.agent.temperatures or (self.model.temp,)
        return temperatures[(trial - 1) % len(temperatures)]

    def spec_digest(self, *, task_digest: str) -> str:
        """Over everything in matrix, lock and task that can change what comes out.

        How many trials there are, and which other tasks, is left out: more trials of
        the same kind belong to the same cell.
        """
        setup = msgspec.to_builtins(
            msgspec.structs.replace(self.agent, trials=1, tasks=(), scripts={})
        )
        for kind in AgentKind:  # as digests were when there was one agent
            if setup[kind] is None:
                del setup[kind]
        for field in msgspec.structs.fields(AgentSetup):
            if (
                field.name in _LATER
                and getattr(self.agent, field.name) == field.default
            ):
                del setup[field.name]
        served = {key: getattr(self.model, key) for key in _OF_THE_SERVER}
        return sha256_of(
            (
                AGENT_VERSION,
                *self.engine_identity,
                (served, digest_fields(self.server), self.template),
                (setup, self.agent.scripts.get(self.task)),
                (self.program, self.context7),
                (self.task, task_digest),
            )
        )

    def digest(self, *, task_digest: str, host_slug: str, compiler: str) -> str:
        """The spec on one class of host with one compiler: the key of a record."""
        spec = self.spec_digest(task_digest=task_digest)
        return sha256_of((spec, host_slug, compiler))
