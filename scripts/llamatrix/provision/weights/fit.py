"""Estimate the memory that a model takes on a card, from its shape alone.

The closed form is checked against llama-fit-params of the pinned builds (see
`engines/llama_cpp/fit_params.py`). It accounts for weights and cache, and:

- a delta-net layer keeps a state of fixed size in fp32
- a sliding-window layer keeps the window and one micro-batch, whatever the context
- the graph of a micro-batch: its logits in fp32, about five rows of activations, and an
  attention mask in fp16 over all cells. This matches b11434 to a mebibyte; other builds
  reserve from 160 MiB less to 80 MiB more (b8643 and 0c1e570, up to 262144 cells)
- flash attention over a quantised cache converts one layer's keys and values to fp16
  (`fattn-common.cuh`: ggml_cuda_flash_attn_ext_get_f16_extra_data)
- tables of embeddings that are only looked up stay on the host; a model that uses its
  token embeddings as its output matrix too has a second copy on the card

Servers on H100 cards without a display held up to 2 % less, never more (the `context`
records under `reports/examples`). Whole cards with a display were reported to hold 1.0
to 1.9 GiB more: the display, other programs, and server settings that the reports omit
(slots, projector). That is not part of the estimate, but of a reserve.
"""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import assert_never

from llamatrix.config.complaint import nearest
from llamatrix.errors import ProvisionError
from llamatrix.provision.weights.synthetic.layout import layout
from llamatrix.provision.weights.synthetic.models import (
    CONTEXT_TOKENS,
    Gemma4,
    Qwen35,
    Scale,
    Shape,
    SyntheticSpec,
    shape_of,
)
from llamatrix.provision.weights.tensor_types import TENSOR_TYPES

CACHE_BYTES = {
    "f32": 4.0,
    "f16": 2.0,
    "bf16": 2.0,
    "q8_0": 34 / 32,
    "q5_1": 24 / 32,
    "q5_0": 22 / 32,
    "q4_1": 20 / 32,
    "q4_0": 18 / 32,
    "iq4_nl": 18 / 32,
}
"""Bytes of one element of the cache, by llama.cpp's names."""
CUDA_CONTEXT_BYTES = 450 * 2**20
"""Assumed for CUDA itself; it takes 300 to 600 MiB, by card and driver."""
_OUTPUT_MADE_FIRST = frozenset({"gemma3n", "gemma4"})
_PAD_CELLS = 256
_F16_BYTES = 2
_F32_BYTES = 4
_ACTIVATION_ROWS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class AttentionLayers:
    """Layers of one kind that keep keys and values."""

    count: int
    key_width: int
    """Elements of one token's keys."""
    value_width: int
    """Elements of one token's values; 0 where they are part of the keys (MLA)."""
    window_tokens: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryShape:
    """The properties of a model that decide its memory."""

    architecture: str
    """As llama.cpp names it."""
    proven: bool
    """Whether the estimate was compared with llama-fit-params for this architecture."""
    notes: tuple[str, ...] = ()
    """Caveats of the estimate."""
    refusal: str = ""
    """Why the pin does not load the file; empty where it should."""
    tensor_bytes: int
    """All tensors that are loaded."""
    embedding_bytes: int
    """The tables of embeddings that stay on the host."""
    layer_bytes: tuple[int, ...] = ()
    """Of each layer's tensors; empty where they are not told apart …"""
    expert_bytes: tuple[int, ...] = ()
    """… and the part of them that `n_cpu_moe` keeps in the CPU's memory."""
    tied_bytes: int
    """The second copy of the token embeddings, where they are the output matrix."""
    attention: tuple[AttentionLayers, ...]
    state_bytes: int
    embedding: int
    vocabulary: int
    trained_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class MemorySettings:
    """The settings of a server that decide its memory."""

    cache_type_k: str = "q8_0"
    cache_type_v: str = "q8_0"
    ubatch_size: int = 512
    window_in_f16: bool = False
    """b8643 keeps the cache of sliding-window layers in fp16 in any case."""
    cuda_bytes: int = CUDA_CONTEXT_BYTES
    """0 where nothing is on a card."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryNeed:
    """Bytes on the card, by part."""

    weights: int
    cache: int
    state: int
    compute: int
    """The graph of a micro-batch."""
    scratch: int
    """Flash attention's fp16 copy of one layer."""
    cuda: int
    """CUDA's own share, assumed."""

    @property
    def total(self) -> int:
        return sum(getattr(self, field.name) for field in fields(self))


