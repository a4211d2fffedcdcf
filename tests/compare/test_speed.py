"""Two comparisons of a real card, as recorded: judged by their steady means."""

import math
from pathlib import Path

import msgspec
import pytest
from tests.shipped import ROOT, shipped_context

from llamatrix.compare.arms import ArmSettings
from llamatrix.compare.ledger import pairs_of
from llamatrix.compare.speed import model_amounts, repetitions_for, speed_cases
from llamatrix.config.cell import SpeedTest
from llamatrix.records.pair_records import SPEED_PAIRS, SpeedRun
from llamatrix.records.store import RecordLocation
from llamatrix.stats.pairs import Arm, Samples
from llamatrix.stats.sequential import PairedComparison, judge_cases
from llamatrix.stats.verdict import Metric, Unit, Verdict

_CAPTURED = ROOT / "tests" / "captured" / "regress"


def _entries(path: Path) -> list[SpeedRun]:
    place = RecordLocation("h200-7e73a7", path.stem)
    return [
        SPEED_PAIRS.decode(line, where=path.name, place=place)
        for line in path.read_bytes().splitlines()
    ]


def _judged(name: str) -> PairedComparison:
    pairs = pairs_of(
        _entries(_CAPTURED / f"{name}.jsonl"),
        series=1,
        value=lambda run: run.value(Metric.PROMPT),
    )
    found = judge_cases({name: Samples(unit=Unit.TOKENS_PER_S, pairs=pairs)})
    return found.cells[0].comparison


def _half_width(comparison: PairedComparison) -> float:
    assert comparison.estimate is not None
    assert comparison.interval is not None
    return math.log(comparison.interval.high) - comparison.estimate.mean_log


def test_april_and_current_differ_by_4_percent_within_a_fifth_of_a_percent() -> None:
    found = _judged("h200-april-current-pp512")
    assert found.verdict is Verdict.SLOWER
    assert found.estimate is not None
    assert found.estimate.ratio == pytest.approx(0.960, abs=0.0005)
    assert _half_width(found) < 0.002


def test_a_build_against_itself_is_the_same_within_six_tenths_of_a_percent() -> None:
    found = _judged("h200-aa-pp512")
    assert found.verdict is Verdict.SAME
    assert _half_width(found) < 0.006


def test_steady_mean_leaves_out_the_cold_repetition_and_needs_two() -> None:
    entries = _entries(_CAPTURED / "h200-aa-pp512.jsonl")
    for entry in entries:
        assert len(entry.samples) == entry.repetitions - 1
        assert min(entry.samples) > 2500
    prompts = SpeedTest(n_prompt=512, n_gen=0)
    assert repetitions_for(prompts, []) == 3
    # 2600 tokens/s for the 3 s that the upper bound leaves; loading takes longer
    assert repetitions_for(prompts, entries) == 1 + 16
    quick = [msgspec.structs.replace(one, seconds=0.1) for one in entries]
    assert repetitions_for(prompts, quick) == 1 + 6
    assert repetitions_for(SpeedTest(n_prompt=8192, n_gen=0), entries) == 3


def test_two_models_have_their_size_and_memory_beside_their_speed() -> None:
    arms = {
        arm: ArmSettings(pin="current", model=model)
        for arm, model in zip(Arm, ("qwen35-27b", "gemma4-31b"), strict=True)
    }
    context = shipped_context("synthetic")
    (case, *_) = speed_cases(context, arms)
    runs = [
        msgspec.structs.replace(run, peak_rss_bytes=7)
        for run in _entries(_CAPTURED / "h200-april-current-pp512.jsonl")
    ]
    baseline, candidate = model_amounts(case, runs)
    assert (baseline.arm, candidate.arm) == tuple(Arm)
    assert baseline.model == "qwen35-27b.full"
    assert baseline.file_bytes == runs[0].weights.file_bytes
    assert (baseline.memory_bytes, baseline.joules_per_token) == (7, None)
    same = dict.fromkeys(Arm, arms[Arm.BASELINE])
    (alone, *_) = speed_cases(context, same)
    assert list(model_amounts(alone, runs)) == []
