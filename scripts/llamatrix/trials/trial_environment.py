"""What an agent finds around it, hermetic or online; the same for the judging."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from llamatrix.agents.context7 import FOLDER as CONTEXT7_FOLDER
from llamatrix.agents.turn import Surroundings
from llamatrix.config.matrix import Network
from llamatrix.engines.llama_cpp.launch import HOST
from llamatrix.sandbox.spec import TOOLS, base_environment, python_inside
from llamatrix.trials.checks.execution_environment import (
    BYTECODE,
    INSIDE,
    INSIDE_SANDBOX,
    ExecutionEnvironment,
    SandboxSpec,
    sandbox_execution,
)
from llamatrix.trials.checks.task import Task
from llamatrix.trials.stubs.authority import trusting
from llamatrix.trials.stubs.services import Services
from llamatrix.trials.stubs.serving import (
    HOSTS,
    SWITCH_KEY,
    prepare,
    serve_stubs,
    serve_stubs_for_checks,
)
from llamatrix.trials.stubs.wheel_index import indexed

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
    context7: Path
    """The folder with its `node_modules`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialEnvironment:
    surroundings: Surroundings
    execution: ExecutionEnvironment
    context7_url: str | None
    """The back end inside the sandbox; None is the real service."""
    pages_served: Callable[[], int] | None
    """Counts the pages that back end handed out so far; None where it is not ours."""


@contextmanager
def hermetic_environment(
    task: Task, tools: Tools, folder: Path, services: Services
) -> Iterator[TrialEnvironment]:
    """Stand-ins of the services under their real names, alive while the block runs.

    `folder` is the trial's own and private: TLS files, key and request log lie in it.
    """
    stubs = prepare(folder, models=task.all_models)
    environment = {
        **trusting(_AUTHORITY),
        **indexed(_INDEX_PORT),
        **_key_of(task, stubs.key),
    }
    with ExitStack() as held:
        port = held.enter_context(serve_stubs(stubs))
        around = Surroundings(
            network=Network.HERMETIC,
            tools=tools.programs,
            shown={
                CONTEXT7_FOLDER: tools.context7,
                _AUTHORITY: stubs.tls_files.authority,
            },
            environment=environment,
            hosts=dict.fromkeys(HOSTS, HOST),
            forwards={
                _HTTPS_PORT: port,
                _CONTEXT7_PORT: services.context7,
                _INDEX_PORT: services.packages,
            },
            secrets=(stubs.key,),
        )

        def execution_in(aside: Path) -> ExecutionEnvironment:
            aside.mkdir(exist_ok=True)
            judges = stubs.for_judging(aside)
            port, switch = held.enter_context(serve_stubs_for_checks(judges))
            judged = dataclasses.replace(
                around,
                shown={**around.shown, BYTECODE: services.bytecode},
                environment={**environment, **_key_of(task, judges.key)},
                forwards={**around.forwards, _HTTPS_PORT: port, _SWITCH_PORT: switch},
            )
            return sandbox_execution(
                _sandbox_spec(tools, judged),
                requests=judges.log,
                secrets=(*judges.foreign_keys, judges.key),
                title=judges.title,
                switch=_SWITCH_PORT,
                switch_key=aside / SWITCH_KEY,
            )

        scripts, tests = execution_in(folder), execution_in(folder / "tests")
        yield TrialEnvironment(
            surroundings=around,
            execution=replace(
                scripts,
                agents_requests=str(stubs.log),
                tests=tests,
                secrets=(*scripts.secrets, *tests.secrets),
            ),
            context7_url=f"http://{HOST}:{_CONTEXT7_PORT}",
            pages_served=services.pages_served,
        )


def online_environment(
    task: Task, tools: Tools, environ: Mapping[str, str]
) -> TrialEnvironment:
    """The real services over this machine's network, with the user's own keys."""
    names = [name for name in (task.service.key, _CONTEXT7_KEY) if environ.get(name)]
    keys = {name: environ[name] for name in names}
    around = Surroundings(
        network=Network.ONLINE,
        tools=tools.programs,
        shown={CONTEXT7_FOLDER: tools.context7},
        environment=keys,
        secrets=tuple(keys.values()),
    )
    execution = sandbox_execution(
        _sandbox_spec(tools, around), requests=None, secrets=around.secrets
    )
    return TrialEnvironment(
        surroundings=around, execution=execution, context7_url=None, pages_served=None
    )


def _key_of(task: Task, key: str) -> dict[str, str]:
    return {task.service.key: key} if task.service.key else {}


def _python() -> dict[str, str]:
    """Have every environment that uv makes, in a test's own `uv run` too, be of ours.

    A Python built with a shared library, shown elsewhere than it was installed, would
    take the system's library, whose extension modules are not its own.
    """
    python = python_inside()
    library = {"LD_LIBRARY_PATH": str(python.parents[1] / "lib")}
    shown = python.is_relative_to(TOOLS.parent)
    return {"UV_PYTHON": str(python), **(library if shown else {})}


def _sandbox_spec(tools: Tools, around: Surroundings) -> SandboxSpec:
    """The same surroundings for judged programs, without what only the agent needs."""
    return SandboxSpec(
        bwrap=str(tools.bwrap),
        online=around.network is Network.ONLINE,
        tools={
            name: str(path)
            for name, path in around.tools.items()
            if name in _CHECKED_TOOLS
        },
        shown={
            str(inside): str(path)
            for inside, path in around.shown.items()
            if inside != CONTEXT7_FOLDER
        }
        | {str(INSIDE_SANDBOX): str(INSIDE)},
        environment={
            **base_environment(),
            **around.environment,
            **_python(),
        },
        hosts=dict(around.hosts),
        forwards=tuple(
            way for way in around.forwards.items() if way[0] != _CONTEXT7_PORT
        ),
    )
