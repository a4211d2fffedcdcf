"""The order of a pair's arms is random, and the same again from the same seed."""

import math
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from tests.stats.samples import QUIET, ordered, pairs_of, sample, swapped, written

from llamatrix.errors import ReportError
from llamatrix.stats.pairs import (
    Arm,
    Pair,
    Samples,
    drawn_order,
    read_samples,
    rounding_log,
)
from llamatrix.stats.sequential import PairedComparison, judge
from llamatrix.stats.verdict import Unit, Verdict


def test_same_seed_draws_same_orders() -> None:
    orders = [drawn_order(7, pair) for pair in range(1, 13)]
    assert orders == [drawn_order(7, pair) for pair in range(1, 13)]
    assert orders != [drawn_order(8, pair) for pair in range(1, 13)]
    assert all(set(order) == set(Arm) for order in orders)


def test_arm_order_is_drawn_independently_for_each_pair() -> None:
    first = [[drawn_order(seed, pair)[0] for pair in (1, 2)] for seed in range(2000)]
    for one in (first.count([a, b]) for a in Arm for b in Arm):
        assert one / 2000 == pytest.approx(0.25, abs=0.04)


RATIOS = tuple(0.95 * math.exp(log) for log in QUIET)
BASELINE_MHZ = 1800.0


def _judged(clock_ratio: float, unit: Unit = Unit.TOKENS_PER_S) -> PairedComparison:
    ratios = RATIOS if unit.higher_is_better else [1 / (r * 0.97) for r in RATIOS]
    pairs = [
        replace(
            pair,
            baseline_mhz=BASELINE_MHZ,
            candidate_mhz=BASELINE_MHZ * clock_ratio,
        )
        for pair in pairs_of(ratios)
    ]
    return judge(pairs, unit=unit)


def test_loss_explained_by_clocks_is_slower_with_a_clock_note() -> None:
    found = _judged(0.95)
    assert found.verdict is Verdict.SLOWER
    assert found.per_cycle is not None
    assert found.per_cycle.ratio == pytest.approx(1.0)
    assert found.notes == ("clock, not code: per clock cycle the change vanishes",)


def test_time_is_multiplied_by_the_clock() -> None:
    found = _judged(0.95 * 0.97, Unit.SECONDS)
    assert found.verdict is Verdict.SLOWER
    assert found.per_cycle is not None
    assert found.per_cycle.ratio == pytest.approx(1.0)


def test_loss_at_equal_clocks_is_attributed_to_code() -> None:
    assert _judged(1.0).notes == (
        "per clock cycle the change is still there: code, not clock",
    )


def test_gain_per_cycle_hidden_by_clock_is_reported() -> None:
    assert "points the other way" in _judged(0.90).notes[0]


def test_swapped_arms_swap_their_clocks() -> None:
    found = _judged(0.95)
    pairs = [
        replace(pair, baseline_mhz=BASELINE_MHZ, candidate_mhz=BASELINE_MHZ * 0.95)
        for pair in pairs_of(RATIOS)
    ]
    back = judge(swapped(pairs), unit=Unit.TOKENS_PER_S)
    assert back.verdict is Verdict.FASTER
    assert back.notes == found.notes


def test_one_pair_without_clocks_disables_per_cycle_estimate() -> None:
    pairs = [
        replace(pair, baseline_mhz=BASELINE_MHZ, candidate_mhz=BASELINE_MHZ)
        for pair in pairs_of(RATIOS)
    ]
    pairs[2] = replace(pairs[2], candidate_mhz=None)
    found = judge(pairs, unit=Unit.TOKENS_PER_S)
    assert found.per_cycle is None
    assert found.notes == ()


def test_lines_in_any_order_become_pairs_by_number(tmp_path: Path) -> None:
    path = written(
        tmp_path / "s.jsonl",
        sample(2, "candidate", 39),
        sample(1, "baseline", 40.0),
        "",
        '{"arm":"candidate","pair":1,"unit":"tok/s","value":38.5,"host":"x","n":[1]}',
        "   ",
        sample(2, "baseline", 41.0),
    )
    found = read_samples(path)
    assert found.unit is Unit.TOKENS_PER_S
    assert found.pairs == (
        Pair(number=1, baseline=40.0, candidate=38.5),
        Pair(number=2, baseline=41.0, candidate=39.0),
    )
    assert found.notes == ()


