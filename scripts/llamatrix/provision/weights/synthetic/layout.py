"""List the tensors of a synthetic file, without writing or importing anything big."""

from dataclasses import dataclass
from typing import assert_never

from llamatrix.provision.weights.synthetic import gemma4, qwen35
from llamatrix.provision.weights.synthetic.models import (
    Gemma4,
    Gemma4Assistant,
    Qwen35,
    SyntheticSpec,
)
from llamatrix.provision.weights.synthetic.tensors import MIXES, Tensor
from llamatrix.provision.weights.synthetic.vocabulary import silent_tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    tensors: tuple[Tensor, ...]
    """In file order."""

    @property
    def parameters(self) -> int:
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def tensor_bytes(self) -> int:
        """The size that llama-bench prints: without header and padding."""
        return sum(tensor.bytes for tensor in self.tensors)


def layout(spec: SyntheticSpec) -> Layout:
    """Return the tensors of the file that `write` makes; ProvisionError if unknown."""
    shape = spec.shape
    mix, silent = MIXES[spec.model], silent_tokens(shape)
    match shape:
        case Gemma4Assistant():
            tensors = gemma4.assistant_tensors(shape, silent_tokens=silent)
        case Qwen35():
            tensors = qwen35.tensors(shape, mix, silent_tokens=silent, head=spec.head)
        case Gemma4():
            tensors = gemma4.tensors(shape, mix, silent_tokens=silent)
        case _:
            assert_never(shape)
    return Layout(tensors=tuple(tensors))
