"""What is served and how: one llama-server's whole command line."""

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from llamatrix import shell
from llamatrix.config.matrix import Model, Server
from llamatrix.errors import ServeError
from llamatrix.measured_environment import measured_environment

_TIMEOUT_S = 30
_NO_PAGE = ("--no-ui", "--no-webui")
_NO_FITTING = ("--fit",)
_DEFAULT_VERBOSITY = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerCapabilities:
    no_page: str | None
    """The flag that leaves out the web page; None where there is no page."""
    fits: bool
    """Whether it knows `--fit`: shrinking what is unset to the device's memory."""
    verbosity: int
    """The lowest level at which the log tells buffer sizes and cache types."""


def read_help(text: str) -> ServerCapabilities:
    """Read `llama-server --help`."""
    flags = set(re.findall(r"--[a-z][a-z0-9-]*", text))
    trace = re.search(r"^\s*-\s*(\d): trace\b", text, re.MULTILINE)
    return ServerCapabilities(
        no_page=next((flag for flag in _NO_PAGE if flag in flags), None),
        fits=not flags.isdisjoint(_NO_FITTING),
        verbosity=int(trace[1]) if trace else _DEFAULT_VERBOSITY,
    )


@cache
def read_capabilities(program: Path) -> ServerCapabilities:
    env = measured_environment({})
    ended = shell.run([str(program), "--help"], timeout_s=_TIMEOUT_S, env=env)
    if not ended.ok:
        raise ServeError(f"llama-server does not start\n{ended.complaint()}")
    return read_help(ended.out)


HOST = "127.0.0.1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    program: Path
    weights: Path
    alias: str
    """The model's key: the name clients ask for."""
    model: Model
    server: Server
    template: Path | None = None
    """The chat template to serve with; None takes the one inside the weights."""
    template_pin: str | None = None
    """The sha256 that the lock has of that template; None where it has none."""
    commit: str | None = None
    """The commit the program should be built from; None where nobody knows."""
    port: int | None = None
    """None takes any free one."""
    extra: tuple[str, ...] = ()
    """Flags of this machine, not of the measurement: put last, as they stand."""

    def argv(self, *, port: int, capabilities: ServerCapabilities) -> tuple[str, ...]:
        flags = {
            "--model": self.weights,
            "--alias": self.alias,
            "--host": HOST,
            "--port": port,
            "--log-verbosity": capabilities.verbosity,
            **_model_flags(self.model),
            **_server_flags(self.server),
        }
        if self.template is not None:
            flags["--chat-template-file"] = self.template
        words = [str(self.program)]
        for flag, value in flags.items():
            words += [flag, str(value)]
        words += _switches(self.server, capabilities)
        return (*words, *self.extra)

    def template_sha256(self) -> str | None:
        """The hash of the template to serve with; None for the one in the weights.

        As the server reports it: Jinja drops one newline at the end of a template.
        """
        if self.template is None:
            return None
        try:
            text = self.template.read_bytes()
        except OSError as error:
            raise ServeError(
                f"{self.template}: the chat template cannot be read: {error.strerror}"
            ) from error
        return hashlib.sha256(text.removesuffix(b"\n")).hexdigest()


def _model_flags(model: Model) -> dict[str, object]:
    flags: dict[str, object] = {"--ctx-size": model.ctx_size, "--temp": model.temp}
    for key in ("top_k", "top_p", "min_p"):
        if (value := getattr(model, key)) is not None:
            flags["--" + key.replace("_", "-")] = value
    if model.chat_template_kwargs:
        flags["--chat-template-kwargs"] = json.dumps(model.chat_template_kwargs)
    return flags


def _server_flags(server: Server) -> dict[str, object]:
    flags: dict[str, object] = {
        "--parallel": server.parallel,
        "--batch-size": server.batch_size,
        "--ubatch-size": server.ubatch_size,
        "--cache-type-k": server.cache_type_k,
        "--cache-type-v": server.cache_type_v,
        "--flash-attn": "on" if server.flash_attn else "off",
    }
    if server.n_gpu_layers is not None:
        flags["--n-gpu-layers"] = server.n_gpu_layers
    return flags


def _switches(server: Server, capabilities: ServerCapabilities) -> list[str]:
    words = ["--jinja" if server.jinja else "--no-jinja"]
    words.append("--context-shift" if server.context_shift else "--no-context-shift")
    if server.metrics:
        words.append("--metrics")
    if server.fit is not None and capabilities.fits:
        words += ["--fit", "on" if server.fit else "off"]
    if capabilities.no_page:
        words.append(capabilities.no_page)
    return words
