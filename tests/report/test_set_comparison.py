"""Our records in the terms of published claims, and what comes of it."""

import dataclasses
from pathlib import Path

import msgspec
import pytest
from tests.report.made_sweep import HOST, MODELS, blog, on_card, stored, sweep

from llamatrix.config.cell import SpeedTest
from llamatrix.config.matrix import WeightsKind
from llamatrix.engines.outcome import OutOfMemory
from llamatrix.nvml import Gpu
from llamatrix.records.speed_record import SPEED, SpeedRecord
from llamatrix.reference.gpu import gpu_key, load_gpus
from llamatrix.reference.reference_set import Claim
from llamatrix.reference.verdict import Comparison, ComparisonVerdict
from llamatrix.report.inputs import RecordIndex
from llamatrix.report.our_conditions import conditions_of
from llamatrix.report.our_numbers import our_numbers
from llamatrix.report.set_comparison import (
    SetComparison,
    compare_group,
    set_comparison_text,
)
from llamatrix.report.speed import groups

LONG = SpeedTest(n_prompt=65336, n_gen=0)


def held(records: list[SpeedRecord], reports: Path) -> SetComparison:
    index = RecordIndex(stored(reports, records))
    (group,) = groups(index.read(SPEED), models=MODELS)
    return compare_group(blog(), group, index, load_gpus())


def claims(found: SetComparison) -> dict[str, Comparison]:
    return {one.claim: one for one in found.result.comparisons}


def test_the_published_speeds_themselves_are_reproduced(tmp_path: Path) -> None:
    found = held(sweep(), tmp_path)
    assert found.result.count(ComparisonVerdict.DIFFERS) == 0
    reproduced = {
        one.claim
        for one in found.result.comparisons
        if one.verdict is ComparisonVerdict.REPRODUCED
    }
    assert reproduced == {
        *(f"prefill/{model}/{size}" for model in MODELS for size in (512, 2048, 65336)),
        *(f"generation/{model}/tg128" for model in MODELS),
        *(f"remarks-bench/{model}/tg128" for model in MODELS),
        *(f"models/{model}/size" for model in MODELS),
        *(f"models/{model}/total-params" for model in MODELS),
        "active-dense/qwen35-27b/active-params",
        "active-dense/gemma4-31b/active-params",
    }


def test_a_ratio_has_our_interval_around_it(tmp_path: Path) -> None:
    found = claims(held(sweep(0.95), tmp_path))["generation/qwen35-27b/tg128"]
    assert found.ratio == pytest.approx(0.95)
    assert found.interval is not None
    low, high = found.interval
    assert low < 0.95 < high
    assert found.firm
    assert len(found.records) == 2


def test_one_process_has_no_interval(tmp_path: Path) -> None:
    test = SpeedTest(n_prompt=0, n_gen=128)
    found = claims(held([on_card("gemma4-31b", test, 44.0)], tmp_path))
    assert found["generation/gemma4-31b/tg128"].interval is None


def test_a_slow_machine_of_the_same_class_differs(tmp_path: Path) -> None:
    found = claims(held(sweep(0.7), tmp_path))["prefill/gemma4-31b/512"]
    assert found.verdict is ComparisonVerdict.DIFFERS


def test_another_card_is_not_comparable_but_the_order_of_models_is(
    tmp_path: Path,
) -> None:
    card = Gpu(
        name="NVIDIA H200",
        memory_bytes=141 * 10**9,
        driver="580.95",
        compute_capability="9.0",
    )
    found = held(sweep(3.0, gpus=(card,)), tmp_path)
    speed = claims(found)["prefill/qwen35-27b/512"]
    assert speed.verdict is ComparisonVerdict.NOT_COMPARABLE
    assert speed.reason == "gpu: ours h200-sxm, theirs rtx-4090"
    assert speed.ratio == pytest.approx(3.0)
    assert {one.tau for one in found.result.ratios} == {1.0}
    assert all(pair.within for one in found.result.ratios for pair in one.pairs)


def test_a_cpu_is_never_taken_for_the_card_that_a_set_names(tmp_path: Path) -> None:
    found = claims(held(sweep(gpus=()), tmp_path))["prefill/qwen35-27b/512"]
    assert found.reason == "gpu: ours none, theirs rtx-4090"


def test_synthetic_weights_reproduce_nothing(tmp_path: Path) -> None:
    found = held(sweep(weights=WeightsKind.FULL), tmp_path)
    assert found.result.count(ComparisonVerdict.REPRODUCED) == 0
    assert (
        claims(found)["models/gemma4-31b/size"].reason
        == "weights: ours full, theirs hub"
    )


