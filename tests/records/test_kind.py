"""Every kind of record is read in every schema version that was ever written."""

import json

import msgspec
import pytest
from tests.records.captured import KINDS, captured_line, captured_record

from llamatrix.commands.hand_runs import HandRun
from llamatrix.commands.regress.ledger import Entry
from llamatrix.engines.outcome import Done
from llamatrix.records.envelope import SCHEMA_VERSION
from llamatrix.records.kind import Place
from llamatrix.records.record import Record
from llamatrix.records.trial_record import TrialRecord


@pytest.mark.parametrize("schema", range(1, SCHEMA_VERSION + 1))
@pytest.mark.parametrize("name", KINDS)
def test_a_captured_line_of_each_kind_and_schema_is_read(
    name: str, schema: int
) -> None:
    assert isinstance(captured_record(name, schema), KINDS[name].holds)


@pytest.mark.parametrize("name", KINDS)
def test_migrated_and_written_now_are_the_same_record(name: str) -> None:
    record = captured_record(name, 1)
    assert captured_record(name, SCHEMA_VERSION) == record
    assert KINDS[name].encode(record) == captured_line(name, SCHEMA_VERSION) + b"\n"


@pytest.mark.parametrize("name", ["speed", "speed-pairs", "by-hand"])
def test_migration_keeps_the_row_unchanged_beside_what_was_read_of_it(
    name: str,
) -> None:
    record = captured_record(name)
    if isinstance(record, HandRun):
        sample = record.samples[0]
    else:
        assert isinstance(record, Record | Entry)
        assert isinstance(record.outcome, Done)
        sample = record.outcome.result
    raw = bytes(sample.raw)
    assert raw in captured_line(name, 1)
    row = json.loads(raw)
    assert list(sample.tokens_per_second) == row["samples_ts"]
    assert list(sample.nanoseconds) == row["samples_ns"]
    assert sample.published_tps == row["avg_ts"]
    assert sample.device == (row["gpu_info"] or row["cpu_info"])


def test_a_run_by_hand_of_schema_1_gets_host_and_cell_from_its_place() -> None:
    place = Place("h100-7e73a7", "speed/model/pin/build")
    line = captured_line("by-hand", 1)
    run = KINDS["by-hand"].decode(line, where="here", place=place)
    assert isinstance(run, HandRun)
    assert (run.host.slug, run.record_id) == place
    assert run.host.cpu_model == "not recorded"


def test_the_agent_of_a_trial_of_schema_1_is_opencode() -> None:
    trial = captured_record("agent", 1)
    assert isinstance(trial, TrialRecord)
    version = json.loads(captured_line("agent", 1))["opencode"]
    assert (trial.agent_kind, trial.agent_version) == ("opencode", version)
    assert trial.check_version == "1"


@pytest.mark.parametrize("name", KINDS)
def test_no_digest_changes_by_migration(name: str) -> None:
    before = json.loads(captured_line(name, 1))
    after = msgspec.to_builtins(
        json.loads(KINDS[name].encode(captured_record(name, 1)))
    )
    digests = ("digest", "cell")
    assert [before.get(key) for key in digests if key in before] == [
        after.get(key) for key in digests if key in before
    ]
