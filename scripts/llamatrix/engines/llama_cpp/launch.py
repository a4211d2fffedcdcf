"""llama-server's command line."""

import json
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from llamatrix import shell
from llamatrix.engines.llama_cpp.llama_bench import flag_words
from llamatrix.engines.llama_cpp.output import ServerCapabilities, parse_help
from llamatrix.engines.protocol import Launch
from llamatrix.errors import ServeError
from llamatrix.measured_environment import measured_environment

HOST = "127.0.0.1"
_HELP_TIMEOUT_S = 30


def server_argv(
    launch: Launch, *, port: int, capabilities: ServerCapabilities
) -> tuple[str, ...]:
    model, server = launch.model, launch.server
    flags: dict[str, object] = {
        "--model": launch.weights,
        "--alias": launch.alias,
        "--host": HOST,
        "--port": port,
        "--log-verbosity": None if capabilities.is_ik else capabilities.verbosity,
        "--ctx-size": model.ctx_size,
        "--seed": launch.seed,
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
        "--chat-template-file": launch.template,
        "--threads": server.threads,
        "--n-cpu-moe": server.n_cpu_moe,
        "--override-tensor": ",".join(server.override_tensor) or None,
        "--split-mode": server.split_mode,
        "--tensor-split": ",".join(f"{share:g}" for share in server.tensor_split)
        or None,
        "--main-gpu": server.main_gpu,
    }
    words = [str(launch.program), *flag_words(flags)]
    if capabilities.is_ik:
        return (*words, *_of_ik(launch), *launch.extra)
    words += _draft_words(launch)
    words.append("--jinja" if server.jinja else "--no-jinja")
    words.append("--context-shift" if server.context_shift else "--no-context-shift")
    if server.no_kv_offload:
        words.append("--no-kv-offload")
    if server.metrics:
        words.append("--metrics")
    if server.fit is not None and capabilities.fits:
        words += ["--fit", "on" if server.fit else "off"]
    if capabilities.no_page:
        words.append(capabilities.no_page)
    return (*words, *launch.extra)


def _draft_words(launch: Launch) -> list[str]:
    """Always with `--spec-type`: without it, a draft's file alone may do nothing."""
    if launch.draft is None:
        return []
    return flag_words(
        {
            "--spec-type": launch.draft.type,
            "--spec-draft-model": launch.draft_weights,
            "--spec-draft-n-max": launch.draft.n_max,
            "--spec-draft-n-min": launch.draft.n_min or None,
            "--spec-draft-p-min": launch.draft.p_min or None,
            "--spec-synth-len": launch.draft.synth_len,
        }
    )


def _of_ik(launch: Launch) -> Iterator[str]:
    """Yield the switches that ik_llama.cpp has in another form."""
    server = launch.server
    if launch.draft:
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
