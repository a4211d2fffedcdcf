"""What stands in a synthetic file, told without writing or importing anything big."""

from collections.abc import Iterator
from dataclasses import dataclass

from llamatrix.provision.weights.synthetic import gemma4, qwen35
from llamatrix.provision.weights.synthetic.models import (
    Gemma4,
    Qwen35,
    SyntheticSpec,
    shape_of,
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
        """What llama-bench calls the size: without header and padding."""
        return sum(tensor.bytes for tensor in self.tensors)


def layout(spec: SyntheticSpec) -> Layout:
    """Tensors of the file `write` would make; an unknown model is a ProvisionError."""
    return Layout(tensors=tuple(_tensors(spec)))


def _tensors(spec: SyntheticSpec) -> Iterator[Tensor]:
    shape = shape_of(spec.model, spec.scale)
    mix, silent = MIXES[spec.model], silent_tokens(shape)
    match shape:
        case Qwen35():
            return qwen35.tensors(shape, mix, silent_tokens=silent)
        case Gemma4():
            return gemma4.tensors(shape, mix, silent_tokens=silent)
