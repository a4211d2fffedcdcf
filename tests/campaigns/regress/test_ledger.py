"""The file of pairs: whole lines or none, nothing unknown, clocks only where they move."""

import json

import msgspec
import pytest
from tests.campaigns.regress.conftest import Regress

from llamatrix.campaigns.regress.ledger import (
    SCHEMA_VERSION,
    Entry,
    ledger_at,
    pairs_of,
)
from llamatrix.campaigns.regress.pairing import Ledger, last_series
from llamatrix.errors import RecordError
from llamatrix.measure.telemetry import CpuSample, Telemetry
from llamatrix.project import Project
from llamatrix.verdict.pairs import Arm


@pytest.fixture
def ledger(pins: Project, regress: Regress) -> Ledger[Entry]:
    """The file of a whole comparison."""
    assert regress("--metric", "tg").returncode == 0
    (path,) = (pins.reports / "regress").rglob("*.jsonl")
    return ledger_at(path)


def with_mhz(entry: Entry, mhz: float) -> Entry:
    sample = CpuSample(at_s=1.0, load_percent=50.0, mhz=mhz)
    return msgspec.structs.replace(entry, telemetry=Telemetry(cpu=(sample,)))


def test_a_line_cut_short_is_passed_over_and_then_replaced(
    ledger: Ledger[Entry],
) -> None:
    entries = ledger.read()
    with ledger.path.open("ab") as file:
        file.write(b'{"schema_version": 1, "cas')
    assert ledger.read() == entries
    ledger.append(entries[0])
    assert ledger.read() == [*entries, entries[0]]


def test_a_line_of_another_schema_is_refused_with_the_remedy(
    ledger: Ledger[Entry],
) -> None:
    line = json.loads(ledger.path.read_text().splitlines()[0])
    line["schema_version"] = SCHEMA_VERSION + 1
    ledger.path.write_text(json.dumps(line) + "\n")
    with pytest.raises(RecordError, match="update this checkout"):
        ledger.read()
    ledger.path.write_text("{}\n")
    with pytest.raises(RecordError, match="not a line of pairs"):
        ledger.read()


def test_a_pair_of_one_process_and_the_warm_up_are_no_pairs(
    ledger: Ledger[Entry],
) -> None:
    entries = ledger.read()
    assert last_series(entries) == 1
    assert [pair.number for pair in pairs_of(entries, series=1)] == [1, 2, 3, 4, 5]
    assert len(pairs_of(entries[:-1], series=1)) == 4
    assert not pairs_of(entries, series=2)


def test_one_disturbed_process_disturbs_its_pair(ledger: Ledger[Entry]) -> None:
    entries = ledger.read()
    entries[-1] = msgspec.structs.replace(entries[-1], disturbed="a burner")
    *quiet, last = pairs_of(entries, series=1)
    assert last.disturbed == f"{entries[-1].arm}: a burner"
    assert not any(pair.disturbed for pair in quiet)


def test_clocks_that_never_move_are_not_handed_on(ledger: Ledger[Entry]) -> None:
    entries = [with_mhz(entry, 2600.0) for entry in ledger.read()]
    assert {pair.baseline_mhz for pair in pairs_of(entries, series=1)} == {None}
    moving = [
        with_mhz(entry, 2600.0 if entry.arm is Arm.BASELINE else 2500.0)
        for entry in entries
    ]
    pairs = pairs_of(moving, series=1)
    assert {(pair.baseline_mhz, pair.candidate_mhz) for pair in pairs} == {
        (2600.0, 2500.0)
    }
