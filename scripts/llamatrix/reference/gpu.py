"""GPU data sheets: the rows of `gpus.toml`."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from llamatrix.config.complaint import complaints
from llamatrix.config.load import read_toml
from llamatrix.config.matrix import Key
from llamatrix.errors import MatrixError, ReportError

_TABLE = Path(__file__).with_name("gpus.toml")
_Amount = Annotated[float, Meta(gt=0)]


class Gpu(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All rates are dense, without the doubling by structured sparsity."""

    name: str
    reported: tuple[str, ...] = ()
    """Names in NVIDIA's library."""
    memory_gib: _Amount
    bandwidth_gb_s: _Amount
    """10^9 bytes per second."""
    fp16_tflops: _Amount
    """Matrix units, fp16 in, fp16 accumulate."""
    fp16_fp32_tflops: _Amount
    """Matrix units, fp16 in, fp32 accumulate."""
    int8_tops: _Amount
    """Matrix units, int8 in, int32 accumulate: llama.cpp's kernels for quantised weights."""
    source: str
    unsure: str = ""
    """Figures of this row without a source; findings that rest on them are only odd."""

    @property
    def memory_bytes(self) -> float:
        return self.memory_gib * 2**30

    @property
    def peaks(self) -> tuple[tuple[str, float], ...]:
        """Name and operations per second of each matrix peak."""
        return (
            ("fp16 with fp32 accumulate", self.fp16_fp32_tflops * 1e12),
            ("fp16 with fp16 accumulate", self.fp16_tflops * 1e12),
            ("int8", self.int8_tops * 1e12),
        )


class _File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    schema_version: Annotated[int, Meta(ge=1, le=1)]
    gpus: dict[Key, Gpu]


def load_gpus(path: Path = _TABLE) -> Mapping[str, Gpu]:
    try:
        raw = read_toml(path)
    except MatrixError as error:
        raise ReportError(str(error)) from error
    for line in complaints(raw, _File):
        raise ReportError(f"{path.name}: {line}")
    return msgspec.convert(raw, type=_File).gpus


def gpu_key(reported: str, gpus: Mapping[str, Gpu]) -> str:
    """Return the key of a card by its reported name, or a key made of that name."""
    for key, gpu in gpus.items():
        if reported in gpu.reported:
            return key
    return "-".join(re.findall(r"[a-z0-9]+", reported.lower()))