def memory_need(
    shape: MemoryShape, use: MemorySettings, *, context_tokens: int
) -> MemoryNeed:
    """Return what the card must hold with all layers on it and one sequence."""
    cells = padded(context_tokens)
    windows = [
        (layers, cells)
        if layers.window_tokens is None
        else (layers, min(cells, padded(layers.window_tokens + use.ubatch_size)))
        for layers in shape.attention
    ]
    quantised = {use.cache_type_k, use.cache_type_v} - {"f16"}
    largest = max(
        (
            (window.key_width + window.value_width) * tokens
            for window, tokens in windows
        ),
        default=0,
    )
    return MemoryNeed(
        weights=card_weight_bytes(shape),
        cache=sum(_cache_bytes(layers, tokens, use) for layers, tokens in windows),
        state=shape.state_bytes,
        compute=use.ubatch_size
        * (
            _F32_BYTES * shape.vocabulary
            + _ACTIVATION_ROWS * _F32_BYTES * shape.embedding
            + _F16_BYTES * sum({tokens for _, tokens in windows})
        ),
        scratch=_F16_BYTES * largest if quantised else 0,
        cuda=use.cuda_bytes,
    )


def offloads(shape: MemoryShape) -> Iterator[tuple[str, MemoryShape]]:
    """Yield what keeps less and less on the card: the key to set, and what is left there.

    Experts of the first layers where there are any, else whole layers with their part of
    the cache; the output stays on the card.
    """
    layers = len(shape.layer_bytes)
    if any(shape.expert_bytes):
        for count in range(1, layers + 1):
            gone = sum(shape.expert_bytes[:count])
            yield (
                f"n_cpu_moe = {count}",
                replace(shape, tensor_bytes=shape.tensor_bytes - gone),
            )
        return
    for count in range(1, layers + 1):
        left = (layers - count) / layers
        yield (
            f"n_gpu_layers = {layers + 1 - count}",
            replace(
                shape,
                tensor_bytes=shape.tensor_bytes - sum(shape.layer_bytes[:count]),
                attention=tuple(
                    replace(kind, count=math.ceil(kind.count * left))
                    for kind in shape.attention
                ),
                state_bytes=math.ceil(shape.state_bytes * left),
            ),
        )


_LAYER = re.compile(r"blk\.(\d+)\.")
_EXPERTS = re.compile(r"ffn_(up|down|gate|gate_up)_(ch|)exps")
"""The tensors of llama.cpp's own `--n-cpu-moe`."""


