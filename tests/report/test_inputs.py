"""Every record's place in the store, and the digest that proves its bytes."""

import subprocess
from pathlib import Path

import pytest
from tests.records.made import made_record
from tests.report.made_sweep import stored
from tests.report.made_trials import made_trial, stored_trials

from llamatrix.records.speed_record import SPEED
from llamatrix.records.trial_record import AGENT
from llamatrix.report.inputs import RecordIndex


def test_a_digest_is_what_sed_and_sha256sum_print(tmp_path: Path) -> None:
    records = [made_record(repeat=1), made_record(repeat=2)]
    index = RecordIndex(stored(tmp_path, records))
    index.read(SPEED)
    line = index.of(records[1])
    assert line.number == 2
    sed = ["sed", "-n", f"{line.number}p", str(tmp_path / line.file)]
    printed = subprocess.run(sed, capture_output=True, check=True).stdout
    by_hand = subprocess.run(
        ["sha256sum"], input=printed, capture_output=True, check=True
    )
    assert by_hand.stdout.decode().split()[0] == line.sha256
    (found,) = RecordIndex(tmp_path, only={line.sha256}).read(SPEED)
    assert found.repeat == 2


def test_a_line_cut_short_is_passed_over_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = RecordIndex(stored(tmp_path, [made_record()]))
    (record,) = index.read(SPEED)
    path = tmp_path / index.of(record).file
    path.write_bytes(path.read_bytes() + b'{"schema_version": 1, "ce')
    assert len(index.read(SPEED)) == 1
    assert "cut short" in capsys.readouterr().err


def test_only_the_wanted_lines_need_to_be_records(tmp_path: Path) -> None:
    index = RecordIndex(stored(tmp_path, [made_record()]))
    (record,) = index.read(SPEED)
    line = index.of(record)
    path = tmp_path / line.file
    path.write_bytes(b"no record\n" + path.read_bytes())
    index = RecordIndex(tmp_path, only={line.sha256})
    (found,) = map(index.of, index.read(SPEED))
    assert (found.number, found.sha256) == (2, line.sha256)
    assert index.damaged == []


def test_an_empty_store_has_no_records(tmp_path: Path) -> None:
    assert RecordIndex(tmp_path).read(SPEED) == ()


def test_trials_have_their_places_too_and_kinds_stay_apart(tmp_path: Path) -> None:
    stored(tmp_path, [made_record()])
    trials = [made_trial(trial=1), made_trial(trial=2)]
    index = RecordIndex(stored_trials(tmp_path, trials))
    assert len(index.read(SPEED)) == 1
    assert {index.of(trial).file for trial in index.read(AGENT)} == {
        "records/rtx-4090-abc123/agent/qwen35-27b/april/cuda/april/httpx-post.jsonl"
    }
    assert index.of(trials[1]).number == 2
