"""Plan tensors of a synthetic file: name, shape, type and content.

The true per-tensor types of the published UD-Q4_K_XL files were not found. The mixes
use the types such files use where they use them, and promote as many layers as make
the sum of tensor bytes print as the published size: 16.40, 20.70, 15.95, 17.46 GiB, and
2.71 GiB of Qwen3.5-4B. That of Qwen3.5-9B's file is not known to us: its mix is 27B's.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from llamatrix.provision.weights.tensor_types import TENSOR_TYPES


class GgmlType(StrEnum):
    """The quantisation types in use, by their names in ggml."""

    F32 = "F32"
    F16 = "F16"
    Q4_K = "Q4_K"
    Q5_K = "Q5_K"
    Q6_K = "Q6_K"
    Q5_1 = "Q5_1"
    Q8_0 = "Q8_0"


BLOCKS = {
    kind: (elements, block_bytes)
    for name, elements, block_bytes in TENSOR_TYPES.values()
    for kind in GgmlType
    if kind == name.upper()
}
"""Elements and bytes of one block."""


class Fill(StrEnum):
    RANDOM = "random"
    """Valid blocks of random weights, mean zero, deviation about 1/sqrt(row width)."""
    LOUD = "loud"
    """RANDOM four times as large: logits spread enough for sampling to choose."""
    ONES = "ones"
    """Norms and scales: 1.0 throughout."""
    ALTERNATING = "alternating"
    """Alternately 1.0 and -1.0: a norm before tied embeddings, without which the model
    repeats its last token forever (the embedding is its own best match)."""
    DECAY = "decay"
    """Delta-net decay: negative, as the recurrence needs to stay bounded."""
    PROPORTIONAL_ROPE = "proportional-rope"
    """Frequency divisors of Gemma 4: the first quarter (1.0) rotates, the rest (1e30) does not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensor:
    name: str
    shape: tuple[int, ...]
    """GGUF order: the row width first."""
    type: GgmlType
    fill: Fill = Fill.RANDOM
    silent_rows: tuple[int, ...] = ()
    """Rows written as zero: tokens that random output should not contain."""

    def __post_init__(self) -> None:
        if self.shape[0] % BLOCKS[self.type][0]:
            raise ValueError(f"{self.name}: rows of {self.shape[0]} in {self.type}")

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        block_elements, block_bytes = BLOCKS[self.type]
        return self.elements // block_elements * block_bytes

    @property
    def row_bytes(self) -> int:
        block_elements, block_bytes = BLOCKS[self.type]
        return self.shape[0] // block_elements * block_bytes


T = GgmlType


@dataclass(frozen=True, kw_only=True, slots=True)
class Mix:
    types: Mapping[str, GgmlType]
    """By role: the tensor's name without `blk.N.` and `.weight`."""
    rest: GgmlType
    """All other matrices."""
    promoted: Mapping[str, tuple[GgmlType, int]] = field(default_factory=dict)
    """By role: a heavier type, and in how many layers (evenly spread) it is used."""

    def at(self, role: str, *, layer: int = 0, layers: int = 1) -> GgmlType:
        """Type of a role in one of `layers` layers."""
        heavier, count = self.promoted.get(role, (self.rest, 0))
        if (layer + 1) * count // layers > layer * count // layers:
            return heavier
        return self.types.get(role, self.rest)


_DENSE = {"ffn_gate": T.Q4_K, "ffn_up": T.Q4_K, "ffn_down": T.Q4_K}
_DENSE_QWEN = {
    **_DENSE,
    "token_embd": T.Q4_K,
    "output": T.Q6_K,
    "ssm_out": T.Q8_0,
    "ssm_alpha": T.F16,
    "ssm_beta": T.F16,
}
MIXES: dict[str, Mix] = {
    "qwen35-27b": Mix(
        types=_DENSE_QWEN, rest=T.Q5_K, promoted={"ffn_down": (T.Q5_K, 58)}
    ),
    "qwen35-35b-a3b": Mix(
        types={
            "ffn_gate_exps": T.Q4_K,
            "ffn_up_exps": T.Q4_K,
            "ffn_down_exps": T.Q5_K,
        },
        rest=T.Q8_0,
        promoted={"ffn_up_exps": (T.Q5_K, 3)},
    ),
    "qwen35-9b": Mix(
        types=_DENSE_QWEN, rest=T.Q5_K, promoted={"ffn_down": (T.Q5_K, 29)}
    ),
    "qwen35-4b": Mix(  # its embeddings are the output
        types={**_DENSE_QWEN, "token_embd": T.Q6_K},
        rest=T.Q5_K,
        promoted={"ffn_down": (T.Q5_K, 32), "ffn_up": (T.Q5_K, 4)},
    ),
    # Gemma's expert rows of 704 are no multiple of 256: no K-quant fits them.
    "gemma4-26b-a4b": Mix(
        types={"ffn_gate_up_exps": T.Q4_K, "ffn_down_exps": T.Q5_1},
        rest=T.Q8_0,
        promoted={"ffn_gate_up_exps": (T.Q5_K, 3), "ffn_down_exps": (T.Q8_0, 1)},
    ),
    "gemma4-31b": Mix(
        types={**_DENSE, "token_embd": T.Q6_K},
        rest=T.Q5_K,
        promoted={"ffn_down": (T.Q5_K, 4)},
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    mix: Mix
    index: int
    of: int
    """The model's number of layers."""

    def matrix(self, role: str, *shape: int) -> Tensor:
        kind = self.mix.at(role, layer=self.index, layers=self.of)
        return Tensor(name=f"blk.{self.index}.{role}.weight", shape=shape, type=kind)

    def plain(self, name: str, *shape: int, fill: Fill = Fill.ONES) -> Tensor:
        """Plan a tensor that real files keep in F32; `name` lacks only the layer."""
        return Tensor(
            name=f"blk.{self.index}.{name}", shape=shape, type=GgmlType.F32, fill=fill
        )
