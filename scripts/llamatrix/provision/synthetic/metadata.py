"""Header of a synthetic file: what it is, its shape, its vocabulary, its template.

The keys are those both pins' loaders ask for; the file says of itself that it is made up.
"""

from typing import TYPE_CHECKING

from llamatrix.provision.synthetic.hyperparameters import (
    CONTEXT_TOKENS,
    RMS_EPSILON,
    Gemma4,
    Qwen35,
    Shape,
    shape_of,
)
from llamatrix.provision.synthetic.spec import SyntheticSpec
from llamatrix.provision.synthetic.vocabulary import merges_of, vocabulary

if TYPE_CHECKING:
    from gguf import GGUFWriter

_FILE_TYPE_Q4_K_MEDIUM = 15
"""`LLAMA_FTYPE_MOSTLY_Q4_K_M`: llama-bench then prints `Q4_K - Medium`."""
_QUANTIZATION_VERSION = 2


def add_metadata(writer: "GGUFWriter", spec: SyntheticSpec) -> None:
    shape = shape_of(spec.model, spec.scale)
    _add_marks(writer, spec, shape)
    _add_common(writer, shape)
    match shape:
        case Qwen35():
            _add_qwen35(writer, shape)
        case Gemma4():
            _add_gemma4(writer, shape)
    _add_vocabulary(writer, shape, spec.sample)
    writer.add_chat_template(spec.chat_template)


def _add_marks(writer: "GGUFWriter", spec: SyntheticSpec, shape: Shape) -> None:
    writer.add_type("model")
    writer.add_name(f"SYNTHETIC {spec.model} ({spec.scale})")
    writer.add_description(
        "Random weights in the shapes and types of the model it is named after: for"
        " measuring speed and memory. What it says means nothing."
    )
    writer.add_tags(["synthetic", "random-weights"])
    writer.add_size_label(shape.size_label)
    writer.add_file_type(_FILE_TYPE_Q4_K_MEDIUM)
    writer.add_quantization_version(_QUANTIZATION_VERSION)
    writer.add_string("llamatrix.synthetic.digest", spec.digest())
    writer.add_uint32("llamatrix.synthetic.generator_version", spec.generator_version)


def _add_common(writer: "GGUFWriter", shape: Shape) -> None:
    writer.add_vocab_size(shape.vocabulary)
    writer.add_context_length(CONTEXT_TOKENS)
    writer.add_block_count(shape.layers)
    writer.add_embedding_length(shape.embedding)
    writer.add_head_count(shape.heads)
    writer.add_layer_norm_rms_eps(RMS_EPSILON)
    if shape.experts:
        writer.add_expert_count(shape.experts.count)
        writer.add_expert_used_count(shape.experts.used)
        writer.add_expert_feed_forward_length(shape.experts.feed_forward)


def _add_qwen35(writer: "GGUFWriter", shape: Qwen35) -> None:
    if shape.experts:
        writer.add_expert_shared_feed_forward_length(shape.feed_forward)
    else:
        writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_full_attention_interval(shape.attention_interval)
    writer.add_rope_dimension_count(shape.rope_dim)
    writer.add_rope_dimension_sections(shape.rope_sections)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_ssm_conv_kernel(shape.conv_kernel)
    writer.add_ssm_state_size(shape.state)
    writer.add_ssm_group_count(shape.key_heads)
    writer.add_ssm_time_step_rank(shape.value_heads)
    writer.add_ssm_inner_size(shape.state * shape.value_heads)


def _add_gemma4(writer: "GGUFWriter", shape: Gemma4) -> None:
    full = [shape.is_attention(layer) for layer in range(shape.layers)]
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count_kv(
        [shape.kv_heads_full if every else shape.kv_heads for every in full]
    )
    writer.add_key_length(shape.head_dim_full)
    writer.add_value_length(shape.head_dim_full)
    writer.add_key_length_swa(shape.head_dim)
    writer.add_value_length_swa(shape.head_dim)
    writer.add_sliding_window(shape.window_tokens)
    writer.add_sliding_window_pattern([not every for every in full])
    writer.add_shared_kv_layers(0)
    writer.add_embedding_length_per_layer_input(0)
    writer.add_final_logit_softcapping(shape.logit_softcap)
    writer.add_rope_dimension_count(shape.head_dim_full)
    writer.add_rope_dimension_count_swa(shape.head_dim)
    writer.add_rope_freq_base(shape.rope_base_full)
    writer.add_rope_freq_base_swa(shape.rope_base)


def _add_vocabulary(writer: "GGUFWriter", shape: Shape, sample: str) -> None:
    merges = merges_of(shape, sample)
    words = vocabulary(shape, merges)
    match shape:
        case Qwen35():
            writer.add_tokenizer_model("gpt2")
            writer.add_tokenizer_pre("qwen35")
            writer.add_add_bos_token(value=False)
        case Gemma4():
            writer.add_tokenizer_model("gemma4")
            writer.add_add_bos_token(value=True)
            writer.add_add_space_prefix(value=False)
            writer.add_token_scores([0.0] * shape.vocabulary)
    writer.add_token_list(words.tokens)
    writer.add_token_types(words.types)
    # The loaders insist on a list of merges; the one of fillers can never apply.
    lines = [" ".join(pair) for pair in merges] or ["<filler> <filler>"]
    writer.add_token_merges(lines)
    writer.add_bos_token_id(words.bos)
    writer.add_eos_token_id(words.eos)
    writer.add_pad_token_id(words.padding)
