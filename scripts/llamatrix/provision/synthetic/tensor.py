"""One tensor of a GGUF file as a plan: name, shape, type, and what fills it."""

import math
from dataclasses import dataclass
from enum import StrEnum


class GgmlType(StrEnum):
    """The quantisation types in use, by their names in ggml."""

    F32 = "F32"
    F16 = "F16"
    Q4_K = "Q4_K"
    Q5_K = "Q5_K"
    Q6_K = "Q6_K"
    Q5_1 = "Q5_1"
    Q8_0 = "Q8_0"


BLOCKS: dict[GgmlType, tuple[int, int]] = {
    GgmlType.F32: (1, 4),
    GgmlType.F16: (1, 2),
    GgmlType.Q4_K: (256, 144),
    GgmlType.Q5_K: (256, 176),
    GgmlType.Q6_K: (256, 210),
    GgmlType.Q5_1: (32, 24),
    GgmlType.Q8_0: (32, 34),
}
"""Elements and bytes of one block; `GGML_QUANT_SIZES` of the gguf package says the same."""


class Fill(StrEnum):
    RANDOM = "random"
    """Valid blocks of random weights, mean zero, deviation about 1/sqrt(row width)."""
    LOUD = "loud"
    """RANDOM four times as large: logits spread enough for sampling to choose."""
    ONES = "ones"
    """Norms and scales: 1.0 throughout."""
    ALTERNATING = "alternating"
    """1.0 and -1.0 by turns: a norm before tied embeddings, that the model not merely
    repeat its last token for ever (the embedding is its own best match)."""
    DECAY = "decay"
    """Delta-net decay: negative, as the recurrence needs to stay bounded."""
    PROPORTIONAL_ROPE = "proportional-rope"
    """Frequency divisors of Gemma 4: 1.0 in the first quarter turns, 1e30 in the rest does not."""


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
