"""`invoke serve`: a model of the matrix, served until Ctrl-C."""

from llamatrix.agents.registry import client_configuration
from llamatrix.commands.flags import ServeFlags
from llamatrix.commands.launching import cell_to_serve, launch_of
from llamatrix.config.context import load_context
from llamatrix.engines.protocol import Endpoint, Launch
from llamatrix.engines.registry import ENGINE
from llamatrix.errors import ProvisionError
from llamatrix.provision.weights.gguf_model import has_chat_template
from llamatrix.units import bytes_text


def serve(flags: ServeFlags) -> None:
    """Print URL, memory and a ready OpenCode configuration; wait for Ctrl-C."""
    context = load_context(
        flags.profile, model=flags.model, weights_dir=flags.weights_dir
    )
    cell = cell_to_serve(context, pin=flags.pin)
    launch = launch_of(cell, context, port=flags.port)
    log = context.project.logs / f"serve-{cell.weights_key}-{cell.pin_key}.log"
    ENGINE.serve_in_foreground(
        launch, log=log, show=lambda serving: print(summary(serving), flush=True)
    )


def summary(serving: Endpoint) -> str:
    launch = serving.launch
    configuration = client_configuration(
        url=serving.url,
        key=launch.alias,
        name=launch.model.name,
        context_tokens=serving.context_tokens,
    )
    return "\n".join(
        [
            f"model     {launch.alias}",
            f"url       {serving.url}/v1",
            f"context   {serving.context_tokens} tokens",
            *(f"{word:<10}{text}" for word, text in serving.about().items()),
            f"template  {serving.template_sha256[:16]}{_fallback(launch)}",
            f"memory    {bytes_text(serving.memory().rss_bytes)}",
            "",
            *(f"{file}:\n{text}\n" for file, text in configuration.items()),
            "Ctrl-C stops the server",
        ]
    )


def _fallback(launch: Launch) -> str:
    """Say where neither the weights nor the matrix have the template that is served."""
    try:
        if launch.template or has_chat_template(launch.weights):
            return ""
    except ProvisionError:  # llama-server has loaded it all the same
        return ""
    return " (llama-server's own chatml: these weights have no chat template)"
