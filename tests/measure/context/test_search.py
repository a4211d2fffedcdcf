"""From the predicted largest context down: few starts, and nothing measured is lost."""

import time
from dataclasses import replace

import pytest
from tests.measure.context.conftest import Ask

from llamatrix.engines.outcome import Crashed, OutOfMemory, Stage, TimedOut
from llamatrix.errors import ServeError
from llamatrix.measure.context.fill import FillBounds
from llamatrix.measure.context.generation import context_steps
from llamatrix.measure.context.result import (
    Ceiling,
    CeilingReason,
    Limit,
    OverBudget,
    Spilled,
    StopReason,
    Unanswered,
    usable_context,
)
from llamatrix.measure.context.search import MAX_STARTS, SearchSettings
from llamatrix.provision.weights.fit import memory_need


def test_constant_speed_reaches_the_top_in_one_start(
    ask: Ask,
) -> None:
    search = ask()
    found = search.result(search.run())
    assert found.stop is StopReason.TOP
    assert [step.tokens for step in found.steps] == list(context_steps(8192))
    (attempt,) = found.attempts
    assert attempt.ready_s is not None
    assert attempt.failure is None
    assert [one.all_exact for one in found.recalled] == [True]
    answer = usable_context(found, min_speed_ratio=0.8)
    assert answer.step == found.steps[-1]
    assert (answer.limit, answer.beyond_tokens) == (Limit.ASKED, None)


def test_only_added_prompt_tokens_are_processed(ask: Ask) -> None:
    search = ask()
    found = search.result(search.run())
    first, second = (step.answers[0] for step in found.steps[:2])
    assert first.prompt_n + first.cache_n == 512 - 128
    assert (second.cache_n, second.prompt_n) == (512 - 128, 256)
    assert found.steps[1].prefill_tps == 2000
    assert found.steps[0].generation_tps == 100


def test_search_ends_at_the_second_slow_step(ask: Ask) -> None:
    """Floor: 10.384 ms / 0.8; a token takes 12.944 ms at 3072 and 13.968 at 4096."""
    search = ask(wishes={"slow_ms": 1})
    found = search.result(search.run())
    assert found.stop is StopReason.SPEED
    assert found.steps[-1].tokens == 6144
    assert [len(step.answers) for step in found.steps] == [3, 1, 1, 1, 1, 1, 3, 3]
    answer = usable_context(found, min_speed_ratio=0.8)
    assert answer.step
    assert (answer.step.tokens, answer.limit) == (3072, Limit.SPEED)
    assert answer.beyond_tokens == 4096
    assert [one.context_tokens for one in found.recalled] == [3072]


def test_single_slow_step_does_not_end_the_search(ask: Ask) -> None:
    search = ask(wishes={"stutters_at": 1024})
    found = search.result(search.run())
    assert found.stop is StopReason.TOP
    slow = found.steps[2]
    assert (slow.tokens, slow.generation_tps, len(slow.answers)) == (1024, 20, 3)
    answer = usable_context(found, min_speed_ratio=0.8)
    assert answer.step == found.steps[-1]
    assert (answer.limit, answer.beyond_tokens) == (Limit.ASKED, None)


def test_failed_load_is_retried_at_a_predicted_smaller_context(
    ask: Ask, settings: SearchSettings
) -> None:
    budget = memory_need(settings.shape, settings.use, context_tokens=32768).total
    ceiling = Ceiling(tokens=32768, by=CeilingReason.MEMORY, budget_bytes=budget)
    search = ask(wishes={"load_most": 30000}, ceiling=ceiling)
    found = search.result(search.run())
    first, second = found.attempts
    assert isinstance(first.failure, OutOfMemory)
    assert first.failure.stage is Stage.LOADING
    assert first.failed_at_tokens is None
    assert any("failed to allocate" in line for line in first.failure.tail)
    assert any("with model '" in line for line in first.failure.tail)
    assert not any("/" in line for line in first.failure.tail)
    assert 20000 < second.context_tokens < 24000
    assert second.failure is None
    answer = usable_context(found, min_speed_ratio=0.8)
    assert answer.step
    assert answer.step.tokens == second.context_tokens
    assert (answer.limit, answer.beyond_tokens) == (Limit.MEMORY, 32768)


