"""Tensors of the Qwen3.5 family, dense and mixture of experts.

Names and shapes are what `src/models/qwen35.cpp` and `qwen35moe.cpp` of llama.cpp
(0c1e570) ask for; b8643 asks for the same.
"""

from collections.abc import Iterator

from llamatrix.provision.weights.synthetic.models import Experts, Qwen35
from llamatrix.provision.weights.synthetic.tensors import (
    Fill,
    GgmlType,
    Layer,
    Mix,
    Tensor,
)


def tensors(
    shape: Qwen35, mix: Mix, *, silent_tokens: tuple[int, ...], head: bool = False
) -> Iterator[Tensor]:
    """All tensors in file order; the output has no weight for `silent_tokens`.

    The head for multi-token prediction is one more block of full attention, which
    first joins the last hidden state with the embedding of the token that followed.
    """
    wide = shape.embedding
    yield Tensor(
        name="token_embd.weight",
        shape=(wide, shape.vocabulary),
        type=mix.at("token_embd"),
        fill=Fill.LOUD if shape.tied else Fill.RANDOM,
        silent_rows=silent_tokens if shape.tied else (),
    )
    for index in range(shape.layers):
        layer = Layer(mix=mix, index=index, of=shape.layers)
        yield from _block(layer, shape, attention=shape.is_attention(index))
    if head:
        layer = Layer(mix=mix, index=shape.layers, of=shape.layers)
        yield from _block(layer, shape, attention=True)
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
    if shape.tied:
        return
    yield Tensor(
        name="output.weight",
        shape=(wide, shape.vocabulary),
        type=mix.at("output"),
        fill=Fill.LOUD,
        silent_rows=silent_tokens,
    )


def _block(layer: Layer, shape: Qwen35, *, attention: bool) -> Iterator[Tensor]:
    wide = shape.embedding
    yield layer.plain("attn_norm.weight", wide)
    yield from _attention(layer, shape) if attention else _delta_net(layer, shape)
    yield layer.plain("post_attention_norm.weight", wide)
    if shape.experts:
        yield from _experts(layer, shape, shape.experts)
    else:
        yield layer.matrix("ffn_gate", wide, shape.feed_forward)
        yield layer.matrix("ffn_up", wide, shape.feed_forward)
        yield layer.matrix("ffn_down", shape.feed_forward, wide)


def _attention(layer: Layer, shape: Qwen35) -> Iterator[Tensor]:
    """Full attention; the query projection carries the output gate as well."""
    wide, head = shape.embedding, shape.head_dim
    yield layer.matrix("attn_q", wide, head * shape.heads * 2)
    yield layer.matrix("attn_k", wide, head * shape.kv_heads)
    yield layer.matrix("attn_v", wide, head * shape.kv_heads)
    yield layer.matrix("attn_output", head * shape.heads, wide)
    yield layer.plain("attn_q_norm.weight", head)
    yield layer.plain("attn_k_norm.weight", head)


def _delta_net(layer: Layer, shape: Qwen35) -> Iterator[Tensor]:
    wide = shape.embedding
    keys = shape.state * shape.key_heads
    values = shape.state * shape.value_heads
    channels = 2 * keys + values
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


def _experts(layer: Layer, shape: Qwen35, experts: Experts) -> Iterator[Tensor]:
    wide, narrow = shape.embedding, experts.feed_forward
    yield layer.plain("ffn_gate_inp.weight", wide, experts.count, fill=Fill.RANDOM)
    yield layer.matrix("ffn_gate_exps", wide, narrow, experts.count)
    yield layer.matrix("ffn_up_exps", wide, narrow, experts.count)
    yield layer.matrix("ffn_down_exps", narrow, wide, experts.count)
    yield layer.plain("ffn_gate_inp_shexp.weight", wide, fill=Fill.RANDOM)
    yield layer.matrix("ffn_gate_shexp", wide, shape.feed_forward)
    yield layer.matrix("ffn_up_shexp", wide, shape.feed_forward)
    yield layer.matrix("ffn_down_shexp", shape.feed_forward, wide)
