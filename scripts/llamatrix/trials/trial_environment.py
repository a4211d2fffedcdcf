"""The services and programs of a trial, hermetic or online, for agent and checks."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from llamatrix.agents.context7 import FOLDER as CONTEXT7_FOLDER
from llamatrix.config.matrix import Network
from llamatrix.sandbox.spec import TOOLS, SandboxSpec, base_environment, python_inside
from llamatrix.trials.checks.execution_environment import (
    BYTECODE,
    INSIDE,
    INSIDE_SANDBOX,
    ExecutionEnvironment,
)
from llamatrix.trials.checks.task import Task
from llamatrix.trials.stubs.serving import (
    HOSTS,
    SWITCH_KEY,
    Services,
    prepare,
    serve_stubs,
    serve_stubs_for_checks,
    trusting,
)
from llamatrix.trials.stubs.wheel_index import indexed

_LOOPBACK = "127.0.0.1"
_HTTPS_PORT = 443
_CONTEXT7_PORT = 8101
_INDEX_PORT = 8102
_SWITCH_PORT = 8103
_AUTHORITY = Path("/opt/llamatrix/authority.pem")
_CONTEXT7_KEY = "CONTEXT7_API_KEY"
_CHECKED_TOOLS = {"uv"}
"""The tools that judged programs have too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tools:
    """Programs and packages of a trial, on this machine."""

    bwrap: Path
    programs: Mapping[str, Path]
    """The agent's own, `node` and `uv`, by the names they have inside."""
    shown: Mapping[Path, Path] = field(default_factory=dict)
    """The agent's further folders: path inside → path on this machine."""
    context7: Path
    """The folder with its `node_modules`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialEnvironment:
    sandbox: SandboxSpec
    """Of the agent."""
    secrets: tuple[str, ...] = field(repr=False)
    """The keys in it."""
    execution: ExecutionEnvironment
    """Of the programs that are judged."""
    context7_url: str | None
    """The stub's address inside the sandbox; None for the real service."""
    pages_served: Callable[[], int] | None
    """Counts the pages that the stub served so far; None for the real service."""


@contextmanager
def hermetic_environment(
    task: Task, tools: Tools, folder: Path, services: Services
) -> Iterator[TrialEnvironment]:
    """Serve stubs of the services under their real names while the block runs.

    `folder` is the trial's own and private: it receives TLS files, keys and request logs.
    """
    stubs = prepare(folder, models=task.all_models)
    environment = {
        **trusting(_AUTHORITY),
        **indexed(_INDEX_PORT),
        **_key_of(task, stubs.key),
    }
    with ExitStack() as stack:
        port = stack.enter_context(serve_stubs(stubs))
        sandbox = SandboxSpec(
            bwrap=tools.bwrap,
            tools=tools.programs,
            shown={
                **tools.shown,
                CONTEXT7_FOLDER: tools.context7,
                _AUTHORITY: stubs.tls_files.authority,
            },
            environment=environment,
            hosts=dict.fromkeys(HOSTS, _LOOPBACK),
            forwards={
                _HTTPS_PORT: port,
                _CONTEXT7_PORT: services.context7,
                _INDEX_PORT: services.packages,
            },
        )

        def execution_in(aside: Path) -> ExecutionEnvironment:
            aside.mkdir(exist_ok=True)
            judges = stubs.for_judging(aside)
            port, switch = stack.enter_context(serve_stubs_for_checks(judges))
            forwards = {**sandbox.forwards, _HTTPS_PORT: port, _SWITCH_PORT: switch}
            judged = replace(
                sandbox,
                shown={**sandbox.shown, BYTECODE: services.bytecode},
                environment={**environment, **_key_of(task, judges.key)},
                forwards=forwards,
            )
            return ExecutionEnvironment(
                sandbox=_for_checks(judged, tools),
                requests=str(judges.log),
                secrets=(*judges.foreign_keys, judges.key),
                title=judges.title,
                switch=_SWITCH_PORT,
                switch_key=str(aside / SWITCH_KEY),
            )

        scripts, tests = execution_in(folder), execution_in(folder / "tests")
        yield TrialEnvironment(
            sandbox=sandbox,
            secrets=(stubs.key,),
            execution=msgspec.structs.replace(
                scripts,
                agents_requests=str(stubs.log),
                tests=tests,
                secrets=(*scripts.secrets, *tests.secrets),
            ),
            context7_url=f"http://{_LOOPBACK}:{_CONTEXT7_PORT}",
            pages_served=services.pages_served,
        )


def online_environment(
    task: Task, tools: Tools, environ: Mapping[str, str]
) -> TrialEnvironment:
    """Return an environment with the real services and the user's own keys."""
    names = [name for name in (task.service.key, _CONTEXT7_KEY) if environ.get(name)]
    keys = {name: environ[name] for name in names}
    secrets = tuple(keys.values())
    sandbox = SandboxSpec(
        bwrap=tools.bwrap,
        network=Network.ONLINE,
        tools=tools.programs,
        shown={**tools.shown, CONTEXT7_FOLDER: tools.context7},
        environment=keys,
    )
    return TrialEnvironment(
        sandbox=sandbox,
        secrets=secrets,
        execution=ExecutionEnvironment(
            sandbox=_for_checks(sandbox, tools), secrets=secrets
        ),
        context7_url=None,
        pages_served=None,
    )


def _key_of(task: Task, key: str) -> dict[str, str]:
    return {task.service.key: key} if task.service.key else {}


def _python() -> dict[str, str]:
    """Return variables that make uv use this Python, in a test's own `uv run` too.

    A Python built with a shared library and mounted elsewhere than installed would load
    the system's library, whose extension modules are not its own.
    """
    python = python_inside()
    library = {"LD_LIBRARY_PATH": str(python.parents[1] / "lib")}
    shown = python.is_relative_to(TOOLS.parent)
    return {"UV_PYTHON": str(python), **(library if shown else {})}


def _for_checks(sandbox: SandboxSpec, agents: Tools) -> SandboxSpec:
    """Return the sandbox for judged programs, without what only the agent needs."""
    tools, shown, forwards = sandbox.tools, sandbox.shown, sandbox.forwards
    hidden = {CONTEXT7_FOLDER, *agents.shown}
    return replace(
        sandbox,
        tools={name: tools[name] for name in _CHECKED_TOOLS & tools.keys()},
        shown={
            **{inside: shown[inside] for inside in shown.keys() - hidden},
            INSIDE_SANDBOX: INSIDE,
        },
        environment={**base_environment(), **sandbox.environment, **_python()},
        forwards={port: forwards[port] for port in forwards.keys() - {_CONTEXT7_PORT}},
    )