def test_search_stops_after_four_starts(ask: Ask) -> None:
    search = ask(wishes={"load_most": 1})
    found = search.result(search.run())
    assert found.stop is StopReason.MEMORY
    tried = [one.context_tokens for one in found.attempts]
    assert tried == [8192, 4096, 2048, 1024]
    assert len(tried) == MAX_STARTS
    answer = usable_context(found, min_speed_ratio=0.8)
    assert (answer.step, answer.limit) == (None, Limit.MEMORY)
    assert answer.beyond_tokens == 1024


@pytest.mark.parametrize(
    ("refused", "stage"),
    [("prefill_most", Stage.PREFILL), ("generation_most", Stage.GENERATION)],
)
def test_out_of_memory_while_filling_keeps_steps_and_stage(
    ask: Ask, refused: str, stage: Stage
) -> None:
    search = ask(wishes={refused: 5000})
    found = search.result(search.run())
    assert found.stop is StopReason.MEMORY
    assert [step.tokens for step in found.steps] == list(context_steps(4096))
    (attempt,) = found.attempts
    assert isinstance(attempt.failure, OutOfMemory)
    assert (attempt.failure.stage, attempt.failed_at_tokens) == (stage, 6144)
    answer = usable_context(found, min_speed_ratio=0.8)
    assert answer.step
    assert (answer.step.tokens, answer.beyond_tokens) == (4096, 6144)


def test_smaller_start_continues_above_measured_steps(ask: Ask) -> None:
    """Memory is refused from 8000 tokens on, whatever the server was started with."""
    ceiling = Ceiling(tokens=16384, by=CeilingReason.ASKED, budget_bytes=40 * 2**30)
    search = ask(wishes={"generation_most": 8000}, ceiling=ceiling)
    found = search.result(search.run())
    assert [one.context_tokens for one in found.attempts] == [16384, 8192]
    assert [one.failed_at_tokens for one in found.attempts] == [8192, 8192]
    assert [step.tokens for step in found.steps] == list(context_steps(8192))[:-1]


def test_server_that_dies_while_filling_keeps_its_steps(ask: Ask) -> None:
    search = ask(wishes={"dies_at": 3000})
    found = search.result(search.run())
    assert found.stop is StopReason.DEATH
    assert [step.tokens for step in found.steps] == list(context_steps(2048))
    (attempt,) = found.attempts
    assert isinstance(attempt.failure, Crashed)
    assert attempt.failure.exit_code == 3
    assert attempt.failure.tail[-1] == "some last words"
    assert found.recalled == ()
    assert "death" in found.not_recalled


def test_running_server_without_answer_is_unanswered(ask: Ask) -> None:
    search = ask(wishes={"breaks_at": 3000})
    found = search.result(search.run())
    assert found.stop is StopReason.DEATH
    assert [step.tokens for step in found.steps] == list(context_steps(2048))
    failure = found.attempts[0].failure
    assert isinstance(failure, Unanswered)
    assert failure.said == "the answer ended without its timings"


def test_missing_answer_times_out(ask: Ask) -> None:
    bounds = FillBounds(min_speed_ratio=0.8, deadline=time.monotonic() + 5, grace_s=0)
    search = ask(wishes={"hangs_at": 1000}, bounds=bounds)
    found = search.result(search.run())
    assert found.stop is StopReason.TIME
    assert isinstance(found.attempts[0].failure, TimedOut)
    assert [step.tokens for step in found.steps] == [512, 768]


def test_step_that_would_end_after_the_deadline_is_not_started(ask: Ask) -> None:
    bounds = FillBounds(min_speed_ratio=0.8, deadline=time.monotonic())
    search = ask(bounds=bounds)
    found = search.result(search.run())
    assert found.stop is StopReason.TIME
    assert [step.tokens for step in found.steps] == [512]
    assert usable_context(found, min_speed_ratio=0.8).limit is Limit.TIME


