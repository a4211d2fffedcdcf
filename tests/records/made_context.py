"""A synthetic context search with a curve that is easy to check."""

import msgspec
from tests.records.made import made_record
from tests.shipped import ROOT

from llamatrix.config.load import load_matrix
from llamatrix.config.matrix import WeightsKind
from llamatrix.measure.context.generation import CompletionTimings
from llamatrix.measure.context.recall import FACTS, FactResult, RecallResult
from llamatrix.measure.context.result import (
    Attempt,
    Ceiling,
    CeilingReason,
    ContextStep,
    Footprint,
    SearchResult,
    StopReason,
)
from llamatrix.nvml import Gpu
from llamatrix.records.context_record import ContextCell, ContextRecord, SearchLimits

_GIB = 2**30
CARD = Gpu(
    name="NVIDIA GeForce RTX 4090",
    memory_bytes=24 * _GIB,
    driver="580.95",
    compute_capability="8.9",
    power_cap_w=450.0,
)


def made_rung(tokens: int, tps: float, *, added: int, held_gib: float) -> ContextStep:
    answer = CompletionTimings(
        cache_n=tokens - 128 - added,
        prompt_n=added,
        prompt_ms=added / 2,
        predicted_n=128,
        predicted_ms=127000 / tps,
    )
    held = round(held_gib * _GIB)
    footprint = Footprint(
        rss_bytes=2 * _GIB,
        peak_rss_bytes=3 * _GIB,
        host_own_bytes=_GIB,
        card_own_bytes=held,
        card_own_peak_bytes=held,
        card_bytes=held,
        card_peak_bytes=held,
    )
    return ContextStep(tokens=tokens, answers=(answer,), footprint=footprint)


def made_recalled(tokens: int, *, forgotten: int | None = None) -> RecallResult:
    return RecallResult(
        context_tokens=tokens,
        prompt_tokens=tokens - 700,
        facts=tuple(
            FactResult(
                depth_percent=fact.depth_percent,
                exact=fact.depth_percent != forgotten,
            )
            for fact in FACTS
        ),
        said="lighthouse: cobalt-heron",
    )


def made_found(stop: StopReason = StopReason.SPEED) -> SearchResult:
    steps = (
        made_rung(512, 45.0, added=384, held_gib=21.0),
        made_rung(65536, 41.0, added=65024, held_gib=21.25),
        made_rung(131072, 37.0, added=65536, held_gib=21.5),
        made_rung(196608, 33.0, added=65536, held_gib=21.5),
    )
    return SearchResult(
        ceiling=Ceiling(
            tokens=196608,
            by=CeilingReason.MEMORY,
            budget_bytes=23 * _GIB,
            others_bytes=_GIB,
        ),
        attempts=(
            Attempt(
                context_tokens=196608,
                predicted_bytes=22 * _GIB,
                ready_s=12.5,
                loaded=steps[0].footprint,
            ),
        ),
        steps=steps,
        stop=stop,
        recalled=(made_recalled(131072),),
    )


def made_context(
    found: SearchResult | None = None,
    *,
    weights: WeightsKind = WeightsKind.HUB,
    asked: SearchLimits | None = None,
    measured_at: str = "2026-11-26T12:00:00.000+00:00",
) -> ContextRecord:
    like = made_record(weights=weights)
    matrix = load_matrix(ROOT / "matrix.toml")
    return ContextRecord(
        cell=ContextCell(
            id=like.cell.id.replace("speed/", "context/"),
            digest="d" * 64,
            model_key=like.cell.model_key,
            model_name=like.cell.model_name,
            architecture=like.cell.architecture,
            quant=like.cell.quant,
            pin=like.cell.pin,
            build=like.cell.build,
        ),
        limits=asked or SearchLimits(min_speed_ratio=0.8),
        result=found or made_found(),
        model=matrix.models["qwen35-27b"],
        server=matrix.servers["published"],
        argv=("llama-server", "--ctx-size", "196608"),
        measured_at=measured_at,
        locked=like.locked,
        build=like.build,
        weights=like.weights,
        host=msgspec.structs.replace(like.host, gpus=(CARD,)),
        made_by=like.made_by,
    )
