"""The tensors of a synthetic file, listed without importing anything big.

Names and shapes are what `qwen35.cpp`, `qwen35moe.cpp`, `gemma4.cpp` and
`gemma4-assistant.cpp` under `src/models` of llama.cpp (0c1e570) ask for, and b8643 too.
b8643 takes gate and up of Gemma's experts only fused, so they are fused here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import assert_never

from llamatrix.provision.weights.synthetic.models import (
    Gemma4,
    Gemma4Assistant,
    Qwen35,
    Shape,
    SyntheticSpec,
)
from llamatrix.provision.weights.synthetic.tensors import (
    MIXES,
    Fill,
    GgmlType,
    Layer,
    Mix,
    Tensor,
)
from llamatrix.provision.weights.synthetic.vocabulary import silent_tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    tensors: tuple[Tensor, ...]
    """In file order."""

    @property
    def tensor_bytes(self) -> int:
        """The size that llama-bench prints: without header and padding."""
        return sum(tensor.bytes for tensor in self.tensors)


def layout(spec: SyntheticSpec) -> Layout:
    """Return the tensors of the file that `write` makes."""
    shape = spec.shape
    match shape:
        case Gemma4Assistant():
            tensors = _gemma4(shape, Mix(types={}, rest=GgmlType.Q8_0))
        case Qwen35():
            tensors = _qwen35(shape, MIXES[spec.model], head=spec.head)
        case Gemma4():
            tensors = _gemma4(shape, MIXES[spec.model])
        case _:
            assert_never(shape)
    return Layout(tensors=tuple(tensors))


def _qwen35(shape: Qwen35, mix: Mix, *, head: bool) -> Iterator[Tensor]:
    """Yield all tensors; the output has no weight for silent tokens.

    The head for multi-token prediction is one more block of full attention, which
    first joins the last hidden state with the embedding of the token that followed.
    """
    wide = shape.embedding
    silent = silent_tokens(shape)
    yield Tensor(
        name="token_embd.weight",
        shape=(wide, shape.vocabulary),
        type=mix.at("token_embd"),
        fill=Fill.LOUD if shape.tied else Fill.RANDOM,
        silent_rows=silent if shape.tied else (),
    )
    for index in range(shape.layers):
        layer = Layer(mix=mix, index=index, of=shape.layers)
        yield from _qwen35_block(layer, shape, attention=shape.is_attention(index))
    if head:
        layer = Layer(mix=mix, index=shape.layers, of=shape.layers)
        yield from _qwen35_block(layer, shape, attention=True)
        yield layer.matrix("nextn.eh_proj", 2 * wide, wide)
        yield layer.plain("nextn.enorm.weight", wide)
        yield layer.plain("nextn.hnorm.weight", wide)
        yield layer.plain("nextn.shared_head_norm.weight", wide)
    yield Tensor(
        name="output_norm.weight",
        shape=(wide,),
        type=GgmlType.F32,
        fill=Fill.ALTERNATING if shape.tied else Fill.ONES,
    )
    if not shape.tied:
        yield Tensor(
            name="output.weight",
            shape=(wide, shape.vocabulary),
            type=mix.at("output"),
            fill=Fill.LOUD,
            silent_rows=silent,
        )


def _qwen35_block(layer: Layer, shape: Qwen35, *, attention: bool) -> Iterator[Tensor]:
    wide = shape.embedding
    yield layer.plain("attn_norm.weight", wide)
    if attention:  # the query projection carries the output gate as well
        head = shape.head_dim
        yield layer.matrix("attn_q", wide, head * shape.heads * 2)
        yield layer.matrix("attn_k", wide, head * shape.kv_heads)
        yield layer.matrix("attn_v", wide, head * shape.kv_heads)
        yield layer.matrix("attn_output", head * shape.heads, wide)
        yield layer.plain("attn_q_norm.weight", head)
        yield layer.plain("attn_k_norm.weight", head)
    else:
        yield from _delta_net(layer, shape)
    yield layer.plain("post_attention_norm.weight", wide)
    if experts := shape.experts:
        narrow = experts.feed_forward
        yield layer.plain("ffn_gate_inp.weight", wide, experts.count, fill=Fill.RANDOM)
        yield layer.matrix("ffn_gate_exps", wide, narrow, experts.count)
        yield layer.matrix("ffn_up_exps", wide, narrow, experts.count)
        yield layer.matrix("ffn_down_exps", narrow, wide, experts.count)
        yield layer.plain("ffn_gate_inp_shexp.weight", wide, fill=Fill.RANDOM)
    yield from _feed_forward(layer, shape, "_shexp" if experts else "")


def _delta_net(layer: Layer, shape: Qwen35) -> Iterator[Tensor]:
    wide = shape.embedding
    values = shape.state * shape.value_heads
    channels = 2 * shape.state * shape.key_heads + values
    yield layer.matrix("attn_qkv", wide, channels)
    yield layer.matrix("attn_gate", wide, values)
    yield layer.plain(
        "ssm_conv1d.weight", shape.conv_kernel, channels, fill=Fill.RANDOM
    )
    yield layer.plain("ssm_dt.bias", shape.value_heads, fill=Fill.RANDOM)
    yield layer.plain("ssm_a", shape.value_heads, fill=Fill.DECAY)
    yield layer.matrix("ssm_beta", wide, shape.value_heads)
    yield layer.matrix("ssm_alpha", wide, shape.value_heads)
    yield layer.plain("ssm_norm.weight", shape.state)
    yield layer.matrix("ssm_out", values, wide)


def _gemma4(shape: Gemma4, mix: Mix) -> Iterator[Tensor]:
    """Yield all tensors; embeddings and output are one matrix.

    The assistant, which drafts for a model, has no keys and values of its own and two
    projections from and to the width of its target.
    """
    wide = shape.embedding
    yield Tensor(
        name="token_embd.weight",
        shape=(wide, shape.vocabulary),
        type=mix.at("token_embd"),
        fill=Fill.LOUD,
        silent_rows=silent_tokens(shape),
    )
    yield Tensor(
        name="rope_freqs.weight",
        shape=(shape.head_dim_full // 2,),
        type=GgmlType.F32,
        fill=Fill.PROPORTIONAL_ROPE,
    )
    if isinstance(shape, Gemma4Assistant):
        target = shape.target_embedding
        for end, sizes in (("pre", (2 * target, wide)), ("post", (wide, target))):
            name = f"nextn.{end}_projection.weight"
            yield Tensor(name=name, shape=sizes, type=mix.rest)
    for index in range(shape.layers):
        layer = Layer(mix=mix, index=index, of=shape.layers)
        yield from _gemma4_attention(layer, shape)
        yield layer.plain("ffn_norm.weight", wide)
        yield from _feed_forward(layer, shape)
        if experts := shape.experts:
            narrow, count = experts.feed_forward, experts.count
            yield layer.plain("ffn_gate_inp.weight", wide, count, fill=Fill.RANDOM)
            yield layer.plain("ffn_gate_inp.scale", wide)
            yield layer.plain("pre_ffw_norm_2.weight", wide)
            yield layer.plain("post_ffw_norm_1.weight", wide)
            yield layer.plain("post_ffw_norm_2.weight", wide)
            yield layer.matrix("ffn_gate_up_exps", wide, 2 * narrow, count)
            yield layer.matrix("ffn_down_exps", narrow, wide, count)
            yield layer.plain("ffn_down_exps.scale", count)
        yield layer.plain("post_ffw_norm.weight", wide)
        yield layer.plain("layer_output_scale.weight", 1)
    yield Tensor(
        name="output_norm.weight",
        shape=(wide,),
        type=GgmlType.F32,
        fill=Fill.ALTERNATING,
    )


def _gemma4_attention(layer: Layer, shape: Gemma4) -> Iterator[Tensor]:
    """Yield a layer's attention; full layers have larger, fewer key heads and no values."""
    full = shape.is_attention(layer.index)
    head = shape.head_dim_full if full else shape.head_dim
    keys = head * (shape.kv_heads_full if full else shape.kv_heads)
    wide = shape.embedding
    has_keys = not isinstance(shape, Gemma4Assistant)
    yield layer.plain("attn_norm.weight", wide)
    yield layer.matrix("attn_q", wide, head * shape.heads)
    if has_keys:
        yield layer.matrix("attn_k", wide, keys)
        if not full:
            yield layer.matrix("attn_v", wide, keys)
    yield layer.matrix("attn_output", head * shape.heads, wide)
    yield layer.plain("attn_q_norm.weight", head)
    if has_keys:
        yield layer.plain("attn_k_norm.weight", head)
    yield layer.plain("post_attention_norm.weight", wide)


def _feed_forward(layer: Layer, shape: Shape, suffix: str = "") -> Iterator[Tensor]:
    wide = shape.embedding
    yield layer.matrix(f"ffn_gate{suffix}", wide, shape.feed_forward)
    yield layer.matrix(f"ffn_up{suffix}", wide, shape.feed_forward)
    yield layer.matrix(f"ffn_down{suffix}", shape.feed_forward, wide)
