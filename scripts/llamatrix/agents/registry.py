"""The agents by cell: the place outside their folders that names them."""

from pathlib import Path

from llamatrix.agents.context7 import RULE, SKILL, SKILL_NAME, context7_server
from llamatrix.agents.opencode.agent import OpenCode
from llamatrix.agents.opencode.install import (
    opencode_of,
    opencode_package,
    provide_opencode,
    provide_ripgrep,
)
from llamatrix.agents.protocol import Agent
from llamatrix.config.agent_cell import AgentCell
from llamatrix.provision.nix import stored_opencode


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
