"""Complete the entry of a model from the header of its GGUF file."""

import math
import re
from collections import Counter
from functools import cache
from pathlib import Path

from msgspec.structs import replace

from llamatrix.config.matrix import Model
from llamatrix.errors import ProvisionError
from llamatrix.host import this_host
from llamatrix.progress import say
from llamatrix.provision.weights.fit import (
    CUDA_CONTEXT_BYTES,
    MemorySettings,
    largest_context,
)
from llamatrix.provision.weights.gguf_header import GgufHeader
from llamatrix.provision.weights.gguf_model import read_model
from llamatrix.provision.weights.gguf_shape import shape_of_file
from llamatrix.provision.weights.tensor_types import TENSOR_TYPES
from llamatrix.units import bytes_text

_QUANT = re.compile(
    r"(?:^|[-._])((?:UD-)?(?:I?Q\d|TQ\d|BF16|F16|F32|MXFP4|NVFP4)\w*)$", re.IGNORECASE
)
_SAMPLING = ("temp", "top_k", "top_p", "min_p")
_UNKNOWN_CONTEXT = 4096
_RESERVE_BYTES = 2**30
CONTEXT_STEP = 256
"""llama.cpp rounds a context up to a multiple of this."""
_BILLION, _MILLION = 10**9, 10**6


def complete(model: Model, path: Path) -> Model:
    """Return the entry with all that it leaves open, as the file's header has it.

    ProvisionError where the file is no language model.
    """
    context_tokens = model.ctx_size or fitting_context(path)
    return completed(replace(model, ctx_size=context_tokens), read_model(path))


@cache
def fitting_context(path: Path) -> int:
    """Return the trained context, or as much of it as fits this machine, and say so.

    That is all of its cards, less a reserve, or half of its memory, with keys and values
    in f16; 0 where the model's memory is not known.
    """
    try:
        shape = shape_of_file(path)
    except ProvisionError:
        return 0
    host = this_host()
    card_bytes = sum(card.memory_bytes for card in host.gpus) - _RESERVE_BYTES
    room_bytes = card_bytes if host.gpus else host.memory_bytes // 2
    use = MemorySettings(
        cache_type_k="f16",
        cache_type_v="f16",
        cuda_bytes=CUDA_CONTEXT_BYTES if host.gpus else 0,
    )
    fits = largest_context(shape, use, card_bytes=room_bytes)
    context_tokens = min(shape.trained_tokens, fits or _UNKNOWN_CONTEXT)
    if context_tokens < shape.trained_tokens - shape.trained_tokens % CONTEXT_STEP:
        say(
            f"{path.name}: {context_tokens:,} of the {shape.trained_tokens:,} tokens that "
            f"it was trained with fit {bytes_text(room_bytes)}; ctx_size in matrix.toml "
            "sets another context"
        )
        return context_tokens
    return shape.trained_tokens


def completed(model: Model, header: GgufHeader) -> Model:
    experts = _number(header, "expert_count")
    return replace(
        model,
        name=model.name or header.path.stem,
        architecture=model.architecture or ("MoE" if experts else "Dense"),
        quant=model.quant or quant_of(header),
        active_params=model.active_params or _active_params(header, experts),
        ctx_size=model.ctx_size
        or _number(header, "context_length")
        or _UNKNOWN_CONTEXT,
    )


def sampling_of(header: GgufHeader) -> dict[str, float]:
    """Return the sampling settings that a file recommends, by their keys in matrix.toml."""
    values = {key: header.metadata.get(f"general.sampling.{key}") for key in _SAMPLING}
    return {
        key: round(value, 6)  # a 32-bit number in the file
        for key, value in values.items()
        if isinstance(value, float | int)
    }


def quant_of(header: GgufHeader) -> str:
    """Return the quant in the file's name, else the type of most of its bytes."""
    named = _QUANT.search(header.path.stem)
    if named:
        return named[1].removeprefix("UD-")
    sizes: Counter[int] = Counter()
    for tensor in header.tensors:
        sizes[tensor.type] += tensor.bytes
    most = max(sizes, key=lambda kind: sizes[kind])
    return TENSOR_TYPES[most][0].upper() if most in TENSOR_TYPES else f"type {most}"


def _active_params(header: GgufHeader, experts: int) -> str:
    """Return the parameters that one token uses: all, but of experts those it is sent to."""
    used = _number(header, "expert_used_count")
    total = active = 0
    for tensor in header.tensors:
        elements = math.prod(tensor.shape)
        total += elements
        routed = experts and used and "_exps." in tensor.name
        active += elements * used // experts if routed else elements
    about = "~" if active != total else ""
    if active >= _BILLION:
        return f"{about}{active / _BILLION:.{1 if about else 2}f} B"
    return f"{about}{active / _MILLION:.{1 if about else 2}f} M"


def _number(header: GgufHeader, key: str) -> int:
    value = header.metadata.get(f"{header.architecture}.{key}")
    return value if isinstance(value, int) else 0