@pytest.mark.parametrize("kind", [WeightsKind.FULL, WeightsKind.HUB])
def test_a_comparison_of_synthetic_weights_has_a_warning(
    kind: WeightsKind, tmp_path: Path
) -> None:
    text = set_comparison_text(held(sweep(weights=kind), tmp_path))
    assert ("> [!WARNING]" in text) is kind.synthetic


def test_full_size_synthetic_weights_show_ratios_between_models_and_tiny_do_not(
    tmp_path: Path,
) -> None:
    full = held(sweep(weights=WeightsKind.FULL), tmp_path / "full")
    tiny = held(sweep(weights=WeightsKind.TINY), tmp_path / "tiny")
    assert len(full.result.ratios) == 4
    assert tiny.result.ratios == ()


def test_a_number_that_failed_here_says_how(tmp_path: Path) -> None:
    failed = msgspec.structs.replace(
        on_card("gemma4-31b", LONG, 1.0), outcome=OutOfMemory(exit_code=1, tail=())
    )
    found = claims(held([failed], tmp_path))["prefill/gemma4-31b/65336"]
    assert (found.verdict, found.reason) == (
        ComparisonVerdict.NOT_COMPARABLE,
        "out of memory here",
    )
    assert len(found.records) == 1


def test_an_agents_speed_is_not_answered_with_a_benchmarks(tmp_path: Path) -> None:
    found = claims(held(sweep(), tmp_path))
    assert found["agent/gemma4-31b/p1/generation-rate"].ours is None
    assert found["summary/gemma4-31b/generation-rate"].ours is None


@pytest.mark.parametrize(
    "said", [{"task": "p1"}, {"streams": 4}, {"speculative": True}, {"depth_tokens": 9}]
)
def test_a_claim_of_another_kind_is_not_answered(
    said: dict[str, object], tmp_path: Path
) -> None:
    index = RecordIndex(stored(tmp_path, sweep()))
    (group,) = groups(index.read(SPEED), models=MODELS)
    claim = blog().by_id["generation/gemma4-31b/tg128"]

    def answered(claim: Claim) -> bool:
        return bool(our_numbers([claim], group, index, load_gpus()))

    conditions = msgspec.structs.replace(claim.conditions, program=None)
    assert answered(dataclasses.replace(claim, conditions=conditions))
    other = msgspec.structs.replace(conditions, **said)
    assert not answered(dataclasses.replace(claim, conditions=other))


def test_a_number_of_a_disturbed_machine_is_marked(tmp_path: Path) -> None:
    test = SpeedTest(n_prompt=0, n_gen=128)
    noisy = msgspec.structs.replace(
        on_card("gemma4-31b", test, 44.0), disturbed="another program ran"
    )
    found = held([noisy], tmp_path)
    assert claims(found)["generation/gemma4-31b/tg128"].marks == ("disturbed",)
    assert "; ours: disturbed" in set_comparison_text(found)


def test_conditions_and_the_audit_are_reported(tmp_path: Path) -> None:
    text = set_comparison_text(held(sweep(), tmp_path))
    assert "- power_cap_w: 450.0; not stated" in text
    assert "- driver: 580.95; not stated" in text
    assert "3,069 / 3,037 = 1.0105" in text
    assert "- agent: 72 numbers, not measured by us" in text
    assert f"## {HOST}: published sweep" in text


def test_every_card_of_the_table_is_known_by_its_reported_name() -> None:
    gpus = load_gpus()
    for key, gpu in gpus.items():
        for name in gpu.reported:
            assert gpu_key(name, gpus) == key
    assert gpu_key("NVIDIA GeForce RTX 4090 D", gpus) == "nvidia-geforce-rtx-4090-d"


@pytest.mark.parametrize(
    ("flags", "offload"),
    [
        (("-ngl", "99"), "full"),
        (("-ngl", "12"), "12 layers on the GPU"),
        (("-ncmoe", "20"), "experts of 20 layers on the CPU"),
        (("-ot", "exps=CPU"), "tensors on the CPU (exps=CPU)"),
        (("-ot", "exps=CUDA1"), "full"),
        (("-nkvo", "1"), "KV cache in host memory"),
    ],
)
def test_what_stays_on_the_cpu_is_a_condition(
    flags: tuple[str, ...], offload: str
) -> None:
    record = sweep()[0]
    argv = (*record.process.argv, *flags)
    process = msgspec.structs.replace(record.process, argv=argv)
    record = msgspec.structs.replace(record, process=process)
    assert conditions_of(record, load_gpus()).offload == offload
