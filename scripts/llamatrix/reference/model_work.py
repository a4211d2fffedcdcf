"""The work of a model on a GPU: bytes read per token, operations per prompt token.

Weights, from any list of tensors (planned, or from a file's metadata):

- a generated token reads every tensor once, but only used/count of the experts
  (`*_exps`) and nothing of the token table, unless it is also the output matrix
- a prompt token takes 2 operations per parameter, with the same shares and without the
  output matrix, which only the last token of a prompt needs

Attention adds to this: the cache is read for every generated token, and each prompt token
attends to half of the prompt on average, with 4 operations per element of the heads'
width (scores and values). A sliding window bounds both. Delta-net layers read a state of
fixed size in fp32; their few operations are omitted. Omissions make a limit too high,
never too low.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from llamatrix.provision.weights.synthetic.layout import layout
from llamatrix.provision.weights.synthetic.models import (
    MODELS,
    Experts,
    Qwen35,
    Scale,
    Shape,
    SyntheticSpec,
    shape_of,
)
from llamatrix.reference.reference_set import Claim

_READ_OF_ACTIVE = 0.9
"""Of the published active parameters: they include the token table, which is not read."""
_MULTIPLIED_OF_ACTIVE = 0.75
"""The same for a prompt, which does not use the output matrix either."""


class TensorSize(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def elements(self) -> int: ...
    @property
    def bytes(self) -> int: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Attention:
    layers: int
    kv_width: int
    """Elements of one token's keys; its values have as many."""
    query_width: int
    """Heads × head size."""
    window_tokens: int | None = None

    def seen(self, tokens: float) -> float:
        """Return how many of the earlier tokens a token attends to."""
        return min(tokens, self.window_tokens or tokens)

    def mean_seen(self, prompt_tokens: int) -> float:
        """Return the mean over the tokens of a prompt, each including itself."""
        window = min(prompt_tokens, self.window_tokens or prompt_tokens)
        first = window * (window + 1) / 2
        return (first + (prompt_tokens - window) * window) / prompt_tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelWork:
    tensor_bytes: int
    total_params: int
    read_bytes: float
    """Of weights, for one generated token."""
    prompt_params: float
    """Multiplied for one prompt token."""
    attention: tuple[Attention, ...] = ()
    state_bytes: int = 0
    """Of delta-net layers, read for every token."""

    def cache_bytes(self, depth_tokens: float, *, element_bytes: float) -> float:
        """Return the bytes read for a token that follows `depth_tokens` others."""
        return sum(
            2 * kind.layers * kind.kv_width * kind.seen(depth_tokens) * element_bytes
            for kind in self.attention
        )

    def prompt_operations(self, prompt_tokens: int) -> float:
        """Return the mean operations per token of a prompt of this length."""
        return 2 * self.prompt_params + sum(
            4 * kind.layers * kind.query_width * kind.mean_seen(prompt_tokens)
            for kind in self.attention
        )


def work_of(
    tensors: Iterable[TensorSize],
    *,
    experts: Experts | None,
    attention: tuple[Attention, ...] = (),
    state_bytes: int = 0,
) -> ModelWork:
    listed = tuple(tensors)
    tied = not any(tensor.name == "output.weight" for tensor in listed)
    used = experts.used / experts.count if experts else 1.0
    read_bytes = prompt_params = 0.0
    for tensor in listed:
        share = used if "_exps." in tensor.name else 1.0
        if tensor.name != "token_embd.weight" or tied:
            read_bytes += share * tensor.bytes
        if tensor.name not in {"token_embd.weight", "output.weight"}:
            prompt_params += share * tensor.elements
    return ModelWork(
        tensor_bytes=sum(tensor.bytes for tensor in listed),
        total_params=sum(tensor.elements for tensor in listed),
        read_bytes=read_bytes,
        prompt_params=prompt_params,
        attention=attention,
        state_bytes=state_bytes,
    )


def claim_work(claim: Claim) -> ModelWork | None:
    """Return the work by the set's shape, else by that of the model or its proxy."""
    if claim.shape is None:
        return known_work(claim.architecture_key)
    shape = claim.shape
    active = (shape.active_params_b or shape.total_params_b) * 1e9
    return ModelWork(
        tensor_bytes=round(shape.total_params_b * 1e9),
        total_params=round(shape.total_params_b * 1e9),
        read_bytes=_READ_OF_ACTIVE * active,
        prompt_params=_MULTIPLIED_OF_ACTIVE * active,
        attention=tuple(
            _layers(
                *(kind.layers, kind.heads or kind.kv_heads, kind.kv_heads),
                *(kind.head_dim, kind.window_tokens),
            )
            for kind in shape.attention
        ),
        state_bytes=shape.state_bytes,
    )


@cache
def known_work(model: str) -> ModelWork | None:
    """Return the work of a model with known hyper-parameters and a synthetic type mix."""
    if model not in MODELS:
        return None
    shape = shape_of(model, Scale.FULL)
    plan = layout(SyntheticSpec(model=model, scale=Scale.FULL, chat_template=""))
    return work_of(
        plan.tensors,
        experts=shape.experts,
        attention=_attention(shape),
        state_bytes=_state_bytes(shape),
    )


def _attention(shape: Shape) -> tuple[Attention, ...]:
    full = sum(map(shape.is_attention, range(shape.layers)))
    kv_heads, head_dim = shape.kv_heads, shape.head_dim
    if isinstance(shape, Qwen35):
        return (_layers(full, shape.heads, kv_heads, head_dim),)
    wide = _layers(full, shape.heads, shape.kv_heads_full, shape.head_dim_full)
    sliding = _layers(
        shape.layers - full, shape.heads, kv_heads, head_dim, shape.window_tokens
    )
    return (wide, sliding)


def _layers(
    count: int, heads: int, kv_heads: int, head_dim: int, window: int | None = None
) -> Attention:
    return Attention(
        layers=count,
        kv_width=kv_heads * head_dim,
        query_width=heads * head_dim,
        window_tokens=window,
    )


def _state_bytes(shape: Shape) -> int:
    """Return four bytes per element of the delta net's and the convolution's state."""
    if not isinstance(shape, Qwen35):
        return 0
    linear = sum(not shape.is_attention(layer) for layer in range(shape.layers))
    channels = shape.state * (2 * shape.key_heads + shape.value_heads)
    state = shape.state * shape.state * shape.value_heads
    return 4 * linear * (state + (shape.conv_kernel - 1) * channels)
