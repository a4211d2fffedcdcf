"""llama-batched-bench: rows of the real one, and what becomes of rows that are missing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from tests.shipped import CAPTURED, ROOT

from llamatrix.config.cell import SpeedTest
from llamatrix.config.load import load_matrix
from llamatrix.engines.llama_cpp.batched_bench import argv, outcome_of
from llamatrix.engines.outcome import Done, Invalid, Outcome, OutOfMemory, SpeedResult
from llamatrix.engines.protocol import Bench
from llamatrix.engines.registry import ENGINE
from llamatrix.errors import MeasureError

PROMPT = SpeedTest(n_prompt=256, n_gen=0, concurrency=4)
ANSWER = SpeedTest(n_prompt=0, n_gen=32, n_depth=256, concurrency=4)


@pytest.fixture
def bench(tmp_path: Path, fake_program: Callable[[str, str], Path]) -> Bench:
    sweep = load_matrix(ROOT / "matrix.toml").sweeps["clients-smoke"]
    return Bench(
        program=fake_program("llama-batched-bench", "llama_batched_bench.py"),
        weights=tmp_path / "weights.gguf",
        commit="f49e9178767d557a522618b16ce8694f9ddac628",
        sweep=msgspec.structs.replace(sweep, timeout_s=20),
        log=tmp_path / "logs" / "cell",
        batched=True,
    )


def measured(bench: Bench, *tests: SpeedTest) -> dict[SpeedTest, Outcome]:
    results: list[SpeedResult] = []
    rest = list(tests)
    while rest:
        _, rest = ENGINE.bench(
            bench, rest, on_result=results.append, on_progress=lambda _: None
        )
    return {result.test: result.outcome for result in results}


def test_captured_rows_are_parsed(bench: Bench) -> None:
    text = (CAPTURED / "llama-batched-bench" / "current.jsonl").read_text()
    rows = [line for line in text.splitlines() if '"pl": 4' in line]
    prompt, answer = (outcome_of(rows, test, bench) for test in (PROMPT, ANSWER))
    assert isinstance(prompt, Done)
    assert isinstance(answer, Done)
    assert prompt.result.tokens == (4 * 256,) * 3
    assert answer.result.tokens == (4 * 32,) * 3
    assert answer.result.concurrency == 4
    assert len(answer.result.steady) == 2
    assert answer.result.steady == pytest.approx(
        answer.result.tokens_per_second[1:], rel=1e-3
    )


def test_each_number_of_sequences_is_a_process_of_its_own(bench: Bench) -> None:
    alone = msgspec.structs.replace(ANSWER, concurrency=1)
    outcomes = measured(bench, alone, PROMPT, ANSWER)
    speeds = {
        test.name: outcome.result.steady
        for test, outcome in outcomes.items()
        if isinstance(outcome, Done)
    }
    assert speeds == {
        "tg32 @ d256": (50.0, 50.0),
        "pp256 x4": (4000.0, 4000.0),
        "tg32 @ d256 x4": (200.0, 200.0),
    }


def test_context_has_room_for_every_sequence(bench: Bench) -> None:
    words = argv("p", "w", bench.sweep, [PROMPT, ANSWER])
    assert words[words.index("--ctx-size") + 1] == str(4 * 512)
    assert words[words.index("-npl") + 1] == "4,4,4,1"


def test_last_row_may_be_lost(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMATRIX_FAKE_BATCHED", "lost")
    outcomes = measured(bench, PROMPT, ANSWER)
    assert all(isinstance(outcome, Done) for outcome in outcomes.values())


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("lost-two", "2 rows where 3 were asked"),
        ("shared", "is_pp_shared is 1 where 0 was asked"),
    ],
)
def test_too_few_or_other_rows_are_no_number(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, way: str, reason: str
) -> None:
    monkeypatch.setenv("LLAMATRIX_FAKE_BATCHED", way)
    for outcome in measured(bench, PROMPT, ANSWER).values():
        assert isinstance(outcome, Invalid)
        assert outcome.reason.startswith(reason)


def test_lack_of_memory_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMATRIX_FAKE_BATCHED", "memory")
    assert isinstance(measured(bench, PROMPT)[PROMPT], OutOfMemory)


def test_another_build_is_an_error(bench: Bench) -> None:
    other = replace(bench, commit="0c1e57098bba43ac29e6e3b677cdceebdd22334f")
    with pytest.raises(MeasureError, match="is not of build 0c1e57098"):
        measured(other, PROMPT)
