import json
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.stats.samples import QUIET, file_of, pairs_of, sample, written

from llamatrix import shell
from llamatrix.commands.verdict import parse_margin, verdict_of_file
from llamatrix.errors import ReportError
from llamatrix.report.comparison import verdict_json, verdict_text
from llamatrix.stats import verdict as verdict_module
from llamatrix.stats.pairs import Pair
from llamatrix.stats.sequential import PairedComparison, SequentialTest, judge
from llamatrix.stats.verdict import Unit, Verdict

NOISE = tuple(math.exp(log) for log in QUIET)


def _file(tmp_path: Path, factor: float, unit: str = "tok/s") -> Path:
    return file_of(tmp_path / "s.jsonl", [factor * one for one in NOISE], unit=unit)


@pytest.mark.parametrize(
    ("factor", "unit", "verdict"),
    [
        (0.95, "tok/s", Verdict.SLOWER),
        (1.00, "tok/s", Verdict.SAME),
        (1.05, "tok/s", Verdict.FASTER),
        (0.985, "tok/s", Verdict.INCONCLUSIVE),
        (1.10, "s", Verdict.SLOWER),
        (0.90, "ms", Verdict.FASTER),
    ],
)
def test_a_file_of_samples_gets_its_verdict(
    tmp_path: Path, factor: float, unit: str, verdict: Verdict
) -> None:
    assert verdict_of_file(_file(tmp_path, factor, unit)).verdict is verdict


def test_a_file_without_candidate_lines_is_broken(tmp_path: Path) -> None:
    lines = [sample(pair, "baseline", 40.0 + pair) for pair in range(1, 6)]
    assert (
        verdict_of_file(written(tmp_path / "s.jsonl", *lines)).verdict is Verdict.BROKEN
    )


def test_the_margin_and_the_looks_can_be_chosen(tmp_path: Path) -> None:
    path = _file(tmp_path, 0.97)
    assert verdict_of_file(path, margin=0.05).verdict is Verdict.SAME
    looked = verdict_of_file(path, sequential=SequentialTest(looks=(8, 12)))
    assert looked.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("margin", ["0.0", "2.0", "-0.02", "much"])
def test_an_impossible_margin_says_what_to_write(margin: str) -> None:
    with pytest.raises(ReportError, match=r"margin: .*for example 0\.02 for 2 %"):
        parse_margin(margin)


def test_absurd_values_get_a_verdict_and_no_traceback(tmp_path: Path) -> None:
    lines = []
    for pair, (first, second) in enumerate([(9e99, 1e-99), (1e-99, 9e99), (1, 1)]):
        lines += [sample(pair, "baseline", first), sample(pair, "candidate", second)]
    comparison = verdict_of_file(written(tmp_path / "s.jsonl", *lines))
    assert comparison.verdict is Verdict.INCONCLUSIVE
    assert json.loads(verdict_json(comparison))["verdict"] == "INCONCLUSIVE"


@pytest.mark.parametrize(
    ("baseline", "candidate"),
    [
        ((46, 46, 46), (45, 45, 45)),
        ((46, 46, 46), (46, 46, 46)),
        ((46, 46, 45), (45, 45, 44)),
        ((46, 46, 46, 46, 46, 46), (46, 46, 45, 46, 46, 46)),
        ((46.123, 46.123, 46.123), (44.001, 44.001, 44.001)),
    ],
)
def test_equal_or_rounded_samples_carry_no_verdict(
    tmp_path: Path, baseline: tuple[float, ...], candidate: tuple[float, ...]
) -> None:
    lines = [
        sample(number, arm, value)
        for arm, values in (("baseline", baseline), ("candidate", candidate))
        for number, value in enumerate(values, 1)
    ]
    found = verdict_of_file(written(tmp_path / "s.jsonl", *lines))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert any("rounded" in note or "steps" in note for note in found.notes)


def test_a_loss_far_beyond_the_steps_of_rounding_is_still_claimed(
    tmp_path: Path,
) -> None:
    lines = [
        sample(number, arm, value)
        for arm, values in (("baseline", (46, 46, 47)), ("candidate", (40, 41, 40)))
        for number, value in enumerate(values, 1)
    ]
    found = verdict_of_file(written(tmp_path / "s.jsonl", *lines))
    assert found.verdict is Verdict.SLOWER


def test_the_notes_of_the_file_are_kept(tmp_path: Path) -> None:
    path = _file(tmp_path, 1.0)
    with path.open("a") as file:
        file.write(sample(9, "baseline", 40.0))
    assert "pair 9 is left out" in verdict_of_file(path).notes[-1]


