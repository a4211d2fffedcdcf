"""llama-server's command line."""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from llamatrix import shell
from llamatrix.config.matrix import Draft, Model, Server
from llamatrix.engines.llama_cpp.output import ServerCapabilities, parse_help
from llamatrix.errors import ServeError
from llamatrix.measured_environment import measured_environment

HOST = "127.0.0.1"
_HELP_TIMEOUT_S = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """What is served and how: one llama-server's whole command line."""

    program: Path
    weights: Path
    alias: str
    """The model's key: the name clients ask for."""
    model: Model
    server: Server
    template: Path | None = None
    """The chat template to serve with; None takes the one inside the weights."""
    template_pin: str | None = None
    """The template's sha256 in the lock; None where the lock has none."""
    commit: str | None = None
    """The commit the program should be built from; None where unknown."""
    port: int | None = None
    """None takes any free one."""
    draft: Draft | None = None
    draft_weights: Path | None = None
    seed: int | None = None
    """Of every answer; None takes a new one for each."""
    extra: tuple[str, ...] = ()
    """Flags of this machine, not of the measurement: put last, unchanged."""

    def argv(self, *, port: int, capabilities: ServerCapabilities) -> tuple[str, ...]:
        model, server = self.model, self.server
        flags: dict[str, object] = {
            "--model": self.weights,
            "--alias": self.alias,
            "--host": HOST,
            "--port": port,
            "--log-verbosity": None if capabilities.is_ik else capabilities.verbosity,
            "--ctx-size": model.ctx_size,
            "--seed": self.seed,
            "--temp": model.temp,
            "--top-k": model.top_k,
            "--top-p": model.top_p,
            "--min-p": model.min_p,
            "--chat-template-kwargs": json.dumps(model.chat_template_kwargs)
            if model.chat_template_kwargs
            else None,
            "--parallel": server.parallel,
            "--batch-size": server.batch_size,
            "--ubatch-size": server.ubatch_size,
            "--cache-type-k": server.cache_type_k,
            "--cache-type-v": server.cache_type_v,
            "--flash-attn": "on" if server.flash_attn else "off",
            "--n-gpu-layers": server.n_gpu_layers,
            "--chat-template-file": self.template,
            "--threads": server.threads,
            "--n-cpu-moe": server.n_cpu_moe,
            "--override-tensor": ",".join(server.override_tensor) or None,
            "--split-mode": server.split_mode,
            "--tensor-split": ",".join(f"{share:g}" for share in server.tensor_split)
            or None,
            "--main-gpu": server.main_gpu,
        }
        words = [str(self.program)]
        for flag, value in flags.items():
            if value is not None:
                words += [flag, str(value)]
        if capabilities.is_ik:
            return (*words, *self._of_ik(), *self.extra)
        words += self._draft_words()
        words.append("--jinja" if server.jinja else "--no-jinja")
        words.append(
            "--context-shift" if server.context_shift else "--no-context-shift"
        )
        if server.no_kv_offload:
            words.append("--no-kv-offload")
        if server.metrics:
            words.append("--metrics")
        if server.fit is not None and capabilities.fits:
            words += ["--fit", "on" if server.fit else "off"]
        if capabilities.no_page:
            words.append(capabilities.no_page)
        return (*words, *self.extra)

    def _draft_words(self) -> list[str]:
        """Always with `--spec-type`: without it, a draft's file alone may do nothing."""
        if self.draft is None:
            return []
        flags: dict[str, object] = {
            "--spec-type": self.draft.type,
            "--spec-draft-model": self.draft_weights,
            "--spec-draft-n-max": self.draft.n_max,
            "--spec-draft-n-min": self.draft.n_min or None,
            "--spec-draft-p-min": self.draft.p_min or None,
            "--spec-synth-len": self.draft.synth_len,
        }
        return [
            word
            for flag, value in flags.items()
            if value is not None
            for word in (flag, str(value))
        ]

    def _of_ik(self) -> Iterator[str]:
        """Yield the switches that ik_llama.cpp has in another form."""
        server = self.server
        if self.draft:
            raise ServeError("ik_llama.cpp marks drafts otherwise: serve without one")
        yield from ("--context-shift", "on" if server.context_shift else "off")
        yield from ("--webui", "none", "--log-disable")  # of the trace file alone
        for flag, wanted in (
            ("--jinja", server.jinja),
            ("--no-kv-offload", server.no_kv_offload),
            ("--metrics", server.metrics),
            ("--fit", server.fit),
        ):
            if wanted:
                yield flag

    def template_sha256(self) -> str | None:
        """Return the hash of the template to serve with; None for the weights' own.

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


@cache
def read_capabilities(program: Path) -> ServerCapabilities:
    env = measured_environment({})
    with tempfile.TemporaryDirectory() as folder:  # ik_llama.cpp leaves a file there
        ended = shell.run(
            [str(program), "--help"],
            timeout_s=_HELP_TIMEOUT_S,
            env=env,
            cwd=Path(folder),
        )
    if not ended.ok and "--model" not in ended.out:  # ik_llama.cpp ends with 1
        raise ServeError(f"llama-server does not start\n{ended.complaint()}")
    return parse_help(ended.out)
