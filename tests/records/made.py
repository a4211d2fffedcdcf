"""Synthetic records: the shape of real ones, with numbers that are easy to check."""

import json

import msgspec
from tests.shipped import shipped_cells

from llamatrix.config.cell import SpeedTest
from llamatrix.config.matrix import WeightsKind
from llamatrix.engines.llama_cpp.llama_bench import parse_row
from llamatrix.engines.outcome import Done, Outcome, Process
from llamatrix.host import Host
from llamatrix.measure.telemetry import CpuSample, Telemetry
from llamatrix.provision.build import Manifest
from llamatrix.provision.weights.provide import WeightsFacts
from llamatrix.records.speed_record import SPEED, CellFacts, SpeedRecord
from llamatrix.records.store import RecordLocation, seal

_ADDED = {"schema_version", "checksum"}
_MODELS = {
    "qwen35-27b": ("Qwen3.5-27B", "Dense"),
    "qwen35-35b-a3b": ("Qwen3.5-35B-A3B", "MoE"),
    "gemma4-26b-a4b": ("Gemma4-26B-A4B", "MoE"),
    "gemma4-31b": ("Gemma4-31B", "Dense"),
}


def made_row(test: SpeedTest, samples_ts: tuple[float, ...]) -> bytes:
    """A row as llama-bench prints one; times follow from the speeds."""
    tokens = test.n_prompt or test.n_gen
    row = {
        "build_commit": "f49e91787",
        "build_number": 8643,
        "backends": "CUDA",
        "model_type": "qwen35 27B Q4_K - Medium",
        "model_size": 17612029952,
        "model_n_params": 26895998464,
        "n_threads": 8,
        "n_prompt": test.n_prompt,
        "n_gen": test.n_gen,
        "n_depth": test.n_depth,
        "avg_ts": sum(samples_ts) / len(samples_ts),
        "stddev_ts": 0.0,
        "samples_ns": [round(tokens / ts * 1e9) for ts in samples_ts],
        "samples_ts": list(samples_ts),
    }
    return json.dumps(row).encode()


def reread(fields: dict[str, object]) -> SpeedRecord:
    """Read a speed record back from a line with these fields."""
    known = {key: value for key, value in fields.items() if key not in _ADDED}
    line = seal(msgspec.json.encode(known)).removesuffix(b"\n")
    return SPEED.decode(line, where="here", place=RecordLocation("host", "speed/cell"))


def made_record(  # noqa: PLR0913
    *,
    model_key: str = "qwen35-27b",
    test: SpeedTest | None = None,
    samples_ts: tuple[float, ...] = (100.0, 102.0, 104.0),
    repeat: int = 1,
    outcome: Outcome | None = None,
    weights: WeightsKind = WeightsKind.HUB,
    digest: str = "d" * 64,
    spec_digest: str = "5" * 64,
    measured_at: str = "2026-04-05T12:00:00.000+00:00",
    host_slug: str = "rtx-4090-abc123",
) -> SpeedRecord:
    name, architecture = _MODELS[model_key]
    kind = "" if weights is WeightsKind.HUB else f".{weights}"
    asked = test or SpeedTest(n_prompt=512, n_gen=0)
    locked = shipped_cells("published")[0].locked
    sample = parse_row(made_row(asked, samples_ts))
    return SpeedRecord(
        cell=CellFacts(
            id=f"speed/{model_key}{kind}/april/cuda",
            digest=digest,
            spec_digest=spec_digest,
            measurement="speed",
            model_key=model_key,
            model_name=name,
            architecture=architecture,
            quant="Q4_K_XL",
            active_params="26.90 B",
            pin="april",
            build="cuda",
            sweep="published",
        ),
        test=asked,
        repeat=repeat,
        outcome=outcome or Done(result=sample),
        measured_at=measured_at,
        process=Process(
            id="0123456789ab",
            argv=("llama-bench", "-m", "weights.gguf"),
            started_at=measured_at,
        ),
        locked=locked,
        build=Manifest(
            key="k" * 16,
            commit=locked.commit,
            build_number=8643,
            backend="cuda",
            compiler="g++ 12.2.0 + nvcc 13.0",
            cmake={"GGML_CUDA": "ON"},
        ),
        weights=WeightsFacts(
            kind=weights, file="weights.gguf", sha256="a" * 64, file_bytes=17612345678
        ),
        host=Host(
            slug=host_slug,
            cpu_model="A CPU",
            physical_cores=8,
            logical_cores=16,
            memory_bytes=64 * 2**30,
            kernel="Linux 6.18",
        ),
        telemetry=Telemetry(cpu=(CpuSample(at_s=1.0, load_percent=12.5),)),
        made_by="llamatrix 0.1.0",
    )
