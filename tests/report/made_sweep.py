"""A synthetic store: the published llama-bench numbers, multiplied by a factor."""

import shutil
from functools import cache
from pathlib import Path

import msgspec
from tests.records.made import made_record, made_row
from tests.shipped import ROOT, shipped_matrix

from llamatrix.config.cell import SpeedTest
from llamatrix.config.matrix import WeightsKind
from llamatrix.engines.llama_cpp.llama_bench import parse_row
from llamatrix.engines.outcome import Done
from llamatrix.nvml import Gpu
from llamatrix.project import Project
from llamatrix.records.speed_record import SPEED, SpeedRecord
from llamatrix.records.store import Store
from llamatrix.reference.gpu import load_gpus
from llamatrix.report.inputs import Published, load_published
from llamatrix.report.view import View, read_view

BLOG = ROOT / "reports" / "published" / "blog-2026-04-05.toml"
MODELS = ("qwen35-27b", "qwen35-35b-a3b", "gemma4-26b-a4b", "gemma4-31b")
HOST = "rtx-4090-abc123"
CARD = Gpu(
    name="NVIDIA GeForce RTX 4090",
    memory_bytes=24 * 2**30,
    driver="580.95",
    compute_capability="8.9",
    power_cap_w=450.0,
)
ARGV = (
    *("llama-bench", "-m", "weights.gguf", "-ctk", "q8_0", "-ctv", "q8_0", "-fa", "1"),
    *("-b", "2048", "-ub", "512", "-p", "512", "-n", "128", "-r", "3"),
)
_SIZES = {
    "qwen35-27b": (16.40, 26.90),
    "qwen35-35b-a3b": (20.70, 34.66),
    "gemma4-26b-a4b": (15.95, 25.23),
    "gemma4-31b": (17.46, 30.70),
}
_PREFILL = {
    "qwen35-27b": {512: 3037, 2048: 3069, 65336: 2290},
    "qwen35-35b-a3b": {512: 6666, 2048: 6674, 65336: 5273},
    "gemma4-26b-a4b": {512: 8597, 2048: 8710, 65336: 5917},
    "gemma4-31b": {512: 3100, 2048: 2992, 65336: 1869},
}
_GENERATION = {
    "qwen35-27b": 45.88,
    "qwen35-35b-a3b": 165.84,
    "gemma4-26b-a4b": 164.38,
    "gemma4-31b": 44.42,
}


def on_card(
    model: str,
    test: SpeedTest,
    mean: float,
    *,
    repeat: int = 1,
    host: str = HOST,
    gpus: tuple[Gpu, ...] = (CARD,),
    weights: WeightsKind = WeightsKind.HUB,
) -> SpeedRecord:
    """One process whose samples lie closely around a mean."""
    record = made_record(
        model_key=model, test=test, repeat=repeat, host_slug=host, weights=weights
    )
    size, params = _SIZES[model]
    row = msgspec.json.decode(
        made_row(test, (0.998 * mean, mean, 1.002 * mean)), type=dict[str, object]
    )
    row |= {"model_size": round(size * 2**30), "model_n_params": round(params * 1e9)}
    return msgspec.structs.replace(
        record,
        outcome=Done(result=parse_row(msgspec.json.encode(row))),
        process=msgspec.structs.replace(record.process, argv=ARGV),
        host=msgspec.structs.replace(record.host, gpus=gpus),
        build=msgspec.structs.replace(
            record.build, backend="cuda" if gpus else "cpu", cmake={"GGML_CUDA": "ON"}
        ),
    )


def sweep(
    factor: float = 1.0,
    *,
    host: str = HOST,
    gpus: tuple[Gpu, ...] = (CARD,),
    weights: WeightsKind = WeightsKind.HUB,
) -> list[SpeedRecord]:
    """Three prompt sizes and a generation for four models, two processes each."""
    tests = {
        model: {
            **{SpeedTest(n_prompt=size, n_gen=0): speed for size, speed in row.items()},
            SpeedTest(n_prompt=0, n_gen=128): _GENERATION[model],
        }
        for model, row in _PREFILL.items()
    }
    return [
        on_card(
            model,
            test,
            speed * factor * (1 + 0.002 * (repeat - 1.5)),
            repeat=repeat,
            host=host,
            gpus=gpus,
            weights=weights,
        )
        for model, row in tests.items()
        for test, speed in row.items()
        for repeat in (1, 2)
    ]


def stored(reports: Path, records: list[SpeedRecord]) -> Path:
    """The folder of the reports, with these records in it."""
    store = Store(reports=reports, kind=SPEED)
    for record in records:
        store.append(record)
    return reports


def made_view(reports: Path) -> View:
    """Return all that is stored there, with the published blog post as the only set."""
    project = Project(
        root=reports / "checkout", cache=ROOT / "no-cache", other_reports=reports
    )
    project.published.mkdir(parents=True, exist_ok=True)
    shutil.copy(BLOG, project.published)
    return read_view(project, shipped_matrix())


@cache
def blog() -> Published:
    return load_published(BLOG, models=shipped_matrix().models, gpus=load_gpus())
