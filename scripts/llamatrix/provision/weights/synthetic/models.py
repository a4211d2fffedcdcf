"""Specify a synthetic file, and the shapes of the models, full and tiny.

Full-size values come from public key dumps of the real files: Qwen3.5-27B from
ggml-org/llama.cpp#23792 and #22673, Qwen3.5-35B-A3B from ikawrakow/ik_llama.cpp#1432,
Gemma4-26B-A4B from `models/ggml-vocab-gemma-4.gguf` in llama.cpp's own tree,
Gemma4-31B from ggml-org/llama.cpp#21760 and kyuz0/amd-strix-halo-toolboxes#89,
the assistant of Gemma4-26B-A4B from a public dump of its 49 tensors and keys,
Qwen3.5-9B from ollama/ollama#16685 and ggml-org/llama.cpp#20761, Qwen3.5-4B from
huggingface/candle#3821; both have as many parameters as these name.
Tiny ones are ours: the same structure in the smallest sizes that keep K-quants
(rows of 256), a q8_0 KV cache (heads of 32 n) and the CUDA kernels' shapes.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from enum import StrEnum

from llamatrix.config.cell import GENERATOR_VERSIONS
from llamatrix.config.complaint import nearest
from llamatrix.config.matrix import WeightsKind
from llamatrix.errors import ProvisionError


class Scale(StrEnum):
    TINY = "tiny"
    """The structure at a few MB: loads in milliseconds."""
    FULL = "full"
    """The published sizes, to the last tensor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SyntheticSpec:
    model: str
    """Key of the model in the matrix, for example `qwen35-27b`."""
    scale: Scale
    chat_template: str
    """Jinja text, embedded unchanged."""
    seed: int = 0
    sample: str = ""
    """A text that the vocabulary learns words from; empty for bytes alone."""
    head: bool = False
    """For `draft-mtp`: Qwen3.5's file with a head for multi-token prediction, one block
    more; of Gemma 4 the assistant's file, which drafts for the model's."""

    def __post_init__(self) -> None:
        shape = shape_of(self.model, self.scale)
        if self.head and isinstance(shape, Gemma4) and self.model not in _ASSISTANTS:
            raise ProvisionError(
                f"synthetic weights for {self.model!r}: the shape of its assistant is "
                "not known"
            )

    @property
    def shape(self) -> "Shape":
        """Of the file: the model's own, or its assistant's."""
        if self.head and self.model in _ASSISTANTS:
            return _ASSISTANTS[self.model][self.scale]
        return shape_of(self.model, self.scale)

    @property
    def generator_version(self) -> int:
        return GENERATOR_VERSIONS[WeightsKind(self.scale)]

    def digest(self) -> str:
        """Return a sha256 over everything that decides the bytes."""
        facts = [
            self.generator_version,
            self.model,
            self.scale,
            self.chat_template,
            self.seed,
            self.sample,
            *(["head"] if self.head else []),
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


CONTEXT_TOKENS = 262144
"""Trained context of all four; kept at tiny scale, so that agents' prompts fit."""
RMS_EPSILON = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class Experts:
    count: int
    used: int
    feed_forward: int
    """Width of one expert."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Qwen35:
    """Gated delta net with full attention in every fourth layer."""

    size_label: str
    layers: int
    embedding: int
    feed_forward: int
    """Width of the dense network, or of the shared expert."""
    experts: Experts | None = None
    heads: int
    kv_heads: int
    head_dim: int = 256
    attention_interval: int = 4
    conv_kernel: int = 4
    state: int = 128
    """Head size of keys and values in the delta net."""
    key_heads: int = 16
    """`ssm.group_count`"""
    value_heads: int
    """`ssm.time_step_rank`"""
    rope_dim: int = 64
    rope_sections: tuple[int, int, int, int] = (11, 11, 10, 0)
    rope_base: float = 1e7
    vocabulary: int = 248320
    tied: bool = False
    """Whether the token embeddings are the output matrix too."""

    @property
    def architecture(self) -> str:
        return "qwen35moe" if self.experts else "qwen35"

    def is_attention(self, layer: int) -> bool:
        return (layer + 1) % self.attention_interval == 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Gemma4:
    """Five layers of sliding-window attention to one of full attention."""

    size_label: str
    layers: int
    embedding: int
    feed_forward: int
    experts: Experts | None = None
    heads: int
    kv_heads: int
    """In a sliding-window layer."""
    kv_heads_full: int
    head_dim: int = 256
    head_dim_full: int = 512
    attention_interval: int = 6
    window_tokens: int = 1024
    rope_base: float = 1e4
    rope_base_full: float = 1e6
    logit_softcap: float = 30.0
    vocabulary: int = 262144
    architecture: str = "gemma4"

    def is_attention(self, layer: int) -> bool:
        """Whether a layer attends to everything."""
        return (layer + 1) % self.attention_interval == 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Gemma4Assistant(Gemma4):
    """Drafts with the keys and values of its target: it has none of its own."""

    target_embedding: int
    architecture: str = "gemma4-assistant"


Shape = Qwen35 | Gemma4

_QWEN_DENSE = Qwen35(
    size_label="27B",
    layers=64,
    embedding=5120,
    feed_forward=17408,
    heads=24,
    kv_heads=4,
    value_heads=48,
)
_QWEN_9B = Qwen35(
    size_label="9B",
    layers=32,
    embedding=4096,
    feed_forward=12288,
    heads=16,
    kv_heads=4,
    value_heads=32,
)
_QWEN_4B = Qwen35(
    size_label="4B",
    layers=32,
    embedding=2560,
    feed_forward=9216,
    heads=16,
    kv_heads=4,
    value_heads=32,
    tied=True,
)
_QWEN_MOE = Qwen35(
    size_label="35B-A3B",
    layers=40,
    embedding=2048,
    feed_forward=512,
    experts=Experts(count=256, used=8, feed_forward=512),
    heads=16,
    kv_heads=2,
    value_heads=32,
)
_GEMMA_MOE = Gemma4(
    size_label="26B-A4B",
    layers=30,
    embedding=2816,
    feed_forward=2112,
    experts=Experts(count=128, used=8, feed_forward=704),
    heads=16,
    kv_heads=8,
    kv_heads_full=2,
)
_GEMMA_DENSE = Gemma4(
    size_label="31B",
    layers=60,
    embedding=5376,
    feed_forward=21504,
    heads=32,
    kv_heads=16,
    kv_heads_full=4,
)


def _tiny_qwen(experts: Experts | None) -> Qwen35:
    return Qwen35(
        size_label="tiny",
        layers=4,
        embedding=256,
        feed_forward=256 if experts else 512,
        experts=experts,
        heads=2,  # each head adds to the cost of an agent's long prompt
        kv_heads=1,
        head_dim=128,
        state=64,
        key_heads=2,
        value_heads=4,
        vocabulary=4096,
    )


def _tiny_gemma(experts: Experts | None) -> Gemma4:
    return Gemma4(
        size_label="tiny",
        layers=6,
        embedding=256,
        feed_forward=288 if experts else 512,
        experts=experts,
        heads=4,
        kv_heads=2,
        kv_heads_full=1,
        head_dim=64,
        head_dim_full=128,
        vocabulary=512,
    )


_ASSISTANTS: dict[str, dict[Scale, Gemma4Assistant]] = {
    "gemma4-26b-a4b": {
        Scale.FULL: Gemma4Assistant(
            size_label="26B-A4B-assistant",
            layers=4,
            embedding=1024,
            feed_forward=8192,
            heads=16,
            kv_heads=8,
            kv_heads_full=2,
            attention_interval=4,
            target_embedding=2816,
        ),
        Scale.TINY: Gemma4Assistant(
            size_label="tiny-assistant",
            layers=4,
            embedding=128,
            feed_forward=256,
            heads=4,
            kv_heads=2,
            kv_heads_full=1,
            head_dim=64,
            head_dim_full=128,
            attention_interval=4,
            vocabulary=512,
            target_embedding=256,
        ),
    },
}

_SHAPES: dict[str, dict[Scale, Shape]] = {
    "qwen35-27b": {Scale.FULL: _QWEN_DENSE, Scale.TINY: _tiny_qwen(None)},
    "qwen35-35b-a3b": {
        Scale.FULL: _QWEN_MOE,
        Scale.TINY: _tiny_qwen(Experts(count=8, used=2, feed_forward=256)),
    },
    "qwen35-9b": {Scale.FULL: _QWEN_9B, Scale.TINY: _tiny_qwen(None)},
    "qwen35-4b": {
        Scale.FULL: _QWEN_4B,
        Scale.TINY: replace(_tiny_qwen(None), tied=True),
    },
    "gemma4-26b-a4b": {
        Scale.FULL: _GEMMA_MOE,
        Scale.TINY: _tiny_gemma(Experts(count=8, used=2, feed_forward=96)),
    },
    "gemma4-31b": {Scale.FULL: _GEMMA_DENSE, Scale.TINY: _tiny_gemma(None)},
}

MODELS = tuple(_SHAPES)


def shape_of(model: str, scale: Scale) -> Shape:
    if model not in _SHAPES:
        hint = nearest(model, MODELS)
        raise ProvisionError(f"synthetic weights for {model!r}: unknown model{hint}")
    return _SHAPES[model][scale]
