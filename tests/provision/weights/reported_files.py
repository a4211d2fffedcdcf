"""Headers of files from public bug reports, whose memory estimators got wrong.

Sources: gpustack/gguf-parser-go#32 (gpt-oss, E4B, MTP), ikawrakow/ik_llama.cpp#822,
unslothai/unsloth#5225 and #6312, ggml-org/llama.cpp#22673 and #27349 (a blob with
vision), #7799 (a projector), #13943 (big-endian); tobocop2/lilbee#759 (type 42).
"""

from pathlib import Path

from tests.mini_gguf import F16, Q4_K, Q6_K, Q8_0, Metadata, TensorSpec, write_gguf

TABLES: tuple[TensorSpec, ...] = (
    ("token_embd.weight", [5120, 64], F16),
    ("output.weight", [5120, 64], F16),
)


def keys_of(architecture: str, **values: object) -> Metadata:
    """Metadata of an architecture; `a__b` stands for `a.b`."""
    prefixed = {
        f"{architecture}.{name.replace('__', '.')}": value
        for name, value in values.items()
    }
    return {"general.architecture": architecture, **prefixed}  # type: ignore[dict-item]


def gpt_oss(folder: Path, **more: object) -> Path:
    """gpt-oss-20b: a window in the file, and no pattern."""
    keys = keys_of(
        "gpt-oss",
        block_count=24,
        context_length=131072,
        embedding_length=2880,
        attention__head_count=64,
        attention__head_count_kv=8,
        attention__key_length=64,
        attention__value_length=64,
        attention__sliding_window=128,
        **more,
    )
    tables: list[TensorSpec] = [
        ("token_embd.weight", [2880, 64], F16),
        ("output.weight", [2880, 64], F16),
    ]
    return write_gguf(folder / "gpt-oss-20b.gguf", keys, tables)


def gemma4_e4b(folder: Path, *, table_type: int = Q6_K) -> Path:
    """Gemma 4 E4B: 18 of 42 layers share caches; a table of embeddings per layer."""
    keys = keys_of(
        "gemma4",
        block_count=42,
        context_length=131072,
        embedding_length=2560,
        embedding_length_per_layer_input=256,
        attention__head_count=8,
        attention__head_count_kv=2,
        attention__key_length=512,
        attention__value_length=512,
        attention__key_length_swa=256,
        attention__value_length_swa=256,
        attention__sliding_window=512,
        attention__sliding_window_pattern=[bool((one + 1) % 6) for one in range(42)],
        attention__shared_kv_layers=18,
    )
    tensors: list[TensorSpec] = [
        ("token_embd.weight", [2560, 262144], Q6_K),
        ("per_layer_token_embd.weight", [42 * 256, 262144], table_type),
        ("blk.0.ffn_up.weight", [2560, 10240], Q4_K),
    ]
    return write_gguf(folder / "gemma-4-E4B-it.gguf", keys, tensors)


def qwen35_27b(folder: Path, *, name: str = "27B.gguf", order: str = "<") -> Path:
    return write_gguf(folder / name, _delta_net(64), TABLES, order=order)


def qwen35_prediction(folder: Path) -> Path:
    """The 27B with its prediction block inside `block_count`."""
    keys = {**_delta_net(65), "qwen35.nextn_predict_layers": 1}
    tensors: list[TensorSpec] = [
        *TABLES,
        ("blk.0.ffn_up.weight", [5120, 17408], Q4_K),
        ("blk.64.nextn.eh_proj.weight", [10240, 5120], Q8_0),
        ("blk.64.ffn_up.weight", [5120, 17408], Q8_0),
    ]
    return write_gguf(folder / "Qwen3.6-27B-MTP.gguf", keys, tensors)


def newer_type(folder: Path, number: int) -> Path:
    """A 27B of a tensor type by its number, in blocks of 32 and 10 bytes."""
    tensors: list[TensorSpec] = [
        *TABLES,
        ("blk.0.ffn_up.weight", [5120, 17408], number),
    ]
    path = folder / f"27B-type-{number}.gguf"
    return write_gguf(path, _delta_net(64), tensors, block_sizes={number: (32, 10)})


def _delta_net(layers: int) -> Metadata:
    return keys_of(
        "qwen35",
        block_count=layers,
        context_length=262144,
        embedding_length=5120,
        full_attention_interval=4,
        attention__head_count=24,
        attention__head_count_kv=4,
        attention__key_length=256,
        attention__value_length=256,
        ssm__state_size=128,
        ssm__group_count=16,
        ssm__time_step_rank=48,
        ssm__conv_kernel=4,
        ssm__inner_size=6144,
    )


def vision_inside(folder: Path) -> Path:
    """A text model whose vision and audio tensors are in the same file."""
    keys = keys_of(
        "gemma4",
        block_count=6,
        context_length=8192,
        embedding_length=2560,
        attention__head_count_kv=2,
        attention__key_length=512,
        attention__value_length=512,
        attention__sliding_window=512,
        attention__sliding_window_pattern=[True] * 5 + [False],
    )
    tensors: list[TensorSpec] = [
        ("token_embd.weight", [2560, 1024], F16),
        *((f"v.blk.{one}.attn_q.weight", [4096, 4096], F16) for one in range(16)),
        *((f"a.blk.{one}.conv.weight", [4096, 4096], F16) for one in range(16)),
        ("mm.input_projection.weight", [2560, 4096], F16),
    ]
    return write_gguf(folder / "gemma4-e4b-blob.gguf", keys, tensors)


def projector(folder: Path) -> Path:
    keys: Metadata = {
        "general.architecture": "clip",
        "general.type": "mmproj",
        "clip.has_vision_encoder": True,
    }
    tensors: list[TensorSpec] = [("v.patch_embd.weight", [16, 16, 3, 1152], F16)]
    return write_gguf(folder / "mmproj-F16.gguf", keys, tensors)