def test_several_values_of_an_arm_in_a_pair_count_as_their_mean(tmp_path: Path) -> None:
    path = written(
        tmp_path / "s.jsonl",
        sample(1, "baseline", 1.0, "s"),
        sample(1, "candidate", 2.0, "s"),
        sample(1, "candidate", 4.0, "s"),
    )
    assert read_samples(path).pairs == (Pair(number=1, baseline=1.0, candidate=3.0),)


@pytest.mark.parametrize("unit", ["tokens/s", "t/s"])
def test_unit_names_of_tables_and_llama_bench_mean_tokens_per_second(
    tmp_path: Path, unit: str
) -> None:
    lines = (sample(1, "baseline", 40.0, unit), sample(1, "candidate", 41.0))
    found = read_samples(written(tmp_path / "s.jsonl", *lines))
    assert found.unit is Unit.TOKENS_PER_S


def _in_order(tmp_path: Path, arms: str) -> Samples:
    """Read pairs that ran in the order of the letters, the n-th A with the n-th B."""
    seen: Counter[str] = Counter()
    lines = []
    for order, letter in enumerate(arms):
        seen[letter] += 1
        arm = "baseline" if letter == "A" else "candidate"
        value = 40.0 + 0.1 * (order % 3)
        lines.append(ordered(seen[letter], arm, value, order=order))
    return read_samples(written(tmp_path / "s.jsonl", *lines))


@pytest.mark.parametrize(
    ("arms", "counting"),
    [
        ("ABBAABBA", [1, 2, 3, 4]),
        ("ABABBA", [1, 2, 3]),
        ("AAAABBBB", []),
        ("AABBAABB", []),
        ("AAABBBAB", [4]),
    ],
)
def test_pair_counts_only_if_no_other_ran_between_its_arms(
    tmp_path: Path, arms: str, counting: list[int]
) -> None:
    found = _in_order(tmp_path, arms)
    assert [pair.number for pair in found.pairs if pair.complete] == counting
    blocks = any("ran in blocks" in note for note in found.notes)
    assert blocks is (len(counting) < 3)


def test_arm_that_always_runs_first_is_noted(tmp_path: Path) -> None:
    (note,) = _in_order(tmp_path, "ABABABAB").notes
    assert note.startswith("the baseline ran first in every pair")
    assert not _in_order(tmp_path, "ABBAABBA").notes


def test_order_within_each_pair_keeps_all_pairs(tmp_path: Path) -> None:
    lines = [
        ordered(pair, arm, 40.0 + pair, order=1 + (place + pair) % 2)
        for pair in range(1, 5)
        for place, arm in enumerate(("baseline", "candidate"))
    ]
    found = read_samples(written(tmp_path / "s.jsonl", *lines))
    assert all(pair.complete for pair in found.pairs)
    assert not found.notes


def test_file_in_blocks_without_order_gets_a_note(tmp_path: Path) -> None:
    arms = ["baseline"] * 4 + ["candidate"] * 4
    lines = [sample(1 + at % 4, arm, 40.25 + at) for at, arm in enumerate(arms)]
    found = read_samples(written(tmp_path / "s.jsonl", *lines))
    assert all(pair.complete for pair in found.pairs)
    assert '"order" in each line would show' in found.notes[0]


def test_repetitions_of_one_process_count_as_one_pair(tmp_path: Path) -> None:
    lines = [
        ordered(pair, arm, value, process=f"{arm}-{pair // 3}")
        for pair in (1, 2, 3, 4)
        for arm, value in (("baseline", 40.0 + pair), ("candidate", 20.0 + pair))
    ]
    found = read_samples(written(tmp_path / "s.jsonl", *lines))
    assert found.pairs == (
        Pair(number=1, baseline=41.5, candidate=21.5),
        Pair(number=3, baseline=43.5, candidate=23.5),
    )
    assert "the 4 pairs count as 2" in found.notes[0]


def test_processes_numbered_alike_in_both_arms_are_not_the_same(tmp_path: Path) -> None:
    lines = [
        ordered(pair, arm, 40.0 + pair, process=pair)
        for pair in (1, 2, 3)
        for arm in ("baseline", "candidate")
    ]
    found = read_samples(written(tmp_path / "s.jsonl", *lines))
    assert len(found.pairs) == 3
    assert not found.notes


