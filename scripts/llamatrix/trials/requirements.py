"""What a trial requires, checked before anything is served."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from llamatrix.agents.registry import missing_program
from llamatrix.agents.turn_outcome import NotRun, WhyNotRun
from llamatrix.config.agent_cell import AgentCell
from llamatrix.config.matrix import Network
from llamatrix.errors import ProvisionError
from llamatrix.provision.programs import find_bwrap
from llamatrix.redaction import without_folders
from llamatrix.sandbox.spec import NoSandbox, probe
from llamatrix.trials.checks.task import Task, load_task
from llamatrix.web import NoAnswerError, Site, site

_ASK_TIMEOUT_S = 30.0
_NOT_FOUND = 404


def unmet(cell: AgentCell, cache: Path, environ: Mapping[str, str]) -> NotRun | None:
    """Return why the cell's trials cannot run here, with the remedy; None if they can."""
    task = load_task(cell.task)
    problem = _sandbox(cache) or _programs(cell)
    if problem or cell.agent.network is Network.HERMETIC:
        return problem
    if (problem := _key(task, environ)) or not task.service.host:
        return problem
    with site(f"https://{task.service.host}") as service:
        return service_lacks(task, environ, service)


def _sandbox(cache: Path) -> NotRun | None:
    try:
        problem = probe(find_bwrap(cache))
    except ProvisionError as error:
        problem = NoSandbox(
            reason=without_folders(str(error).partition("\n")[0]),
            remedy="install the package `bubblewrap`",
        )
    if problem is None:
        return None
    why = WhyNotRun.NO_SANDBOX
    return NotRun(why=why, reason=problem.reason, remedy=problem.remedy)


def _programs(cell: AgentCell) -> NotRun | None:
    if reason := missing_program(cell):
        return NotRun(
            why=WhyNotRun.NO_PROGRAM,
            reason=reason,
            remedy="run it on a machine that has one, or choose another agent",
        )
    if shutil.which("git") is None:
        return NotRun(
            why=WhyNotRun.NO_PROGRAM,
            reason="git: not found, and a workspace is a git repository",
            remedy="install the package `git`",
        )
    return None


def _key(task: Task, environ: Mapping[str, str]) -> NotRun | None:
    name = task.service.key
    if not name or environ.get(name):
        return None
    return NotRun(
        why=WhyNotRun.NO_KEY,
        reason=f"{task.service.host} wants a key, and {name} is not set",
        remedy=f"set {name} in the environment, or choose a hermetic agent",
    )


def service_lacks(
    task: Task, environ: Mapping[str, str], service: Site
) -> NotRun | None:
    """Return what follows if a real service has none of the models of a task.

    Only "not found" for all of them counts: other errors are left to the trial.
    """
    key = quote(environ.get(task.service.key, ""), safe="")
    for model in task.models:
        path = f"/v1beta/models/{model.name}?key={key}"
        try:
            if service.get(path, timeout_s=_ASK_TIMEOUT_S).status != _NOT_FOUND:
                return None
        except NoAnswerError:
            return None
    if not task.models:
        return None
    names = ", ".join(model.name for model in task.models)
    return NotRun(
        why=WhyNotRun.SERVICE,
        reason=f"{task.service.host} has none of the models {names}",
        remedy="choose a hermetic agent, or add the model's successor to task.toml",
    )