def test_spilled_model_is_retried_at_a_smaller_context(ask: Ask) -> None:
    search = ask(wishes={"spills_at": 5000}, on_card=True)
    found = search.result(search.run())
    first, second = found.attempts
    assert isinstance(first.failure, Spilled)
    assert first.failure.signs == ("only 12 of 65 layers are on the card",)
    assert (second.context_tokens, second.failure) == (4096, None)


def test_server_over_its_memory_budget_does_not_fit(
    ask: Ask, settings: SearchSettings
) -> None:
    search = ask(bounds=replace(settings.bounds, max_bytes=2**20))
    found = search.result(search.run())
    assert len(found.attempts) == MAX_STARTS
    assert all(isinstance(one.failure, OverBudget) for one in found.attempts)


def test_step_over_the_memory_budget_is_not_kept(
    ask: Ask, settings: SearchSettings
) -> None:
    """The fake takes 256 MiB more from 3000 tokens on."""
    bounds = replace(settings.bounds, max_bytes=200 * 2**20)
    search = ask(wishes={"hoards_at": 3000}, bounds=bounds)
    found = search.result(search.run())
    assert [one.failed_at_tokens for one in found.attempts] == [3072, 3072]
    assert [step.tokens for step in found.steps] == list(context_steps(2048))
    answer = usable_context(found, min_speed_ratio=0.8)
    assert (answer.limit, answer.beyond_tokens) == (Limit.MEMORY, 3072)


def test_split_graph_is_a_warning_only(ask: Ask) -> None:
    search = ask(wishes={"splits": 34}, on_card=True)
    found = search.result(search.run())
    (attempt,) = found.attempts
    assert attempt.warnings == ("the graph is split 34 times between card and host",)
    assert found.stop is StopReason.TOP


def test_recall_is_tested_at_smaller_contexts_after_a_failure(ask: Ask) -> None:
    search = ask(wishes={"forgets": ["velvet-anvil"]})
    found = search.result(search.run())
    assert [one.context_tokens for one in found.recalled] == [8192, 4096, 2048]
    assert [fact.exact for fact in found.recalled[0].facts] == [True, False, True]
    answer = usable_context(found, min_speed_ratio=0.8)
    assert (answer.step, answer.limit) == (None, Limit.RECALL)
    assert answer.beyond_tokens == 2048


@pytest.mark.parametrize(
    ("wishes", "asked", "tokens", "limit"),
    [
        ({"silent_from": 1}, 1, 8192, Limit.TIME),
        ({"silent_from": 2, "forgets": ["velvet-anvil"]}, 2, 6144, Limit.RECALL),
    ],
)
def test_unanswered_recall_does_not_count(
    ask: Ask, wishes: dict[str, object], asked: int, tokens: int, limit: Limit
) -> None:
    search = ask(wishes=wishes)
    found = search.result(search.run())
    assert len(found.recalled) == asked
    assert found.recalled[-1].prompt_tokens is None
    assert found.stop is StopReason.TIME
    answer = usable_context(found, min_speed_ratio=0.8)
    assert answer.step
    assert (answer.step.tokens, answer.limit) == (tokens, limit)


def test_synthetic_weights_skip_recall_with_a_reason(ask: Ask) -> None:
    search = ask(recall_skipped="they remember nothing")
    found = search.result(search.run())
    assert (found.recalled, found.not_recalled) == ((), "they remember nothing")


def test_interrupted_search_keeps_its_results(ask: Ask) -> None:
    search = ask()

    def interrupt(text: str) -> None:
        if text.startswith("1024 tokens"):
            raise KeyboardInterrupt

    search.say = interrupt
    with pytest.raises(KeyboardInterrupt):
        search.run()
    found = search.result(StopReason.INTERRUPTED)
    assert [step.tokens for step in found.steps] == [512, 768, 1024]
    assert len(found.attempts) == 1


def test_wrong_weights_raise(
    ask: Ask, settings: SearchSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = ask(launch=replace(settings.launch))
    monkeypatch.setenv("LLAMATRIX_FAKE_LLAMA_SERVER", "weights-cut")
    with pytest.raises(ServeError, match="weights"):
        search.run()
