"""Tensors of the Gemma 4 family, dense and mixture of experts.

Names and shapes are what `src/models/gemma4.cpp` of llama.cpp (0c1e570) asks for.
b8643 takes gate and up of the experts only fused, so they are fused here.
"""

from collections.abc import Iterator

from llamatrix.provision.weights.synthetic.models import (
    Experts,
    Gemma4,
    Gemma4Assistant,
)
from llamatrix.provision.weights.synthetic.tensors import (
    Fill,
    GgmlType,
    Layer,
    Mix,
    Tensor,
)


def tensors(
    shape: Gemma4, mix: Mix, *, silent_tokens: tuple[int, ...]
) -> Iterator[Tensor]:
    """All tensors in file order; embeddings and output are one matrix."""
    wide = shape.embedding
    yield Tensor(
        name="token_embd.weight",
        shape=(wide, shape.vocabulary),
        type=mix.at("token_embd"),
        fill=Fill.LOUD,
        silent_rows=silent_tokens,
    )
    yield Tensor(
        name="rope_freqs.weight",
        shape=(shape.head_dim_full // 2,),
        type=GgmlType.F32,
        fill=Fill.PROPORTIONAL_ROPE,
    )
    for index in range(shape.layers):
        layer = Layer(mix=mix, index=index, of=shape.layers)
        yield from _attention(layer, shape)
        yield layer.plain("ffn_norm.weight", wide)
        yield layer.matrix("ffn_gate", wide, shape.feed_forward)
        yield layer.matrix("ffn_up", wide, shape.feed_forward)
        yield layer.matrix("ffn_down", shape.feed_forward, wide)
        if shape.experts:
            yield from _experts(layer, wide, shape.experts)
        yield layer.plain("post_ffw_norm.weight", wide)
        yield layer.plain("layer_output_scale.weight", 1)
    yield Tensor(
        name="output_norm.weight",
        shape=(wide,),
        type=GgmlType.F32,
        fill=Fill.ALTERNATING,
    )


def assistant_tensors(
    shape: Gemma4Assistant, *, silent_tokens: tuple[int, ...]
) -> Iterator[Tensor]:
    """The file that drafts for a Gemma 4: no keys and values, two projections.

    Names and shapes are what `src/models/gemma4-assistant.cpp` (0c1e570) asks for.
    """
    wide, mix = shape.embedding, Mix(types={}, rest=GgmlType.Q8_0)
    yield Tensor(
        name="token_embd.weight",
        shape=(wide, shape.vocabulary),
        type=mix.rest,
        fill=Fill.LOUD,
        silent_rows=silent_tokens,
    )
    yield Tensor(
        name="rope_freqs.weight",
        shape=(shape.head_dim_full // 2,),
        type=GgmlType.F32,
        fill=Fill.PROPORTIONAL_ROPE,
    )
    target = shape.target_embedding
    for name, own in (
        ("pre", (2 * target, wide)),
        ("post", (wide, target)),
    ):
        yield Tensor(name=f"nextn.{name}_projection.weight", shape=own, type=mix.rest)
    for index in range(shape.layers):
        layer = Layer(mix=mix, index=index, of=shape.layers)
        full = shape.is_attention(index)
        head = shape.head_dim_full if full else shape.head_dim
        yield layer.plain("attn_norm.weight", wide)
        yield layer.matrix("attn_q", wide, head * shape.heads)
        yield layer.matrix("attn_output", head * shape.heads, wide)
        yield layer.plain("attn_q_norm.weight", head)
        yield layer.plain("post_attention_norm.weight", wide)
        yield layer.plain("ffn_norm.weight", wide)
        yield layer.matrix("ffn_gate", wide, shape.feed_forward)
        yield layer.matrix("ffn_up", wide, shape.feed_forward)
        yield layer.matrix("ffn_down", shape.feed_forward, wide)
        yield layer.plain("post_ffw_norm.weight", wide)
        yield layer.plain("layer_output_scale.weight", 1)
    yield Tensor(
        name="output_norm.weight",
        shape=(wide,),
        type=GgmlType.F32,
        fill=Fill.ALTERNATING,
    )


def _attention(layer: Layer, shape: Gemma4) -> Iterator[Tensor]:
    """Full layers have larger, fewer key heads and take the keys for values."""
    full = shape.is_attention(layer.index)
    head = shape.head_dim_full if full else shape.head_dim
    kv_heads = shape.kv_heads_full if full else shape.kv_heads
    wide = shape.embedding
    yield layer.plain("attn_norm.weight", wide)
    yield layer.matrix("attn_q", wide, head * shape.heads)
    yield layer.matrix("attn_k", wide, head * kv_heads)
    if not full:
        yield layer.matrix("attn_v", wide, head * kv_heads)
    yield layer.matrix("attn_output", head * shape.heads, wide)
    yield layer.plain("attn_q_norm.weight", head)
    yield layer.plain("attn_k_norm.weight", head)
    yield layer.plain("post_attention_norm.weight", wide)


def _experts(layer: Layer, wide: int, experts: Experts) -> Iterator[Tensor]:
    yield layer.plain("ffn_gate_inp.weight", wide, experts.count, fill=Fill.RANDOM)
    yield layer.plain("ffn_gate_inp.scale", wide)
    yield layer.plain("pre_ffw_norm_2.weight", wide)
    yield layer.plain("post_ffw_norm_1.weight", wide)
    yield layer.plain("post_ffw_norm_2.weight", wide)
    narrow = experts.feed_forward
    yield layer.matrix("ffn_gate_up_exps", wide, 2 * narrow, experts.count)
    yield layer.matrix("ffn_down_exps", narrow, wide, experts.count)
    yield layer.plain("ffn_down_exps.scale", experts.count)
