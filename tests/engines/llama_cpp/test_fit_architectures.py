"""Proven architectures: caches, states and weights as the pins' llama-fit-params says.

The program tells which tensor of which shape a model lacks, so a file is completed
from its metadata alone. Data is a hole in the file.
"""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from tests.mini_gguf import F16, F32, Metadata, TensorSpec, write_gguf
from tests.provision.weights.reported_files import keys_of
from tests.shipped import ROOT

from llamatrix import shell
from llamatrix.commands.fit import use_of
from llamatrix.commands.launching import cell_to_serve
from llamatrix.config.context import load_context
from llamatrix.config.load import load_matrix
from llamatrix.engines.llama_cpp.fit_params import argv, run_fit_params
from llamatrix.project import Project
from llamatrix.provision.build import provide_build
from llamatrix.provision.weights.architectures import PROVEN
from llamatrix.provision.weights.fit import (
    MemorySettings,
    host_weight_bytes,
    memory_need,
)
from llamatrix.provision.weights.gguf_shape import shape_of_file

pytestmark = pytest.mark.slow
LAYERS = 4
MIB = 2**20
EXPERTS: dict[str, object] = {
    "expert_count": 4,
    "expert_used_count": 2,
    "expert_feed_forward_length": 256,
    "expert_gating_func": 2,
}
WINDOW: dict[str, object] = {"attention__sliding_window": 512}
LATENT: dict[str, object] = {
    "attention__head_count_kv": 1,
    "attention__key_length": 192,
    "attention__value_length": 128,
    "attention__key_length_mla": 96,
    "attention__value_length_mla": 64,
    "attention__q_lora_rank": 128,
    "attention__kv_lora_rank": 128,
    "leading_dense_block_count": 1,
    "expert_weights_scale": 1.0,
    "expert_shared_count": 1,
}
STATE: dict[str, object] = {
    "attention__head_count": 0,
    "ssm__conv_kernel": 4,
    "ssm__inner_size": 512,
    "ssm__state_size": 64,
    "ssm__time_step_rank": 8,
    "ssm__group_count": 2,
}
ADDED: dict[str, dict[str, object]] = {
    "llama": {},
    "gemma2": WINDOW,
    "gemma3": {**WINDOW, "attention__sliding_window_pattern": 3},
    "gpt-oss": {**EXPERTS, **WINDOW},
    "llama4": {**EXPERTS, "interleave_moe_layer_step": 1},
    "smallthinker": {**EXPERTS, **WINDOW},
    "deepseek2": {**EXPERTS, **LATENT},
    "mamba2": STATE,
    "qwen3moe": EXPERTS,
}


def metadata(architecture: str) -> Metadata:
    values: dict[str, object] = {
        "vocab_size": 512,
        "block_count": LAYERS,
        "context_length": 131072,
        "embedding_length": 256,
        "feed_forward_length": 256,
        "attention__head_count": 8,
        "attention__head_count_kv": 2,
        "attention__key_length": 64,
        "attention__value_length": 64,
        "attention__layer_norm_rms_epsilon": 1e-5,
        "rope__dimension_count": 64,
        **ADDED[architecture],
    }
    return {**keys_of(architecture, **values), "tokenizer.ggml.model": "none"}


def completed(program: Path, path: Path, architecture: str) -> Path:
    """Add what the program misses until it loads the file."""
    shapes: dict[str, list[int]] = {}
    text = ""
    for _ in range(200 * LAYERS):
        tensors: list[TensorSpec] = [
            (name, shape, F16 if len(shape) > 1 and "conv" not in name else F32)
            for name, shape in shapes.items()
        ]
        write_gguf(path, metadata(architecture), tensors)
        command = argv(program, path, MemorySettings(), context_tokens=512)
        ended = shell.run(command, timeout_s=60, on_line=None)
        if ended.ok:
            return path
        text = "\n".join(ended.tail)
        lacks = re.search(r"(?:missing tensor '(.+?)'|tensor '(.+?)' not found)", text)
        wrong = re.search(r"tensor '(.+?)' has wrong shape; expected (.+?), got", text)
        if lacks:
            shapes[lacks[1] or lacks[2]] = [1]
        elif wrong:
            shape = [int(one) for one in wrong[2].split(",")]
            while shape[1:] and shape[-1] == 1:
                shape.pop()
            shapes[wrong[1]] = shape
        # else its log was lost, as newer builds do now and then: ask again
    raise AssertionError(f"{architecture}: not complete after all tries: {text}")


@pytest.fixture(scope="module")
def program_of(user_cache: Path) -> Callable[[str], Path]:
    @cache
    def of(pin: str) -> Path:
        project = Project(root=ROOT, cache=user_cache)
        cell = cell_to_serve(load_context("smoke", project=project), pin=pin)
        return provide_build(cell, user_cache).program("llama-fit-params")

    return of


@pytest.mark.parametrize("architecture", ADDED)
@pytest.mark.parametrize("pin", ["april", "current"])
def test_estimate_of_proven_architecture_equals_llama_fit_params(
    program_of: Callable[[str], Path], tmp_path: Path, pin: str, architecture: str
) -> None:
    assert architecture in PROVEN
    commit = load_matrix(ROOT / "matrix.toml").pins[pin].commit
    path = completed(program_of(pin), tmp_path / "a.gguf", architecture)
    shape, use = shape_of_file(path, commit=commit), use_of(None, commit)
    for tokens in (4096, 131072):
        told = run_fit_params(program_of(pin), path, use, context_tokens=tokens)
        ours = memory_need(shape, use, context_tokens=tokens)
        assert 0 <= (ours.cache + ours.state) / MIB - told.context < 1.01
        assert 0 <= host_weight_bytes(shape) / MIB - told.model < 1.01
