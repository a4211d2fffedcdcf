"""`invoke verdict` as a user runs it: the verdict, its exit code, one line for mistakes."""

import json
from pathlib import Path

import pytest
from tests.commands.conftest import RunInvoke
from tests.stats.samples import QUIET, file_of, sample, written


@pytest.mark.parametrize(
    ("shift", "verdict", "code"),
    [(1.0, "SAME", 0), (0.9, "SLOWER", 10), (1.1, "FASTER", 0), (0.985, None, 12)],
)
def test_verdict_decides_the_exit_code(
    run_invoke: RunInvoke, tmp_path: Path, shift: float, verdict: str | None, code: int
) -> None:
    path = file_of(tmp_path / "pairs.jsonl", [shift * (1 + one) for one in QUIET])
    ended = run_invoke("verdict", str(path), "--json")
    assert ended.returncode == code, ended.stderr
    assert json.loads(ended.stdout)["verdict"] == (verdict or "INCONCLUSIVE")
    assert run_invoke("verdict", str(path)).stdout.startswith(verdict or "INCONCLUSIVE")


def test_a_candidate_without_values_is_broken_and_exit_11(
    run_invoke: RunInvoke, tmp_path: Path
) -> None:
    lines = [sample(number, "baseline", 40.0) for number in (1, 2, 3)]
    path = written(tmp_path / "pairs.jsonl", *lines)
    assert run_invoke("verdict", str(path)).returncode == 11


def test_verdict_uses_given_margin_and_looks(
    run_invoke: RunInvoke, tmp_path: Path
) -> None:
    path = file_of(tmp_path / "pairs.jsonl", [0.9 * (1 + one) for one in QUIET])
    wide = run_invoke("verdict", str(path), "--margin", "20%", "--json")
    assert json.loads(wide.stdout)["verdict"] == "SAME"
    early = run_invoke("verdict", str(path), "--looks", "6,9")
    assert early.returncode == 12


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "value: must be a number above 0"),
        (("--margin", "lots"), "margin: 'lots'"),
        (("--looks", "many"), "looks: 'many'"),
    ],
)
def test_bad_input_is_one_line_and_exit_7(
    run_invoke: RunInvoke, tmp_path: Path, flags: tuple[str, ...], said: str
) -> None:
    path = written(tmp_path / "pairs.jsonl", sample(1, "baseline", -1.0))
    ended = run_invoke("verdict", str(path), *flags)
    assert ended.returncode == 7
    assert len(ended.stderr.splitlines()) == 1
    assert said in ended.stderr
