"""The pairs under a burner that starts in mid-run: a fake engine, a watch of our own."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.commands.regress.conftest import ONE_CELL, ledger_lines

from llamatrix.commands.flags import RegressFlags
from llamatrix.commands.regress import compare_benches
from llamatrix.compare.run import TimingComparison
from llamatrix.measure.disturbances import Load, Mark
from llamatrix.project import Project
from llamatrix.report.comparison import comparison_text
from llamatrix.stats.pairs import drawn_order
from llamatrix.stats.verdict import Verdict

_QUIET = Mark(total_s=0, busy_s=0, stolen_s=0, own_s=0, throttled=0)


@dataclass(slots=True)
class Burner:
    """Burns while the processes `begin` to `end` run; the fakes see it as a file."""

    file: Path
    begin: int
    end: int
    processes: int = 0

    def mark(self) -> Mark:
        self.processes += 1
        if self.begin <= self.processes < self.end:
            self.file.touch()
        else:
            self.file.unlink(missing_ok=True)
        return _QUIET

    def since(self, begin: Mark) -> Load:
        assert begin is _QUIET
        return Load(foreign_percent=50.0 if self.file.exists() else 1.0)


def compared(project: Project, burner: Burner) -> TimingComparison:
    flags = RegressFlags(
        baseline="april",
        candidate="current",
        profile="engines",
        cells=ONE_CELL,
        metric="tg",
    )
    found = compare_benches(flags, project=project, watch=burner)
    assert found is not None
    return found


@pytest.fixture
def burning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that halves the candidate's speed alone while it exists: the worst case."""
    file = tmp_path / "burning"
    wishes = {"pins": {"current": {"slow_while": str(file)}}}
    monkeypatch.setenv("LLAMATRIX_FAKE_BENCH", json.dumps(wishes))
    return file


def test_load_in_mid_run_repeats_pairs_and_causes_no_false_slower(
    pins: Project, burning: Path
) -> None:
    found = compared(pins, Burner(file=burning, begin=8, end=14))
    (cell,) = found.judgement.cells
    assert cell.verdict is Verdict.SAME
    assert cell.comparison.estimate is not None
    assert cell.comparison.estimate.pairs == 5
    left_out = cell.comparison.left_out
    assert len(left_out) >= 3
    assert all("background CPU load 50 %" in one.reason for one in left_out)
    assert "background CPU load 50 %" in comparison_text(found)
    kept = [line["disturbed"] for line in ledger_lines(pins)]
    assert kept.count("background CPU load 50 % of all cores (limit: 10 %)") == 6


def test_repeated_pairs_are_drawn_by_their_own_number(
    pins: Project, burning: Path
) -> None:
    compared(pins, Burner(file=burning, begin=8, end=14))
    lines = [line for line in ledger_lines(pins) if line["pair"]]
    assert any(line["disturbed"] for line in lines)
    for line in lines:
        seed, pair, place = line["seed"], line["pair"], line["place"]
        assert isinstance(seed, int)
        assert isinstance(pair, int)
        assert isinstance(place, int)
        assert line["arm"] == drawn_order(seed, pair)[place - 1]


def test_lasting_load_ends_inconclusive_with_the_remedy(
    pins: Project, burning: Path
) -> None:
    found = compared(pins, Burner(file=burning, begin=8, end=10_000))
    (cell,) = found.judgement.cells
    assert cell.verdict is Verdict.INCONCLUSIVE
    notes = " ".join(cell.comparison.notes)
    assert "6 pairs in a row were disturbed" in notes
    assert "--max-background-load" in notes
    assert len(cell.comparison.left_out) == 6
    assert found.verdict.exit_code == 12


def test_a_crash_counts_however_busy_the_machine_is(
    pins: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wishes = {"pins": {"current": {"fail": {"32": "crash"}}}}
    monkeypatch.setenv("LLAMATRIX_FAKE_BENCH", json.dumps(wishes))
    found = compared(pins, Burner(file=tmp_path / "burning", begin=0, end=10_000))
    assert found.verdict is Verdict.BROKEN
