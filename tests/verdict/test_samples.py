import re
from pathlib import Path

import pytest
from tests.verdict.samples import sample, written

from llamatrix.errors import ReportError
from llamatrix.verdict.metric import Unit
from llamatrix.verdict.pairs import Pair
from llamatrix.verdict.samples import read_samples


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


def test_windows_line_ends_and_a_byte_order_mark_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    lines = (sample(1, "baseline", 40), sample(1, "candidate", 41))
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    assert len(read_samples(path).pairs) == 1


def test_a_last_pair_cut_short_is_left_out_with_a_note(tmp_path: Path) -> None:
    lines = [sample(1, arm, 40.0) for arm in ("baseline", "candidate")]
    path = written(tmp_path / "s.jsonl", *lines, sample(2, "baseline", 40.0))
    found = read_samples(path)
    assert [pair.number for pair in found.pairs] == [1]
    assert found.notes == ("pair 2 is left out: the file ends before its second arm",)


def test_a_pair_in_the_middle_that_lacks_an_arm_is_kept_as_failed(
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
        (sample(1, "baseline", 1.0, "t/s"), "unit: expected 'tok/s', 's', 'ms'"),
        (
            sample(1, "baseline", 1.0, "ms"),
            "unit: ms, but line 1 has tok/s; one file holds one unit",
        ),
    ],
)
def test_a_bad_line_is_named_with_file_line_and_what_is_wrong(
    tmp_path: Path, line: str, complaint: str
) -> None:
    path = written(tmp_path / "s.jsonl", sample(1, "baseline", 40.0), "", line)
    with pytest.raises(ReportError, match=re.escape(complaint)) as caught:
        read_samples(path)
    assert str(caught.value).startswith("s.jsonl:3: ")
    assert caught.value.exit_code == 7


@pytest.mark.parametrize("text", ["", "\n\n  \n"])
def test_a_file_without_samples_says_what_one_looks_like(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text(text)
    with pytest.raises(ReportError, match=r's.jsonl: no samples; .*"arm": "baseline"'):
        read_samples(path)


def test_a_file_that_cannot_be_read_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        ReportError, match=r"absent\.jsonl: cannot be read: No such file"
    ):
        read_samples(tmp_path / "absent.jsonl")
    with pytest.raises(ReportError, match="cannot be read: Is a directory"):
        read_samples(tmp_path)
    (tmp_path / "s.bin").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ReportError, match=r"s.bin: not UTF-8 text"):
        read_samples(tmp_path / "s.bin")