@pytest.mark.parametrize(
    ("arms", "expected"),
    [
        ([[46.0, 46.0, 46.0], [45.0, 45.0, 45.0]], 0.5 / 46 + 0.5 / 45),
        ([[46.0, 45.0, 46.0], [45.12, 45.3, 44.91]], 0.5 / (137 / 3)),
        ([[60.0, 60.0, 60.0], [50.0, 50.0, 50.0]], 5 / 60 + 5 / 50),
        ([[60.0, 60.0, 60.0], [51.5, 53.2, 50.1]], 0.5 / 60),
        ([[46.0, 44.0, 49.0], [45.0, 41.0, 47.0]], 0.0),
        ([[46.123, 46.123], [45.001, 45.001]], 0.0005 / 46.123 + 0.0005 / 45.001),
    ],
)
def test_values_within_one_rounding_step_add_half_a_step_of_error(
    arms: list[list[float]], expected: float
) -> None:
    assert rounding_log(arms) == pytest.approx(expected)


def test_windows_line_ends_and_byte_order_mark_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    lines = (sample(1, "baseline", 40), sample(1, "candidate", 41))
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    assert len(read_samples(path).pairs) == 1


def test_incomplete_last_pair_is_left_out_with_a_note(tmp_path: Path) -> None:
    lines = [sample(1, arm, 40.0) for arm in ("baseline", "candidate")]
    path = written(tmp_path / "s.jsonl", *lines, sample(2, "baseline", 40.0))
    found = read_samples(path)
    assert [pair.number for pair in found.pairs] == [1]
    assert found.notes == ("pair 2 is left out: the file ends before its second arm",)


def test_incomplete_pair_in_the_middle_is_kept_as_failed(
    tmp_path: Path,
) -> None:
    path = written(
        tmp_path / "s.jsonl",
        sample(1, "baseline", 40.0),
        sample(2, "baseline", 40.0),
        sample(2, "candidate", 40.0),
    )
    assert read_samples(path).pairs[0].candidate is None


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{pair: 1}", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[1, 2]", "expected an object, got '[1, 2]'"),
        ('{"pair": 1, "arm": "baseline", "unit": "s"}', "value: missing"),
        (sample(1.5, "baseline", 1.0), "pair: expected a whole number, got '1.5'"),
        (sample(True, "baseline", 1.0), "pair: expected a whole number, got 'True'"),  # noqa: FBT003
        (sample(1, "control", 1.0), "arm: expected 'baseline' or 'candidate'"),
        (sample(1, "baseline", "40"), "value: expected a number above 0, got '40'"),
        (sample(1, "baseline", None), "value: expected a number above 0, got 'None'"),
        (sample(1, "baseline", 10**400), "value: expected a number above 0"),
        (sample(1, "baseline", 0), "value: must be a number above 0, got 0"),
        (sample(1, "baseline", -2.5), "value: must be a number above 0, got -2.5"),
        (sample(1, "baseline", float("nan")), "must be a number above 0, got nan"),
        (sample(1, "baseline", float("inf")), "must be a number above 0, got inf"),
        (sample(1, "baseline", 1e100), "must be a number above 0, got 1e+100"),
        (sample(1, "baseline", 1.0, "t/min"), "unit: expected 'tok/s', 's', 'ms'"),
        (
            ordered(1, "baseline", 1.0, order="AB"),
            "order: expected a number that rises",
        ),
        (ordered(1, "baseline", 1.0, order=1), "order: missing, but line 3 has it"),
        (ordered(1, "baseline", 1.0, process=[1]), "process: expected a number or a"),
        (
            sample(1, "baseline", 1.0, "ms"),
            "unit: ms, but line 1 has tok/s; one file holds one unit",
        ),
    ],
)
def test_bad_line_is_refused_with_file_line_and_reason(
    tmp_path: Path, line: str, complaint: str
) -> None:
    path = written(tmp_path / "s.jsonl", sample(1, "baseline", 40.0), "", line)
    with pytest.raises(ReportError, match=re.escape(complaint)) as caught:
        read_samples(path)
    where = "s.jsonl:1: " if "missing, but" in complaint else "s.jsonl:3: "
    assert str(caught.value).startswith(where)
    assert caught.value.exit_code == 7


@pytest.mark.parametrize("text", ["", "\n\n  \n"])
def test_file_without_samples_is_refused_with_an_example(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text(text)
    with pytest.raises(ReportError, match=r's.jsonl: no samples; .*"arm": "baseline"'):
        read_samples(path)


def test_file_that_cannot_be_read_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        ReportError, match=r"absent\.jsonl: cannot be read: No such file"
    ):
        read_samples(tmp_path / "absent.jsonl")
    with pytest.raises(ReportError, match="cannot be read: Is a directory"):
        read_samples(tmp_path)
    (tmp_path / "s.bin").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ReportError, match=r"s.bin: not UTF-8 text"):
        read_samples(tmp_path / "s.bin")
