"""An agent's trials in the terms of published claims, and what comes of it."""

from pathlib import Path

import msgspec
import pytest
from tests.report.made_sweep import MODELS, blog
from tests.report.made_trials import (
    HTTPX,
    IMAGES,
    NO_SANDBOX,
    made_trial,
    published_trials,
    stored_trials,
)

from llamatrix.agents.turn_outcome import EndpointDied
from llamatrix.config.matrix import WeightsKind
from llamatrix.records.trial_record import AGENT, TrialRecord
from llamatrix.reference.gpu import load_gpus
from llamatrix.reference.verdict import Comparison, ComparisonVerdict
from llamatrix.report.inputs import RecordIndex
from llamatrix.report.our_conditions import trial_conditions
from llamatrix.report.set_comparison import (
    SetComparison,
    compare_trial_group,
    set_comparison_text,
)
from llamatrix.report.trials import trial_groups
from llamatrix.trials.trial_result import Broken, Correct, Incorrect, Undecided


def held(records: list[TrialRecord], reports: Path) -> SetComparison:
    index = RecordIndex(stored_trials(reports, records))
    (group,) = trial_groups(index.read(AGENT), models=MODELS)
    return compare_trial_group(blog(), group, index, load_gpus())


def claims(found: SetComparison) -> dict[str, Comparison]:
    return {one.claim: one for one in found.result.comparisons}


def served_with(**changes: object) -> TrialRecord:
    record = made_trial()
    assert record.served
    served = msgspec.structs.replace(record.served, **changes)
    return msgspec.structs.replace(record, served=served)


def three(*outcomes: Correct | Incorrect | Undecided | Broken) -> list[TrialRecord]:
    ended = outcomes or (Correct(turn=1),) * 3
    return [
        made_trial(trial=number, outcome=outcome, factor=0.8 + 0.1 * number)
        for number, outcome in enumerate(ended, start=1)
    ]


def test_the_published_agent_speeds_themselves_are_reproduced(tmp_path: Path) -> None:
    found = claims(held(published_trials(), tmp_path))
    speeds = [
        one
        for name, one in found.items()
        if name.startswith(("agent/", "speed/")) and name.endswith("-rate")
    ]
    assert len(speeds) == 32
    decided = [
        one for one in speeds if one.verdict is not ComparisonVerdict.NOT_COMPARABLE
    ]
    assert {one.verdict for one in decided} == {ComparisonVerdict.REPRODUCED}
    assert len(decided) == 32 - sum("cannot be right" in one.reason for one in speeds)


def test_every_published_amount_of_both_prompts_is_matched(tmp_path: Path) -> None:
    found = claims(held(published_trials(), tmp_path))
    agents = {name: one for name, one in found.items() if name.startswith("agent/")}
    assert len(agents) == 72
    assert [name for name, one in agents.items() if one.ours is None] == []
    assert found["agent/qwen35-27b/p2/generated-tokens"].ours == 11824
    assert found["agent/gemma4-26b-a4b/p2/correct-turn"].ours == 3
    assert found["efficiency/qwen35-35b-a3b/p2/tool-calls"].ours == 28


def test_one_trial_decides_nothing_that_sampling_decides(tmp_path: Path) -> None:
    found = claims(held([made_trial()], tmp_path))["agent/qwen35-27b/p1/prompt-tokens"]
    assert found.verdict is ComparisonVerdict.TOO_FEW_TRIALS
    assert found.reason == "1 of at least 3 trials"


def test_three_trials_around_the_published_amount_reproduce_it(tmp_path: Path) -> None:
    found = claims(held(three(), tmp_path))
    tokens = found["agent/qwen35-27b/p1/generated-tokens"]
    assert tokens.verdict is ComparisonVerdict.REPRODUCED
    assert len(tokens.records) == 3
    calls = found["agent/qwen35-27b/p1/api-calls"]
    assert calls.verdict is ComparisonVerdict.TOO_FEW_TRIALS


def test_correct_by_our_checks_is_not_correct_by_the_authors_eye(
    tmp_path: Path,
) -> None:
    turn = claims(held(three(), tmp_path))["agent/qwen35-27b/p1/correct-turn"]
    assert turn.verdict is ComparisonVerdict.NOT_COMPARABLE
    assert turn.reason == "correctness: ours the task's checks, theirs the author's eye"


def test_a_trial_that_was_never_correct_has_no_turn_to_average(tmp_path: Path) -> None:
    ended = (Correct(turn=1), Correct(turn=1), Incorrect(turns=3))
    found = claims(held(three(*ended), tmp_path))
    turn = found["agent/qwen35-27b/p1/correct-turn"]
    assert (turn.verdict, turn.ours) == (ComparisonVerdict.NOT_COMPARABLE, None)
    assert turn.reason == "1 of 3 trials were never correct here"
    assert found["agent/qwen35-27b/p1/generated-tokens"].ours is not None


