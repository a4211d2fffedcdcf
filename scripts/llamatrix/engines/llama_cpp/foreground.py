"""Serving for a person at a terminal: what to know, then wait for Ctrl-C."""

import threading
from collections.abc import Callable
from pathlib import Path

from llamatrix.engines.llama_cpp.launch import Launch
from llamatrix.engines.llama_cpp.provider import opencode_config
from llamatrix.engines.llama_cpp.server import (
    Serving,
    Timeouts,
    memory_of,
    read_log,
    running,
)
from llamatrix.errors import ProvisionError, ServeError
from llamatrix.progress import say
from llamatrix.provision.weights.gguf_model import has_chat_template
from llamatrix.shell import TAIL_LINES
from llamatrix.units import bytes_text

_LOOK_EVERY_S = 1.0


def serve_in_foreground(
    launch: Launch,
    *,
    log: Path,
    show: Callable[[str], None],
    until: threading.Event | None = None,
    timeouts: Timeouts | None = None,
) -> None:
    """Serve until Ctrl-C, or until the event is set; ServeError where the server dies.

    `show` gets what belongs on standard output, once: URL, memory, configuration.
    """
    until = until or threading.Event()
    say(f"starting {launch.alias} (log: {log})")
    try:
        with running(launch, log=log, timeouts=timeouts) as serving:
            show(summary(serving))
            while not until.wait(_LOOK_EVERY_S):
                if memory_of(serving.pid) is None:
                    lines = read_log(log).splitlines()[-TAIL_LINES:]
                    tail = "\n".join(f"  | {line}" for line in lines)
                    raise ServeError(
                        f"llama-server ended by itself\nlog: {log}\n{tail}"
                    )
    except KeyboardInterrupt:
        say(f"{launch.alias} is stopped")


def summary(serving: Serving) -> str:
    memory = serving.memory()
    props = serving.props
    caches = ", ".join(f"K {cache.k} V {cache.v}" for cache in serving.caches)
    return "\n".join(
        [
            f"model     {serving.launch.alias}",
            f"url       {serving.url}/v1",
            f"context   {props.context_tokens} tokens",
            f"cache     {caches or 'not told by the log'}",
            f"build     {props.build_info}",
            f"template  {props.template_sha256[:16]}{_fallback(serving.launch)}",
            f"memory    {bytes_text(memory.rss_bytes)}",
            "",
            "opencode.json:",
            opencode_config(serving),
            "",
            "Ctrl-C stops the server",
        ]
    )


def _fallback(launch: Launch) -> str:
    """A word where neither the weights nor the matrix have the template that is served."""
    try:
        if launch.template or has_chat_template(launch.weights):
            return ""
    except ProvisionError:  # llama-server has loaded it all the same
        return ""
    return " (llama-server's own chatml: these weights have no chat template)"
