"""`invoke regress --agent` as a user writes it."""

from dataclasses import fields

from llamatrix.commands.regress.agent.arms import AskedAgent
from llamatrix.commands.regress.agent.command import regress_agents
from llamatrix.commands.regress.agent.request import AgentRequest
from llamatrix.commands.regress.delivery import budget_of, deliver
from llamatrix.commands.regress.flags import Flags
from llamatrix.config.context import own_folder
from llamatrix.errors import MatrixError
from llamatrix.report.agent_regress import agent_markdown, agent_text
from llamatrix.report.agent_regress_files import agent_json, agent_junit
from llamatrix.stats.pairs import Arm

_OURS = (
    *("baseline_opencode", "candidate_opencode"),
    *("baseline_context7", "candidate_context7", "trials", "tasks"),
)
_OTHERS = {
    "replay": "a recorded session has no agent; leave out one of the two",
    "baseline_sweep": "agents have no sweep; --baseline-server names a server's flags",
    "candidate_sweep": "agents have no sweep; --candidate-server names a server's flags",
    "metric": "agents are compared by their pass rates",
    "margin": "of pass rates 10 points matter",
    "again": "for more trials raise --trials",
    "max_background_load": "trials are not timed against each other",
}


def answer_agent(flags: Flags) -> int:
    """Compare, print, write the files asked for; return the verdict's exit code."""
    found = regress_agents(_request(flags))
    if found is None:
        return 0
    deliver(flags, junit=agent_junit(found), markdown=agent_markdown(found))
    print(agent_json(found) if flags.json else agent_text(found).rstrip())
    return found.verdict.exit_code


def refuse_agents(flags: Flags) -> None:
    """Without --agent its flags mean nothing."""
    for name in _given(flags):
        if name in _OURS:
            raise MatrixError(f"{_written(name)}: only with --agent")


def _request(flags: Flags) -> AgentRequest:
    for name in _given(flags):
        if name in _OTHERS:
            raise MatrixError(f"{_written(name)}: not with --agent: {_OTHERS[name]}")
    if flags.trials < 1:
        raise MatrixError(f"--trials {flags.trials}: write how many, 1 or above")
    return AgentRequest(
        asked={
            Arm.BASELINE: AskedAgent(
                pin=flags.baseline,
                build=flags.baseline_build,
                server=flags.baseline_server,
                template=flags.baseline_template,
                opencode=flags.baseline_opencode,
                context7=flags.baseline_context7,
            ),
            Arm.CANDIDATE: AskedAgent(
                pin=flags.candidate,
                build=flags.candidate_build,
                server=flags.candidate_server,
                template=flags.candidate_template,
                opencode=flags.candidate_opencode,
                context7=flags.candidate_context7,
            ),
        },
        profile=flags.profile,
        cells=flags.cells,
        tasks=tuple(
            dict.fromkeys(
                word for one in flags.tasks.split(",") if (word := one.strip())
            )
        ),
        trials=flags.trials,
        budget_s=budget_of(flags),
        weights_dir=own_folder(flags.weights_dir),
        dry_run=flags.dry_run,
    )


def _given(flags: Flags) -> list[str]:
    """The flags that do not stand at their default."""
    return [
        one.name for one in fields(flags) if getattr(flags, one.name) != one.default
    ]


def _written(name: str) -> str:
    return f"--{name.replace('_', '-')}"