def bytes_by_layer(
    tensors: Iterable[tuple[str, int]],
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the bytes of each layer, and of its experts, from names and bytes."""
    whole: dict[int, int] = defaultdict(int)
    experts: dict[int, int] = defaultdict(int)
    for name, size in tensors:
        if match := _LAYER.match(name):
            whole[int(match[1])] += size
            experts[int(match[1])] += size if _EXPERTS.search(name) else 0
    layers = sorted(whole)
    return tuple(whole[one] for one in layers), tuple(experts[one] for one in layers)


def card_weight_bytes(shape: MemoryShape) -> int:
    return shape.tensor_bytes - shape.embedding_bytes + shape.tied_bytes


def host_weight_bytes(shape: MemoryShape) -> int:
    """Return all weights with everything on the host, as llama-fit-params counts them.

    A tied output matrix shares its table there, except in loaders that create it first.
    """
    twice = shape.architecture in _OUTPUT_MADE_FIRST
    return shape.tensor_bytes + (shape.tied_bytes if twice else 0)


def largest_context(
    shape: MemoryShape, use: MemorySettings, *, card_bytes: int
) -> int | None:
    """Return the most tokens that fit, up to the trained context; None if none do."""
    return largest_fitting(
        lambda tokens: memory_need(shape, use, context_tokens=tokens).total,
        trained_tokens=shape.trained_tokens,
        card_bytes=card_bytes,
    )


def largest_fitting(
    total_bytes: Callable[[int], int], *, trained_tokens: int, card_bytes: int
) -> int | None:
    """Search for the most tokens whose memory, which grows with them, fits the card."""
    low, high = 0, trained_tokens // _PAD_CELLS
    while low < high:
        middle = (low + high + 1) // 2
        fits = total_bytes(middle * _PAD_CELLS) <= card_bytes
        low, high = (middle, high) if fits else (low, middle - 1)
    return low * _PAD_CELLS or None


def padded(context_tokens: int) -> int:
    """Return the number of cells that llama.cpp allocates for a context."""
    return -(-context_tokens // _PAD_CELLS) * _PAD_CELLS


def cache_element_bytes(cache_type: str) -> float:
    if cache_type in CACHE_BYTES:
        return CACHE_BYTES[cache_type]
    for name, block, block_bytes in TENSOR_TYPES.values():
        if name.lower() == cache_type:
            return block_bytes / block
    hint = nearest(cache_type, CACHE_BYTES)
    raise ProvisionError(f"cache type {cache_type!r}: unknown{hint}")


def known_shape(model: str, scale: Scale = Scale.FULL) -> MemoryShape:
    """Return the shape of a model with known hyper-parameters and our mix of types."""
    shape = shape_of(model, scale)
    plan = layout(SyntheticSpec(model=model, scale=scale, chat_template=""))
    table = next(
        tensor for tensor in plan.tensors if tensor.name == "token_embd.weight"
    )
    tied = not any(tensor.name == "output.weight" for tensor in plan.tensors)
    layers, experts = bytes_by_layer((one.name, one.bytes) for one in plan.tensors)
    return MemoryShape(
        architecture=shape.architecture,
        proven=True,
        tensor_bytes=plan.tensor_bytes,
        layer_bytes=layers,
        expert_bytes=experts,
        embedding_bytes=table.bytes,
        tied_bytes=table.bytes if tied else 0,
        attention=_attention(shape),
        state_bytes=_state_bytes(shape),
        embedding=shape.embedding,
        vocabulary=shape.vocabulary,
        trained_tokens=CONTEXT_TOKENS,
    )


def _cache_bytes(layers: AttentionLayers, cells: int, use: MemorySettings) -> int:
    kinds = (use.cache_type_k, use.cache_type_v)
    if layers.window_tokens is not None and use.window_in_f16:
        kinds = ("f16", "f16")
    each = sum(
        width * cache_element_bytes(kind)
        for width, kind in zip(
            (layers.key_width, layers.value_width), kinds, strict=True
        )
    )
    return round(layers.count * cells * each)


def _attention(shape: Shape) -> tuple[AttentionLayers, ...]:
    full = sum(shape.is_attention(layer) for layer in range(shape.layers))
    match shape:
        case Qwen35():
            width = shape.kv_heads * shape.head_dim
            return (AttentionLayers(count=full, key_width=width, value_width=width),)
        case Gemma4():
            wide = shape.kv_heads_full * shape.head_dim_full
            width = shape.kv_heads * shape.head_dim
            return (
                AttentionLayers(count=full, key_width=wide, value_width=wide),
                AttentionLayers(
                    count=shape.layers - full,
                    key_width=width,
                    value_width=width,
                    window_tokens=shape.window_tokens,
                ),
            )
        case _:
            assert_never(shape)


def _state_bytes(shape: Shape) -> int:
    if isinstance(shape, Gemma4):
        return 0
    channels = shape.state * (2 * shape.key_heads + shape.value_heads)
    memory = shape.state * shape.state * shape.value_heads
    layers = sum(not shape.is_attention(layer) for layer in range(shape.layers))
    return _F32_BYTES * layers * (memory + (shape.conv_kernel - 1) * channels)
