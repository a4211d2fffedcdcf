"""The agents by cell: the place outside their folders that names them."""

from collections.abc import Mapping
from pathlib import Path

from llamatrix.agents.context7 import RULE, SKILL, SKILL_NAME, context7_server
from llamatrix.agents.opencode.agent import OpenCode, opencode_config
from llamatrix.agents.opencode.install import (
    RIPGREP,
    opencode_of,
    opencode_package,
    program_path,
    provide_opencode,
    provide_ripgrep,
)
from llamatrix.agents.protocol import Agent
from llamatrix.config.agent_cell import AgentCell
from llamatrix.config.lock import LockedNpm
from llamatrix.provision.nix import stored_opencode, stored_program


def agent_of(cell: AgentCell, *, context7_url: str | None) -> Agent:
    """Return the agent as the cell configures it; sampling is left to the server.

    `context7_url` is a stub of Context7's back end; None is the real service.
    """
    setup = cell.agent
    return OpenCode(
        version=cell.opencode.version,
        model=cell.model_key,
        context_tokens=cell.model.ctx_size,
        output_tokens=setup.output_tokens,
        title=None if setup.ask_title else "trial",
        lsp=setup.lsp,
        todo_fix=cell.model.todo_fix,
        mcp=(context7_server(api_url=context7_url),),
        rules=RULE,
        skills={SKILL_NAME: SKILL},
    )


def missing_package(cell: AgentCell) -> str | None:
    """Return why the cell's agent cannot be installed on this machine, or None."""
    pin, package = cell.agent.opencode, opencode_package()
    if stored_opencode(pin) or package in cell.opencode.integrity:
        return None
    known = ", ".join(sorted(cell.opencode.integrity))
    return f"matrix.lock: opencode.{pin}: no {package}, only {known}"


def install_agent(cell: AgentCell, cache: Path) -> dict[str, Path]:
    """Return the agent's programs by the names that they have in a sandbox."""
    locked = cell.opencode
    wanted = opencode_of(locked.version, locked.integrity[opencode_package()])
    return {
        "opencode": provide_opencode(cell.agent.opencode, wanted, cache),
        "rg": provide_ripgrep(cache),
    }


def is_installed(pin: str, locked: LockedNpm, cache: Path) -> bool | None:
    """Return whether the agent's program is here; None if not locked for this machine."""
    package = opencode_package()
    if package not in locked.integrity:
        return None
    wanted = opencode_of(locked.version, locked.integrity[package])
    return stored_opencode(pin) is not None or program_path(wanted, cache).exists()


def find_ripgrep(cache: Path) -> tuple[str, bool]:
    """Return which ripgrep the agents search with, and whether it is here."""
    if stored := stored_program("rg"):
        return str(stored), True
    return RIPGREP.version, program_path(RIPGREP, cache).exists()


def client_configuration(
    *, url: str, key: str, name: str, context_tokens: int
) -> Mapping[str, str]:
    """Return configuration files of agents that use a served model, by file name."""
    text = opencode_config(url=url, key=key, name=name, context_tokens=context_tokens)
    return {"opencode.json": text}
