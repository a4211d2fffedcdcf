"""Speeds of a server, with drafts and without; without drafts no number passes as one."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.shipped import ROOT

from llamatrix.config.cell import SpeedTest
from llamatrix.config.load import load_matrix
from llamatrix.config.matrix import Draft, DraftType, PromptKind
from llamatrix.engines.llama_cpp.output import parse_draft_counters
from llamatrix.engines.llama_cpp.served_speed import measure_served
from llamatrix.engines.outcome import (
    Crashed,
    Done,
    Invalid,
    NotDrafting,
    Outcome,
    SpeedResult,
)
from llamatrix.engines.protocol import Bench, Served

PROMPT = SpeedTest(n_prompt=256, n_gen=0)
ANSWER = SpeedTest(n_prompt=0, n_gen=64, n_depth=256)
DRAFT = Draft(type=DraftType.MTP, n_max=2)
Measured = Callable[..., dict[SpeedTest, Outcome]]


@pytest.fixture
def measured(tmp_path: Path, fake_program: Callable[[str, str], Path]) -> Measured:
    matrix = load_matrix(ROOT / "matrix.toml")
    bench = Bench(
        program=fake_program("llama-server", "llama_server.py"),
        weights=tmp_path / "weights.gguf",
        commit="f49e9178767d557a522618b16ce8694f9ddac628",
        sweep=msgspec.structs.replace(matrix.sweeps["drafts-smoke"], timeout_s=20),
        log=tmp_path / "logs" / "cell",
    )

    def measure(
        draft: Draft | None,
        *,
        clients: int = 1,
        prompt: PromptKind = PromptKind.MIXED,
        of: tuple[SpeedTest, ...] = (PROMPT, ANSWER),
    ) -> dict[SpeedTest, Outcome]:
        tests = [
            msgspec.structs.replace(test, concurrency=clients, prompt=prompt)
            for test in of
        ]
        results: list[SpeedResult] = []
        measure_served(
            bench,
            Served(
                alias="qwen35-27b",
                model=matrix.models["qwen35-27b"],
                draft=draft,
                draft_weights=None,
            ),
            tests,
            on_result=results.append,
            on_progress=lambda _: None,
        )
        assert [result.test for result in results] == tests
        return {result.test: result.outcome for result in results}

    return measure


def test_speed_leaves_out_the_token_that_the_prompt_yields(measured: Measured) -> None:
    outcomes = measured(None)
    prompt, answer = outcomes[PROMPT], outcomes[ANSWER]
    assert isinstance(prompt, Done)
    assert isinstance(answer, Done)
    assert prompt.result.steady == pytest.approx((1000.0, 1000.0))
    assert answer.result.steady == pytest.approx((50 * 63 / 64,) * 2)
    assert answer.result.tokens == (63, 63, 63)
    assert len(answer.result.client_ns) == 3


def test_clients_ask_together_and_share_the_time(measured: Measured) -> None:
    prompt, answer = measured(None, clients=3).values()
    assert isinstance(prompt, Done)
    assert isinstance(answer, Done)
    sample, streams = answer.result, answer.result.streams
    assert (prompt.result.tokens, sample.tokens) == ((768,) * 3, (189,) * 3)
    assert sample.concurrency == 3
    assert streams
    assert streams.tokens_per_second == pytest.approx((50 * 63 / 64,) * 6)
    assert len(streams.first_token_ns) == 6
    assert max(streams.first_token_ns) <= max(sample.client_ns)


def test_prompt_alone_has_an_answer_long_enough_for_a_draft(measured: Measured) -> None:
    outcomes = measured(DRAFT, of=(PROMPT,))
    assert isinstance(outcomes[PROMPT], Done)


@pytest.mark.parametrize("kind", list(PromptKind))
def test_prompts_of_every_kind_have_as_many_tokens_as_asked(
    measured: Measured, kind: PromptKind
) -> None:
    outcomes = measured(None, prompt=kind)
    prompt, answer = outcomes
    assert prompt.name == ("pp256" if kind is PromptKind.MIXED else f"pp256 {kind}")
    assert isinstance(outcomes[prompt], Done)
    assert isinstance(outcomes[answer], Done)


def test_drafts_are_counted_over_the_measured_requests_alone(
    measured: Measured,
) -> None:
    answer = measured(DRAFT)[ANSWER]
    assert isinstance(answer, Done)
    drafting = answer.result.drafting
    assert drafting
    assert drafting.mean_length == pytest.approx(1 + 7 / 5)
    assert (drafting.drafts, drafting.tokens, drafting.decode_calls) == (10, 128, 16)
    assert drafting.accepted_by_position == (8, 6)


def test_server_that_does_not_draft_gives_no_number(
    measured: Measured, mode: Callable[[str], None]
) -> None:
    mode("silent-draft")
    for outcome in measured(DRAFT).values():
        assert isinstance(outcome, NotDrafting)
        assert outcome.reason == "the server runs without speculative decoding"
        assert outcome.tail == (
            "loading draft model 'draft.gguf'",
            "the target and draft vocabs are not compatible",
        )


def test_short_answer_is_no_number(
    measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMATRIX_FAKE_REPLAY", '{"fail": {"2": "short"}}')
    answer = measured(None)[ANSWER]
    assert isinstance(answer, Invalid)
    assert answer.reason == "63 tokens generated where 64 were asked"


@pytest.mark.parametrize("way", ["weights-missing", "dies-on-request"])
def test_server_that_ends_is_an_outcome_of_every_test(
    measured: Measured, mode: Callable[[str], None], way: str
) -> None:
    mode(way)
    assert all(isinstance(outcome, Crashed) for outcome in measured(None).values())


def test_counters_before_the_first_draft_are_zero() -> None:
    counters = parse_draft_counters(
        "# TYPE llamacpp:n_decode_total counter\nllamacpp:n_decode_total 9\n"
    )
    assert (counters.decode_calls, counters.drafts) == (9, 0)
    assert counters.accepted_by_position == ()
