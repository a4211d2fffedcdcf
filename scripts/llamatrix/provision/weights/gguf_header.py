"""The header of one GGUF file, read and checked as llama.cpp does.

The checks are those of `gguf_init_from_file` and `llama_model_loader` at the locked
pins: magic, byte order, version, counts, types, tensor extents, split files. Every
refusal is one line. The contents of long arrays (the vocabulary) are skipped.
"""

import math
import mmap
import operator
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import NoReturn

from llamatrix.errors import ProvisionError
from llamatrix.provision.weights.tensor_types import REMOVED_TYPES, TENSOR_TYPES

Value = int | float | str | bool | tuple[int | float | bool, ...] | None
"""None stands for an array whose contents were skipped."""

_VERSIONS = (2, 3)
_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9
_LONGEST_ARRAY = 4096
"""Longer arrays belong to the vocabulary; per-layer arrays have at most 512 entries."""
_LONGEST_NAME = 64
_LONGEST_SHOWN = 500
_LONGEST_TEXT = 1024
"""Longer texts are cut: none that is used here is as long."""
_MOST_DIMENSIONS = 4
_LARGEST = 2**63 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensor:
    name: str
    shape: tuple[int, ...]
    type: int
    """ggml's number, which may be newer than `TENSOR_TYPES`."""
    bytes: int


@dataclass(frozen=True, kw_only=True)
class GgufHeader:
    """The header of one model file, or of all parts of a split one."""

    path: Path
    metadata: Mapping[str, Value]
    tensors: tuple[Tensor, ...]

    @cached_property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", ""))

    @cached_property
    def newer_types(self) -> tuple[int, ...]:
        """Types that `TENSOR_TYPES` lacks; their sizes follow from offsets."""
        return tuple(
            sorted({tensor.type for tensor in self.tensors} - TENSOR_TYPES.keys())
        )


def refuse(path: Path, reason: str) -> NoReturn:
    """Raise in one line, whatever names a damaged file put into the reason."""
    raise ProvisionError(f"{path}: {printable(reason)}")


def printable(text: str) -> str:
    """Make a file's text fit for a terminal: one line, limited in length."""
    shown = "".join(
        character if character.isprintable() else "?"
        for character in text[:_LONGEST_SHOWN]
    )
    return shown if len(text) <= _LONGEST_SHOWN else f"{shown}…"