def _every_kind() -> Iterator[PairedComparison]:
    clocked = [
        replace(pair, baseline_mhz=1800.0, candidate_mhz=1710.0)
        for pair in pairs_of([0.95 * one for one in NOISE])
    ]
    disturbed = Pair(number=9, baseline=1.0, candidate=1.0, disturbed="foreign load")
    for unit in Unit:
        for factor in (0.9, 0.985, 1.0, 1.1):
            yield judge(pairs_of([factor * one for one in NOISE]), unit=unit)
        yield judge(clocked, unit=unit)
        yield judge([*clocked, disturbed], unit=unit)
        yield judge([Pair(number=1, baseline=1.0, candidate=None)], unit=unit)
        yield judge(pairs_of((1.0,)), unit=unit)
        yield judge((), unit=unit)


def _strings(document: object) -> Iterator[str]:
    match document:
        case str():
            yield document
        case dict():
            for key, value in document.items():
                yield key
                yield from _strings(value)
        case list():
            for value in document:
                yield from _strings(value)
        case _:
            pass


def test_exactly_one_string_of_the_json_is_a_verdict() -> None:
    words = {verdict.value for verdict in Verdict}
    seen = set()
    for comparison in _every_kind():
        document = json.loads(verdict_json(comparison))
        assert [text for text in _strings(document) if text in words] == [
            document["verdict"]
        ]
        assert document["verdict"] == comparison.verdict
        assert document["exit_code"] == comparison.verdict.exit_code
        seen.add(document["verdict"])
    assert seen == words


def test_the_json_is_unrounded_and_complete() -> None:
    comparison = judge(pairs_of([0.95 * one for one in NOISE]), unit=Unit.TOKENS_PER_S)
    document = json.loads(verdict_json(comparison))
    assert comparison.estimate is not None
    assert comparison.interval is not None
    assert document["ratio"] == comparison.estimate.ratio
    assert document["interval"] == [
        comparison.interval.low,
        comparison.interval.high,
    ]
    assert document["level"] == 0.95
    assert document["half_width"] == comparison.interval.half_width
    assert document["smallest_effect"] == comparison.smallest_effect()
    assert document["smallest_detectable"] == comparison.smallest_detectable()
    assert document["pairs"] == 5
    assert document["higher_is_better"] is True
    assert document["per_cycle"] is None
    assert next(iter(document)) == "verdict"


def test_what_is_not_known_is_null() -> None:
    broken = judge(
        [Pair(number=1, baseline=1.0, candidate=None)], unit=Unit.TOKENS_PER_S
    )
    document = json.loads(verdict_json(broken))
    assert document["ratio"] is None
    assert document["interval"] is None
    assert document["smallest_effect"] is None
    assert document["pairs_left_out"] == [
        {"pair": 1, "reason": "the candidate gave no value"}
    ]


def test_the_text_leads_with_verdict_ratio_and_interval() -> None:
    slow = judge(pairs_of([0.95 * one for one in NOISE]), unit=Unit.TOKENS_PER_S)
    assert verdict_text(slow) == (
        "SLOWER  speed ratio 0.9500 [0.9417, 0.9583] at 95 %, 5 pairs of tok/s "
        "(higher is better)\n"
        "  half width 0.83 %; smallest loss it could have seen: 1.8 % distinguishable from zero, "
        "2.4 % called SLOWER, each in 4 of 5 such runs; margin 2 %\n"
    )


def test_the_text_of_a_broken_candidate_names_the_pairs() -> None:
    broken = judge(
        [Pair(number=1, baseline=1.0, candidate=None)], unit=Unit.TOKENS_PER_S
    )
    assert verdict_text(broken) == (
        "BROKEN\n"
        "  pair 1 left out: the candidate gave no value\n"
        "  note: the baseline gave a value in 1 of 1 pairs, the candidate in none\n"
    )


def test_importing_the_room_waits_for_neither_scipy_nor_numpy() -> None:
    room = Path(verdict_module.__file__).parent
    modules = [f"llamatrix.stats.{file.stem}" for file in room.glob("[a-z]*.py")]
    assert len(modules) > 5
    program = (
        f"import sys; sys.path.insert(0, {str(room.parents[1])!r})\n"
        f"import {', '.join(modules)}\n"
        "print([name for name in ('scipy', 'numpy') if name in sys.modules])"
    )
    assert shell.run([sys.executable, "-c", program], timeout_s=60).out == "[]\n"
