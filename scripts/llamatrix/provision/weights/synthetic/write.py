"""Write a synthetic GGUF as a stream: memory use does not depend on the size.

The header has the keys that both pins' loaders require, and marks the file as synthetic.
"""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedWriter
from pathlib import Path
from typing import IO, TYPE_CHECKING

from llamatrix.errors import ProvisionError
from llamatrix.provision.weights.synthetic.blocks import Pools
from llamatrix.provision.weights.synthetic.layout import Layout, layout
from llamatrix.provision.weights.synthetic.models import (
    CONTEXT_TOKENS,
    RMS_EPSILON,
    Gemma4,
    Gemma4Assistant,
    Qwen35,
    Shape,
    SyntheticSpec,
)
from llamatrix.provision.weights.synthetic.vocabulary import merges_of, vocabulary
from llamatrix.units import bytes_text

if TYPE_CHECKING:
    from gguf import GGUFWriter

_FILE_TYPE_Q4_K_MEDIUM = 15
"""`LLAMA_FTYPE_MOSTLY_Q4_K_M`: llama-bench then prints `Q4_K - Medium`."""
_QUANTIZATION_VERSION = 2


def add_metadata(writer: "GGUFWriter", spec: SyntheticSpec) -> None:
    shape = spec.shape
    _add_marks(writer, spec, shape)
    head = spec.head and isinstance(shape, Qwen35)
    _add_common(writer, shape, blocks=shape.layers + head)
    if head:
        writer.add_nextn_predict_layers(1)
    match shape:
        case Gemma4Assistant():
            writer.add_nextn_predict_layers(shape.layers)
            writer.add_embedding_length_out(shape.target_embedding)
            _add_gemma4(writer, shape, shared_kv_layers=shape.layers)
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


def _add_common(writer: "GGUFWriter", shape: Shape, *, blocks: int) -> None:
    writer.add_vocab_size(shape.vocabulary)
    writer.add_context_length(CONTEXT_TOKENS)
    writer.add_block_count(blocks)
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


def _add_gemma4(
    writer: "GGUFWriter", shape: Gemma4, *, shared_kv_layers: int = 0
) -> None:
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
    writer.add_shared_kv_layers(shared_kv_layers)
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
    # The loaders require a list of merges; this one of fillers never applies.
    lines = [" ".join(pair) for pair in merges] or ["<filler> <filler>"]
    writer.add_token_merges(lines)
    writer.add_bos_token_id(words.bos)
    writer.add_eos_token_id(words.eos)
    writer.add_pad_token_id(words.padding)


ALIGNMENT = 32
"""Tensor data begins, and each tensor is padded, to a multiple of this many bytes."""


def write_header(file: BufferedWriter, spec: SyntheticSpec, plan: Layout) -> None:
    """Write header, metadata and tensor list; the next byte is the first of the data."""
    # Imported here because gguf brings numpy: `invoke plan` must not wait for it.
    import numpy as np
    from gguf import GGMLQuantizationType, GGUFWriter
    from gguf.gguf_writer import WriterState

    writer = GGUFWriter(None, spec.shape.architecture)
    add_metadata(writer, spec)
    for tensor in plan.tensors:
        writer.add_tensor_info(
            tensor.name,
            tensor.shape[::-1],
            np.dtype(np.float32),  # ignored: raw_dtype decides
            tensor.bytes,
            raw_dtype=GGMLQuantizationType[tensor.type],
        )
    # The file is the caller's, which closes it in every case.
    writer.fout, writer.state = [file], WriterState.EMPTY
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.write_padding(file, file.tell())


_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


def write(
    spec: SyntheticSpec,
    path: Path,
    *,
    on_bytes: Callable[[int], None],
    sparse: bool = False,
) -> None:
    """Write the file; a failure leaves no file and is a ProvisionError.

    `on_bytes` gets increments that add up to the size of the file. `sparse` leaves the
    tensor data a hole, which is enough for llama-fit-params.
    """
    plan = layout(spec)
    needed = 0 if sparse else plan.tensor_bytes
    try:
        if shutil.disk_usage(path.parent).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301
        with path.open("wb") as file, _removed_on_failure(path):
            write_header(file, spec, plan)
            on_bytes(file.tell())
            if sparse:
                _leave_hole(file, plan, on_bytes)
            else:
                _write_tensors(file, spec, plan, on_bytes)
            file.flush()
    except OSError as error:
        raise ProvisionError(_complaint(error, path, needed)) from error


@contextmanager
def _removed_on_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if path.is_file():  # and not a device such as /dev/full
            path.unlink()
        raise


def _write_tensors(
    file: IO[bytes], spec: SyntheticSpec, plan: Layout, on_bytes: Callable[[int], None]
) -> None:
    largest = max(tensor.bytes for tensor in plan.tensors)
    pools = Pools(spec.digest(), limit_bytes=largest)
    for tensor in plan.tensors:
        start = file.tell()
        for piece in pools.stream(tensor):
            file.write(piece)
            on_bytes(len(piece))
        padding = bytes(-tensor.bytes % ALIGNMENT)
        file.write(padding)
        on_bytes(len(padding))
        for row in tensor.silent_rows:
            file.seek(start + row * tensor.row_bytes)
            file.write(bytes(tensor.row_bytes))
        file.seek(0, os.SEEK_END)


def _leave_hole(file: IO[bytes], plan: Layout, on_bytes: Callable[[int], None]) -> None:
    hole = sum(tensor.bytes + -tensor.bytes % ALIGNMENT for tensor in plan.tensors)
    file.truncate(file.tell() + hole)
    on_bytes(hole)


def _complaint(error: OSError, path: Path, needed: int) -> str:
    if error.errno not in _NO_ROOM:
        return f"{path}: cannot be written: {error.strerror}; it was removed"
    place = next(folder for folder in path.resolve().parents if folder.is_mount())
    free = shutil.disk_usage(place).free
    return (
        f"{path}: no room on the filesystem at {place}: {bytes_text(needed)} needed,"
        f" {bytes_text(free)} free; make room there or use another folder, and start"
        " again"
    )