def test_what_the_harness_lost_is_in_no_number(tmp_path: Path) -> None:
    lost = Broken(turn=1, cause=EndpointDied(error="gone"))
    found = claims(
        held([made_trial(trial=1), made_trial(trial=2, outcome=lost)], tmp_path)
    )
    assert len(found["agent/qwen35-27b/p1/generation-rate"].records) == 1


@pytest.mark.parametrize(
    ("outcome", "why"),
    [
        (NO_SANDBOX, "not run here"),
        (Broken(turn=1, cause=EndpointDied(error="gone")), "broken here"),
    ],
)
def test_without_a_finished_trial_the_reason_is_reported(
    outcome: Broken, why: str, tmp_path: Path
) -> None:
    found = claims(held([made_trial(outcome=outcome)], tmp_path))
    assert found["agent/qwen35-27b/p1/api-calls"].reason == why
    assert found["agent/qwen35-27b/p2/api-calls"].reason == "not measured by us"


@pytest.mark.parametrize(
    ("records", "why"),
    [
        (
            published_trials(script="solution"),
            "scripted here: an authored transcript spoke",
        ),
        (
            [made_trial(weights=WeightsKind.FULL)],
            "synthetic (full size) weights here, not the published file",
        ),
    ],
)
def test_where_no_model_spoke_nothing_is_comparable(
    records: list[TrialRecord], why: str, tmp_path: Path
) -> None:
    found = held(records, tmp_path)
    assert found.result.measured == ()
    assert found.result.count(ComparisonVerdict.NOT_COMPARABLE) == len(
        found.result.comparisons
    )
    assert claims(found)["agent/qwen35-27b/p1/generation-rate"].reason == why
    assert found.result.ratios == ()
    assert f"numbers, {why}" in set_comparison_text(found)


def test_llama_benchs_speeds_are_not_answered_with_an_agents(tmp_path: Path) -> None:
    found = claims(held(published_trials(), tmp_path))
    assert found["generation/qwen35-27b/tg128"].ours is None
    assert found["prefill/qwen35-27b/512"].reason == "not measured by us"


def test_memory_is_the_most_of_any_trial_and_only_of_a_card(tmp_path: Path) -> None:
    found = claims(held(published_trials(), tmp_path / "card"))
    assert found["fit/qwen35-27b/vram"].ours == 21e9
    assert found["fit/qwen35-27b/vram"].verdict is ComparisonVerdict.REPRODUCED
    cpu = claims(held([made_trial(gpus=())], tmp_path / "cpu"))
    assert cpu["fit/qwen35-27b/vram"].ours is None
    speed = cpu["agent/qwen35-27b/p1/generation-rate"]
    assert speed.reason == "gpu: ours none, theirs rtx-4090"


def test_a_context_that_was_only_asked_for_proves_no_maximum(tmp_path: Path) -> None:
    found = claims(held([made_trial()], tmp_path))["fit/qwen35-27b/max-context"]
    assert found.reason == "served as asked for; no larger one was tried here"


def test_a_speed_without_its_prompt_is_not_answered(tmp_path: Path) -> None:
    found = claims(held([made_trial()], tmp_path))["summary/qwen35-27b/generation-rate"]
    assert found.reason == "which prompt it is of is not stated"


def test_conditions_are_read_from_the_servers_own_command_line() -> None:
    argv = (
        *("llama-server", "--ctx-size", "130672", "--temp", "0.6", "--top-k", "20"),
        *("--chat-template-kwargs", '{"enable_thinking": true, "x": "y"}'),
        *("--parallel", "1", "--batch-size", "2048", "--ubatch-size", "512"),
        *("--cache-type-k", "q8_0", "--cache-type-v", "q8_0", "--flash-attn", "on"),
        *("--n-gpu-layers", "99", "--jinja", "--context-shift", "--metrics"),
    )
    record = served_with(argv=argv)
    said = trial_conditions(record, load_gpus())
    published = blog().by_id["agent/qwen35-27b/p1/api-calls"].conditions
    for field in (
        *("program", "gpu", "engine", "quant", "weights", "cache_type_k", "flash_attn"),
        *("batch_size", "ubatch_size", "ctx_size", "slots", "thinking", "temp"),
        *("top_k", "context_shift"),
    ):
        assert getattr(said, field) == getattr(published, field), field
    assert said.offload == "full"
    spilled = served_with(argv=argv, spilled=("3 layers on the CPU",))
    assert trial_conditions(spilled, load_gpus()).offload == "not full"


def test_another_context_is_another_measurement(tmp_path: Path) -> None:
    record = made_trial()
    cell = msgspec.structs.replace(record.cell, context_tokens=65536)
    small = msgspec.structs.replace(record, cell=cell)
    found = claims(held([small], tmp_path))["agent/qwen35-27b/p1/generation-rate"]
    assert found.reason == "ctx_size: ours 65536, theirs 130672"


def test_models_are_ordered_without_the_hardware(tmp_path: Path) -> None:
    found = held(published_trials(), tmp_path)
    columns = {f"{one.table}/{one.column}": one for one in found.result.ratios}
    assert columns["agent/p1/generation-rate"].tau == 1.0
    assert {IMAGES, HTTPX} == {one.cell.task for one in published_trials()}
