"""The metadata of a model file, asked for without the architecture's prefix."""

from collections.abc import Mapping, Sequence
from typing import NoReturn

from llamatrix.provision.gguf_header import GgufHeader, Value, refuse

_MOST_LAYERS = 512
"""`LLAMA_MAX_LAYERS`"""
_LARGEST_NUMBER = 2**32 - 1


class Metadata:
    """The keys of one file, asked for without their architecture."""

    def __init__(self, header: GgufHeader) -> None:
        self.architecture = header.architecture
        self._path = header.path
        self._values: Mapping[str, Value] = header.metadata
        self.layers = self._layers()

    def _layers(self) -> int:
        layers = self.number("block_count")
        if not 0 < layers <= _MOST_LAYERS:
            self.refuse(
                f"{self.architecture}.block_count is {layers:,}; llama.cpp has at most "
                f"{_MOST_LAYERS}"
            )
        return layers

    def refuse(self, reason: str) -> NoReturn:
        refuse(self._path, reason)

    def get(self, key: str) -> Value:
        return self._values.get(f"{self.architecture}.{key}")

    def has(self, key: str) -> bool:
        return self.get(key) is not None

    def number(self, key: str, default: int | None = None) -> int:
        value = self.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, int):
            self.refuse(
                f"metadata has no number {self.architecture}.{key}; memory of this "
                "architecture cannot be estimated without it"
            )
        if not 0 <= value <= _LARGEST_NUMBER:
            self.refuse(f"{self.architecture}.{key} is {value}: no 32-bit number")
        return value

    def per_layer(self, key: str, default: Sequence[int] = ()) -> Sequence[int]:
        """A number for each layer, given once or as an array."""
        value = self.get(key)
        if isinstance(value, tuple):
            if len(value) != self.layers:
                self.refuse(
                    f"{self.architecture}.{key} has {len(value)} entries for "
                    f"{self.layers} layers"
                )
            return [int(one) for one in value]
        if value is None and default:
            return default
        return [self.number(key)] * self.layers

    def keys_with(self, *parts: str) -> tuple[str, ...]:
        return tuple(key for key in self._values if any(part in key for part in parts))
