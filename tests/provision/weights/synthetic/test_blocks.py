import math

import numpy as np
import pytest
from gguf import GGMLQuantizationType
from gguf.quants import dequantize

from llamatrix.provision.weights.synthetic.blocks import Pools, random_blocks
from llamatrix.provision.weights.synthetic.tensors import BLOCKS, Fill, GgmlType, Tensor

_POWERS = (0, 4, 7)  # what rows of 4 (loud) up to rows of 21504 ask for


def _weights(kind: GgmlType, data: bytes) -> np.ndarray:
    raw = np.frombuffer(data, dtype=np.uint8)
    if kind is GgmlType.F16:
        return raw.view(np.float16).astype(np.float32)
    if kind is GgmlType.F32:
        return raw.view(np.float32)
    rows = raw.reshape(-1, BLOCKS[kind][1])
    return dequantize(rows, GGMLQuantizationType[kind]).ravel()


@pytest.mark.parametrize("kind", GgmlType)
@pytest.mark.parametrize("power", _POWERS)
def test_random_blocks_are_finite_with_mean_zero_and_given_deviation(
    kind: GgmlType, power: int
) -> None:
    block_elements, block_bytes = BLOCKS[kind]
    count = 2**17 // block_elements
    data = random_blocks(kind, power, count=count, seed="test")
    assert len(data) == count * block_bytes
    weights = _weights(kind, data)
    assert np.isfinite(weights).all()
    deviation = 2.0**-power
    assert abs(weights.mean()) < 0.02 * deviation
    assert 0.6 * deviation < weights.std() < 1.5 * deviation


def test_blocks_differ_with_the_seed_only() -> None:
    first, again, other = (
        random_blocks(GgmlType.Q4_K, 4, count=8, seed=seed) for seed in ("a", "a", "b")
    )
    assert first == again
    assert first != other


def test_stream_is_as_long_as_its_tensor_whatever_the_pool() -> None:
    tensor = Tensor(name="x", shape=(256, 100), type=GgmlType.Q6_K)
    pieces = list(Pools("seed", limit_bytes=7 * 210).stream(tensor))
    assert sum(map(len, pieces)) == tensor.bytes
    assert max(map(len, pieces)) <= 7 * 210


def test_every_piece_of_a_stream_begins_with_a_whole_block() -> None:
    tensor = Tensor(name="x", shape=(32, 1000), type=GgmlType.Q8_0)
    data = b"".join(Pools("seed", limit_bytes=1000).stream(tensor))
    scales = np.frombuffer(data, dtype=np.uint8).reshape(-1, 34)[:, :2]
    assert len(np.unique(scales, axis=0)) == 1


def test_tensors_of_one_type_begin_differently() -> None:
    pools = Pools("seed", limit_bytes=2**16)
    one, two = (
        b"".join(pools.stream(Tensor(name=name, shape=(256, 4), type=GgmlType.Q4_K)))
        for name in ("blk.0.ffn_up.weight", "blk.1.ffn_up.weight")
    )
    assert one != two


@pytest.mark.parametrize(
    ("fill", "expected"),
    [
        (Fill.ONES, [1.0] * 8),
        (Fill.ALTERNATING, [1.0, -1.0] * 4),
        (Fill.PROPORTIONAL_ROPE, [1.0] * 2 + [float(np.float32(1e30))] * 6),
    ],
)
def test_plain_fills_have_their_values(fill: Fill, expected: list[float]) -> None:
    tensor = Tensor(name="x", shape=(8,), type=GgmlType.F32, fill=fill)
    data = b"".join(Pools("seed").stream(tensor))
    assert np.frombuffer(data, dtype=np.float32).tolist() == expected


def test_decay_of_the_delta_net_is_negative() -> None:
    tensor = Tensor(name="ssm_a", shape=(48,), type=GgmlType.F32, fill=Fill.DECAY)
    values = np.frombuffer(b"".join(Pools("seed").stream(tensor)), dtype=np.float32)
    assert len(values) == 48
    assert all(-math.inf < value < 0 for value in values)