class HeaderReader:
    """A cursor over one file that never reads beyond its end."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self._path = path
        self._data = data
        self._at = 4
        self._order = "<" if sys.byteorder == "little" else ">"

    def header(self) -> GgufHeader:
        self._require_version()
        tensor_count, key_count = self._scalar("q"), self._scalar("q")
        least = 8 + 4 + 4 + 8
        for count, what, each in (
            (tensor_count, "tensors", least),
            (key_count, "metadata keys", 8 + 4 + 1),
        ):
            if not 0 <= count <= self._left // each:
                self._refuse(
                    f"corrupt: announces {count:,} {what}, and has {self._left:,} bytes "
                    "to describe them",
                )
        metadata: dict[str, Value] = {}
        for _ in range(key_count):
            key = self._text("a metadata key")
            if key in metadata:
                self._refuse(f"corrupt: metadata key {key!r} appears twice")
            metadata[key] = self._value(key)
        return GgufHeader(
            path=self._path,
            metadata=metadata,
            tensors=self._tensors(tensor_count, metadata),
        )

    @property
    def _left(self) -> int:
        return len(self._data) - self._at

    def _refuse(self, reason: str) -> NoReturn:
        refuse(self._path, reason)

    def _require_version(self) -> None:
        version = self._scalar("I")
        if version and not version & 0xFFFF:
            other = "big" if sys.byteorder == "little" else "little"
            self._refuse(
                f"a {other}-endian GGUF; llama.cpp on this {sys.byteorder}-endian machine "
                "refuses it; convert it with gguf-convert-endian, or take the other file",
            )
        if version not in _VERSIONS:
            supported = " and ".join(map(str, _VERSIONS))
            self._refuse(
                f"GGUF version {version}; llama.cpp reads {supported}",
            )

    def _take(self, size: int, what: str) -> int:
        """Advance over `size` bytes and return where they begin."""
        if not 0 <= size <= self._left:
            self._refuse(
                f"truncated or corrupt: {what} needs {size:,} bytes at offset "
                f"{self._at:,}, and the file has {len(self._data):,}",
            )
        begin = self._at
        self._at += size
        return begin

    def _scalar(self, kind: str, what: str = "the header") -> int:
        begin = self._take(struct.calcsize(kind), what)
        value: int = struct.unpack_from(self._order + kind, self._data, begin)[0]
        return value

    def _text(self, what: str) -> str:
        size = self._scalar("Q", what)
        begin = self._take(size, what)
        end = begin + min(size, _LONGEST_TEXT)
        return self._data[begin:end].decode(errors="replace")

    def _value(self, key: str) -> Value:
        kind = self._scalar("I", key)
        if kind == _STRING:
            return self._text(key)
        if kind == _ARRAY:
            return self._array(key)
        if kind not in _SCALARS:
            self._refuse(f"corrupt: {key!r} has the unknown value type {kind}")
        return self._scalar(_SCALARS[kind], key)

    def _array(self, key: str) -> Value:
        kind, count = self._scalar("I", key), self._scalar("Q", key)
        if kind == _STRING:
            self._skip_texts(key, count)
            return None
        if kind not in _SCALARS:
            self._refuse(f"corrupt: {key!r} is an array of unknown type {kind}")
        form = _SCALARS[kind]
        begin = self._take(count * struct.calcsize(form), key)
        if count > _LONGEST_ARRAY:
            return None
        return struct.unpack_from(f"{self._order}{count}{form}", self._data, begin)

    def _skip_texts(self, key: str, count: int) -> None:
        """Advance over an array of strings; a vocabulary has several 100,000."""
        length = struct.Struct(f"{self._order}Q")
        at, end = self._at, len(self._data)
        for _ in range(count):
            if at + length.size > end:
                break
            at += length.size + length.unpack_from(self._data, at)[0]
        else:
            if at <= end:
                self._at = at
                return
        self._refuse(
            f"truncated or corrupt: {key!r} announces {count:,} strings that go beyond "
            f"the file's {end:,} bytes",
        )

    def _tensors(self, count: int, metadata: Mapping[str, Value]) -> tuple[Tensor, ...]:
        alignment = metadata.get("general.alignment", 32)
        if (
            not isinstance(alignment, int)
            or alignment <= 0
            or alignment & (alignment - 1)
        ):
            self._refuse(
                f"corrupt: general.alignment is {alignment!r}, not a power of two",
            )
        entries = [self._tensor() for _ in range(count)]
        if len({name for name, *_ in entries}) != count:
            self._refuse("corrupt: two tensors have the same name")
        begin = -(-self._at // alignment) * alignment
        available = max(0, len(self._data) - begin)
        tensors = []
        expected = 0
        for index, (name, shape, kind, offset) in enumerate(entries):
            if offset != expected:
                self._refuse(
                    f"corrupt: tensor {name!r} has offset {offset:,}, expected "
                    f"{expected:,}",
                )
            size = self._size(name, shape, kind)
            if size is None:
                after = entries[index + 1][3] if index + 1 < count else available
                size = max(0, after - offset)
                expected = after
            else:
                expected = offset + -(-size // alignment) * alignment
            if offset + size > available:
                self._refuse(
                    f"truncated: tensor {name!r} ends at {begin + offset + size:,} bytes, "
                    f"and the file has {len(self._data):,}",
                )
            tensors.append(Tensor(name=name, shape=shape, type=kind, bytes=size))
        return tuple(tensors)

    def _tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self._text("a tensor's name")
        if len(name.encode()) >= _LONGEST_NAME:
            self._refuse(f"corrupt: the tensor name {name[:20]!r}… is too long")
        dimensions = self._scalar("I", name)
        if dimensions > _MOST_DIMENSIONS:
            self._refuse(f"corrupt: tensor {name!r} has {dimensions} dimensions")
        shape = tuple(self._scalar("q", name) for _ in range(dimensions))
        most = max(accumulate(shape, operator.mul), default=0)
        if min(shape, default=0) < 0 or most >= _LARGEST:
            self._refuse(f"corrupt: tensor {name!r} has the shape {list(shape)}")
        return name, shape, self._scalar("I", name), self._scalar("Q", name)

    def _size(self, name: str, shape: tuple[int, ...], kind: int) -> int | None:
        """Bytes of a tensor; None for a type that is newer than our list."""
        if kind in REMOVED_TYPES:
            self._refuse(
                f"tensor {name!r} has type {kind}, which llama.cpp has removed",
            )
        if kind not in TENSOR_TYPES:
            return None
        label, block, block_bytes = TENSOR_TYPES[kind]
        row = shape[0] if shape else 1
        if row % block:
            self._refuse(
                f"corrupt: tensor {name!r} of type {label} has rows of {row:,}, not a "
                f"multiple of {block}",
            )
        return math.prod(shape) // block * block_bytes
