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
from llamatrix.agents.pi.agent import Pi
from llamatrix.agents.pi.install import install_pi, unfit_node
from llamatrix.agents.protocol import Agent, InstalledAgent
from llamatrix.config.agent_cell import AgentCell
from llamatrix.config.lock import LockedNpm
from llamatrix.config.matrix import CONTEXT7, AgentKind
from llamatrix.project import Project
from llamatrix.provision.nix import stored_opencode, stored_program
from llamatrix.provision.npm import node_program


def agent_of(cell: AgentCell, *, context7_url: str | None) -> Agent:
    """Return the agent as the cell configures it; sampling is left to the server.

    `context7_url` is a stub of Context7's back end; None is the real service.
    """
    setup = cell.agent
    offered = setup.has_context7
    mcp = (context7_server(api_url=context7_url),) if offered else ()
    rules, skills = (RULE, {SKILL_NAME: SKILL}) if offered else ("", {})
    if setup.kind is AgentKind.PI:
        return Pi(
            version=cell.program.version,
            model=cell.served_name,
            context_tokens=cell.model.ctx_size,
            output_tokens=setup.output_tokens,
            tools=tuple(tool for tool in setup.tools if tool != CONTEXT7),
            system_prompt=setup.system_prompt,
            mcp=mcp,
            rules=rules,
            skills=skills,
        )
    return OpenCode(
        version=cell.program.version,
        model=cell.served_name,
        context_tokens=cell.model.ctx_size,
        output_tokens=setup.output_tokens,
        title=None if setup.ask_title else "trial",
        lsp=setup.lsp,
        todo_fix=cell.model.todo_fix,
        mcp=mcp,
        rules=rules,
        skills=skills,
    )


def missing_program(cell: AgentCell) -> str | None:
    """Return why the cell's agent cannot run on this machine, or None."""
    if cell.agent.kind is AgentKind.PI:
        return unfit_node(node_program())
    pin, package = cell.agent.version_key, opencode_package()
    if stored_opencode(pin) or package in cell.program.integrity:
        return None
    known = ", ".join(sorted(cell.program.integrity))
    return f"matrix.lock: opencode.{pin}: no {package}, only {known}"


def install_agent(cell: AgentCell, project: Project) -> InstalledAgent:
    """Return the agent on this machine, fetched where it is missing."""
    pin, locked, cache = cell.agent.version_key, cell.program, project.cache
    if cell.agent.kind is AgentKind.PI:
        return install_pi(pin, locked, root=project.root, cache=cache)
    wanted = opencode_of(locked.version, locked.integrity[opencode_package()])
    return InstalledAgent(
        programs={
            "opencode": provide_opencode(pin, wanted, cache),
            "rg": provide_ripgrep(cache),
        }
    )


def is_installed(pin: str, locked: LockedNpm, cache: Path) -> bool | None:
    """Return whether OpenCode's program is here; None if not locked for this machine."""
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
