"""The agents by cell: the one place outside their folders that names them."""

from llamatrix.agents.context7 import RULE, SKILL, SKILL_NAME, context7_server
from llamatrix.agents.opencode.agent import OpenCode
from llamatrix.agents.protocol import Agent
from llamatrix.config.agent_cell import AgentCell


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
