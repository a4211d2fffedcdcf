"""Write GGUF headers with any metadata and tensors; the data is a hole in the file."""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

from llamatrix.provision.weights.tensor_types import TENSOR_TYPES

Scalar = int | float | str | bool
Metadata = Mapping[str, Scalar | Sequence[Scalar]]
TensorSpec = tuple[str, Sequence[int], int]
"""Name, shape as GGUF writes it (rows' length first), ggml's number of the type."""
F32, F16, Q4_0, Q8_0, Q4_K, Q6_K = 0, 1, 2, 8, 12, 14
ALIGNMENT = 32
_ARRAY = 9


def write_gguf(
    path: Path,
    metadata: Metadata,
    tensors: Sequence[TensorSpec] = (),
    *,
    order: str = "<",
    version: int = 3,
    block_sizes: Mapping[int, tuple[int, int]] | None = None,
) -> Path:
    """Write a file whose tensors have their full size but use no blocks on disk.

    `block_sizes` has elements and bytes per block of types that the product lacks.
    """
    head, size = _header(metadata, tensors, order, version, block_sizes or {})
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)
    return path


def gguf_bytes(metadata: Metadata, tensors: Sequence[TensorSpec]) -> bytes:
    """Return the same file as bytes; for small tensors."""
    head, size = _header(metadata, tensors, "<", 3, {})
    return head.ljust(size, b"\0")


def _header(
    metadata: Metadata,
    tensors: Sequence[TensorSpec],
    order: str,
    version: int,
    block_sizes: Mapping[int, tuple[int, int]],
) -> tuple[bytes, int]:
    """Return the bytes of the header and the size of the whole file."""
    head = b"GGUF" + struct.pack(f"{order}IQQ", version, len(tensors), len(metadata))
    for key, value in metadata.items():
        head += _text(key, order) + _value(value, order)
    offset = 0
    for name, shape, kind in tensors:
        head += _text(name, order) + struct.pack(f"{order}I", len(shape))
        head += struct.pack(f"{order}{len(shape)}Q", *shape)
        head += struct.pack(f"{order}IQ", kind, offset)
        block, size = block_sizes.get(kind) or TENSOR_TYPES[kind][1:]
        elements = 1
        for length in shape:
            elements *= length
        offset += -(-(elements // block * size) // ALIGNMENT) * ALIGNMENT
    return head, -(-len(head) // ALIGNMENT) * ALIGNMENT + offset


def _text(text: str, order: str) -> bytes:
    raw = text.encode()
    return struct.pack(f"{order}Q", len(raw)) + raw


def _value(value: Scalar | Sequence[Scalar], order: str) -> bytes:
    if isinstance(value, (int, float, str)):
        return struct.pack(f"{order}I", _kind(value)) + _scalar(value, order)
    head = struct.pack(f"{order}IIQ", _ARRAY, _kind(value[0]), len(value))
    return head + b"".join(_scalar(one, order) for one in value)


def _kind(value: Scalar) -> int:
    """Return GGUF's number of the type of a value: bool, string, u32 or f32."""
    for kind, number in ((bool, 7), (str, 8), (int, 4)):
        if isinstance(value, kind):
            return number
    return 6


def _scalar(value: Scalar, order: str) -> bytes:
    if isinstance(value, str):
        return _text(value, order)
    return struct.pack(order + {7: "?", 4: "I", 6: "f"}[_kind(value)], value)
