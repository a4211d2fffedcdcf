"""Random valid quantised blocks: fixed finite scales, mean zero, never a NaN.

All randomness is SHAKE-256 over a digest and a name, so the bytes depend on no
library's generator. Block layouts are those of `ggml/src/ggml-common.h`.
"""

import hashlib
import itertools
import struct
from collections.abc import Iterator
from typing import assert_never

from llamatrix.provision.weights.synthetic.tensors import BLOCKS, Fill, GgmlType, Tensor

POOL_BYTES = 16 * 2**20
"""Tensors are cut from pools of this size, which bounds memory for any model."""

_UNIT_SCALES = bytes([1] * 8 + [0x11] * 4)
"""Eight 6-bit scales and eight 6-bit minima of a K-block, all 1, as packed."""
_NO_MINUS_128 = bytes.maketrans(b"\x80", b"\x00")
"""No quantiser of ggml writes -128 into Q8_0, and without it the mean is exactly 0."""
_DECAYS = (-0.25, -0.5, -1.0, -2.0)
_ROPE_TURNING = 4
"""One in four pairs rotates in Gemma 4's full attention."""
_ROPE_STILL = 1e30


class Pools:
    """One pool of blocks per type and size of weight, created on first use."""

    def __init__(self, seed: str, *, limit_bytes: int = POOL_BYTES) -> None:
        self._seed = seed
        self._limit_bytes = min(limit_bytes, POOL_BYTES)
        self._pools: dict[tuple[GgmlType, int], bytes] = {}

    def stream(self, tensor: Tensor) -> Iterator[memoryview]:
        """All bytes of a tensor in pieces no larger than a pool."""
        match tensor.fill:
            case Fill.RANDOM | Fill.LOUD:
                yield from self._cut(tensor)
            case Fill.ONES:
                yield _cycle((1.0,), tensor.elements)
            case Fill.ALTERNATING:
                yield _cycle((1.0, -1.0), tensor.elements)
            case Fill.DECAY:
                yield _cycle(_DECAYS, tensor.elements)
            case Fill.PROPORTIONAL_ROPE:
                turning = tensor.elements // _ROPE_TURNING
                yield _cycle((1.0,), turning)
                yield _cycle((_ROPE_STILL,), tensor.elements - turning)

    def _cut(self, tensor: Tensor) -> Iterator[memoryview]:
        pool = memoryview(self._pool(tensor.type, exponent(tensor)))
        block_bytes = BLOCKS[tensor.type][1]
        name = hashlib.sha256(f"{self._seed} {tensor.name}".encode()).digest()
        blocks = len(pool) // block_bytes
        start = int.from_bytes(name[:8], "little") % blocks * block_bytes
        left = tensor.bytes
        while left:
            piece = pool[start : start + left]
            yield piece
            left -= len(piece)
            start = 0

    def _pool(self, kind: GgmlType, power: int) -> bytes:
        key = (kind, power)
        if key not in self._pools:
            count = max(1, self._limit_bytes // BLOCKS[kind][1])
            seed = f"{self._seed} {kind} {power}"
            self._pools[key] = random_blocks(kind, power, count=count, seed=seed)
        return self._pools[key]


def exponent(tensor: Tensor) -> int:
    """Weights of a tensor have a deviation of about 2 ** -exponent."""
    fan_in = tensor.shape[0].bit_length() // 2
    return fan_in - 2 if tensor.fill is Fill.LOUD else fan_in


def random_blocks(kind: GgmlType, power: int, *, count: int, seed: str) -> bytes:
    """Make blocks whose weights have mean 0 and a deviation of about 2 ** -power."""
    block_bytes = BLOCKS[kind][1]
    match kind:
        case GgmlType.F16 | GgmlType.F32:
            return _floats_at_random(block_bytes, power, count=count, seed=seed)
        case GgmlType.Q4_K:  # step and minimum, scales; 256 numbers 0..15
            step = 2.0 ** -(power + 2)
            head, tail = _half(step, 7.5 * step) + _UNIT_SCALES, b""
        case GgmlType.Q5_K:  # the same with a fifth bit: 0..31
            step = 2.0 ** -(power + 3)
            head, tail = _half(step, 15.5 * step) + _UNIT_SCALES, b""
        case GgmlType.Q6_K:  # 256 numbers -32..31; scales of both signs cancel the -0.5
            step = 2.0 ** -(power + 4)
            head, tail = b"", bytes([1, 0xFF] * 8) + _half(step)
        case GgmlType.Q5_1:  # step and offset; 32 numbers 0..31
            step = 2.0 ** -(power + 3)
            head, tail = _half(step, -15.5 * step), b""
        case GgmlType.Q8_0:  # step; 32 numbers -127..127
            head, tail = _half(2.0 ** -(power + 6)), b""
        case _:
            assert_never(kind)
    size = block_bytes - len(head) - len(tail)
    noise = _noise(seed, count * size)
    if kind is GgmlType.Q8_0:
        noise = noise.translate(_NO_MINUS_128)
    starts = range(0, len(noise), size)
    return b"".join(head + noise[start : start + size] + tail for start in starts)


def _floats_at_random(width: int, power: int, *, count: int, seed: str) -> bytes:
    """Little-endian F16 or F32 of one magnitude: sign and fraction are noise."""
    raw = bytearray(_noise(seed, count * width))
    if width == 2:  # noqa: PLR2004
        raw[1::2] = raw[1::2].translate(_overlay(0x83, (14 - power) << 2))
    else:
        raw[2::4] = raw[2::4].translate(_overlay(0x7F, (126 - power & 1) << 7))
        raw[3::4] = raw[3::4].translate(_overlay(0x80, 126 - power >> 1))
    return bytes(raw)


def _overlay(keep: int, put: int) -> bytes:
    """Make a translation table: of each byte the bits `keep`, then `put` on top."""
    return bytes(byte & keep | put for byte in range(256))


def _noise(seed: str, count: int) -> bytes:
    return hashlib.shake_256(seed.encode()).digest(count)


def _half(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}e", *values)


def _cycle(values: tuple[float, ...], count: int) -> memoryview:
    """Little-endian F32: `count` numbers, the values over and over."""
    endless = itertools.islice(itertools.cycle(values), count)
    return memoryview(b"".join(struct.pack("<f", value) for value in endless))
