"""The store: whole lines, appended, never lost; damaged lines skipped and named."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from tests.records.captured import KINDS, captured_line, captured_record
from tests.records.made import made_record
from tests.shipped import ROOT

from llamatrix.engines.outcome import Done
from llamatrix.errors import RecordError
from llamatrix.records.hand_run import HandRun
from llamatrix.records.pair_records import SpeedRun
from llamatrix.records.speed_record import SPEED, SpeedRecord
from llamatrix.records.store import (
    SCHEMA_VERSION,
    DamagedLine,
    NewerRecordError,
    RecordLocation,
    Store,
)
from llamatrix.records.trial_record import TrialRecord


@pytest.mark.parametrize("schema", range(1, SCHEMA_VERSION + 1))
@pytest.mark.parametrize("name", KINDS)
def test_captured_line_of_each_kind_and_schema_is_read(name: str, schema: int) -> None:
    assert isinstance(captured_record(name, schema), KINDS[name].holds)


@pytest.mark.parametrize("name", KINDS)
def test_migrated_record_equals_the_current_one(name: str) -> None:
    """Fields that are newer than the captured line have their defaults in it."""
    record = captured_record(name, 1)
    assert captured_record(name, SCHEMA_VERSION) == record
    written = json.loads(KINDS[name].encode(record))
    captured = json.loads(captured_line(name, SCHEMA_VERSION))
    assert has_all_of(written, {**captured, "checksum": written["checksum"]})


def has_all_of(written: object, captured: object) -> bool:
    """Return whether every captured field has its value; there may be others."""
    if isinstance(captured, dict):
        return isinstance(written, dict) and all(
            key in written and has_all_of(written[key], value)
            for key, value in captured.items()
        )
    if isinstance(captured, list):
        return (
            isinstance(written, list)
            and len(written) == len(captured)
            and all(has_all_of(*pair) for pair in zip(written, captured, strict=True))
        )
    return written == captured


@pytest.mark.parametrize("name", ["speed", "speed-pairs", "by-hand"])
def test_migration_keeps_the_row_unchanged_beside_what_was_read_of_it(
    name: str,
) -> None:
    record = captured_record(name)
    if isinstance(record, HandRun):
        sample = record.samples[0]
    else:
        assert isinstance(record, SpeedRecord | SpeedRun)
        assert isinstance(record.outcome, Done)
        sample = record.outcome.result
    raw = bytes(sample.raw)
    assert raw in captured_line(name, 1)
    row = json.loads(raw)
    assert list(sample.tokens_per_second) == row["samples_ts"]
    assert list(sample.nanoseconds) == row["samples_ns"]
    assert sample.published_tps == row["avg_ts"]
    assert sample.device == (row["gpu_info"] or row["cpu_info"])


def test_hand_run_of_schema_1_gets_host_and_cell_from_its_path() -> None:
    place = RecordLocation("h100-7e73a7", "speed/model/pin/build")
    line = captured_line("by-hand", 1)
    run = KINDS["by-hand"].decode(line, where="here", place=place)
    assert isinstance(run, HandRun)
    assert (run.host.slug, run.record_id) == place
    assert run.host.cpu_model == "not recorded"


def test_agent_of_a_trial_of_schema_1_is_opencode() -> None:
    trial = captured_record("agent", 1)
    assert isinstance(trial, TrialRecord)
    version = json.loads(captured_line("agent", 1))["opencode"]
    assert (trial.agent_kind, trial.agent_version) == ("opencode", version)
    assert trial.check_version == "1"


@pytest.mark.parametrize("name", KINDS)
def test_migration_keeps_digests(name: str) -> None:
    before = json.loads(captured_line(name, 1))
    after = msgspec.to_builtins(
        json.loads(KINDS[name].encode(captured_record(name, 1)))
    )
    digests = ("digest", "cell")
    assert [before.get(key) for key in digests if key in before] == [
        after.get(key) for key in digests if key in before
    ]


@pytest.fixture
def store(tmp_path: Path) -> Store[SpeedRecord]:
    return Store(reports=tmp_path, kind=SPEED)


def read(store: Store[SpeedRecord], record: SpeedRecord) -> list[SpeedRecord]:
    return store.read(host_slug=record.host.slug, record_id=record.cell.id)


def test_appended_record_is_read_back(store: Store[SpeedRecord]) -> None:
    first, second = made_record(repeat=1), made_record(repeat=2)
    store.append(first)
    store.append(second)
    assert read(store, first) == [first, second]
    assert list(store.read_all()) == [first, second]


def test_record_is_one_line(store: Store[SpeedRecord]) -> None:
    store.append(made_record())
    (path,) = store.folder.rglob("*.jsonl")
    assert path.read_bytes().count(b"\n") == 1
    assert path.relative_to(store.folder).parts[0] == made_record().host.slug


def test_records_of_another_kind_are_neither_read_nor_written(
    store: Store[SpeedRecord],
) -> None:
    record = made_record()
    store.append(record)
    other = store.folder / record.host.slug / "agent" / "any.jsonl"
    other.parent.mkdir()
    other.write_text('{"schema_version": 7}\n')
    assert list(store.read_all()) == [record]
    cell = msgspec.structs.replace(record.cell, id="agent/any")
    with pytest.raises(ValueError, match="agent/any: not of kind speed"):
        store.append(msgspec.structs.replace(record, cell=cell))


def test_half_written_last_line_is_skipped(
    store: Store[SpeedRecord], capsys: pytest.CaptureFixture[str]
) -> None:
    record = made_record()
    store.append(record)
    (path,) = store.folder.rglob("*.jsonl")
    with path.open("ab") as file:
        file.write(b'{"schema_version":1,"cell":{"id":"spe')
    assert read(store, record) == [record]
    assert "cut short by a crash" in capsys.readouterr().err


def test_record_after_a_half_written_line_starts_a_new_line(
    store: Store[SpeedRecord],
) -> None:
    first, second = made_record(repeat=1), made_record(repeat=2)
    store.append(first)
    (path,) = store.folder.rglob("*.jsonl")
    fragment = b'{"schema_version":1,"cell":{"id":"spe'
    with path.open("ab") as file:
        file.write(fragment)
    store.append(second)
    assert read(store, first) == [first, second]
    assert fragment in path.with_suffix(".torn").read_bytes()


def test_flipped_digit_invalidates_only_its_record(
    store: Store[SpeedRecord], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = made_record(repeat=1), made_record(repeat=2)
    store.append(first)
    store.append(second)
    (path,) = store.folder.rglob("*.jsonl")
    path.write_bytes(path.read_bytes().replace(b"102.0", b"103.0", 1))
    assert read(store, first) == [second]
    assert list(store.read_all()) == [second]
    (damaged,) = (line for line in store.lines() if isinstance(line, DamagedLine))
    assert (damaged.number, damaged.newer) == (1, False)
    assert "damaged: the line's checksum is" in damaged.reason
    assert f"{path.name}:1: damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    [
        b"not a record",
        b"[]",
        b"{}",
        b"null",
        b"",
        b'"text"',
        b"\xff\xfe{\x00}\x00",
        b'{"schema_version":1e400}',
        b'{"schema_version":"2"}',
        b'{"schema_version":0}',
        b'{"schema_version":-1}',
        b'{"schema_version":2}',
        b'{"schema_version":1}',
        b'{"schema_version":1,"outcome":{"type":"done"}}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_invalid_line_is_skipped_with_a_warning(
    line: bytes, store: Store[SpeedRecord]
) -> None:
    record = made_record()
    store.append(record)
    (path,) = store.folder.rglob("*.jsonl")
    with path.open("ab") as file:
        file.write(line + b"\n")
    assert read(store, record) == [record]
    (damaged,) = (one for one in store.lines() if isinstance(one, DamagedLine))
    assert damaged.number == 2
    assert "\n" not in damaged.reason
    assert line in path.read_bytes()


def test_file_of_a_newer_llamatrix_is_refused(
    store: Store[SpeedRecord],
) -> None:
    record = made_record()
    store.append(record)
    (path,) = store.folder.rglob("*.jsonl")
    raw = json.loads(path.read_text())
    raw["schema_version"] = 99
    raw["something_new"] = True
    path.write_text(json.dumps(raw) + "\n")
    with pytest.raises(NewerRecordError, match=r"newer llamatrix .*update this check"):
        read(store, record)
    assert list(store.read_all()) == []
    (damaged,) = (one for one in store.lines() if isinstance(one, DamagedLine))
    assert damaged.newer


def test_unwritable_store_is_reported_with_the_remedy(
    store: Store[SpeedRecord],
) -> None:
    store.folder.mkdir(parents=True)
    (store.folder / made_record().host.slug).write_text("a file in the way")
    with pytest.raises(RecordError, match=r"could not be written.*all earlier records"):
        store.append(made_record())


def append_many(folder: Path, first: int) -> None:
    for repeat in range(first, first + 25):
        Store(reports=folder, kind=SPEED).append(made_record(repeat=repeat))


def test_concurrent_writers_lose_no_record(store: Store[SpeedRecord]) -> None:
    spawn = multiprocessing.get_context("spawn")
    writers = [
        spawn.Process(target=append_many, args=(store.reports, first))
        for first in (1, 101)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=120)
    assert [writer.exitcode for writer in writers] == [0, 0]
    repeats = {record.repeat for record in store.read_all()}
    assert repeats == {*range(1, 26), *range(101, 126)}


_APPENDING = """
import sys
from pathlib import Path
from tests.records.captured import KINDS, captured_record
from llamatrix.records.store import Store

name, reports = sys.argv[1:]
record = captured_record(name)
store = Store(reports=Path(reports), kind=KINDS[name])
while True:
    store.append(record)
    print("kept", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_killed_writer_loses_no_acknowledged_record(name: str, tmp_path: Path) -> None:
    """Kill -9 at random moments: acknowledged lines stay, at most one more is there."""
    kind, record = KINDS[name], captured_record(name)
    store = Store(reports=tmp_path, kind=kind)
    acknowledged = 0
    for seed in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", _APPENDING, name, str(tmp_path)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'scripts'}:{ROOT}"},
        ) as process:
            assert process.stdout
            assert process.stdout.readline() == b"kept\n"
            time.sleep(random.Random(seed).uniform(0, 0.05))  # noqa: S311
            process.send_signal(signal.SIGKILL)
            acknowledged += 1 + process.stdout.read().count(b"kept")
        on_disk = sum(1 for _ in store.lines())
        assert acknowledged <= on_disk <= acknowledged + seed + 1
    store.append(record)
    lines = list(store.lines())
    assert not any(isinstance(line, DamagedLine) for line in lines)
    assert list(store.read_all()) == [record] * len(lines)


@pytest.mark.parametrize("cut", [1, 40, -1])
@pytest.mark.parametrize("name", KINDS)
def test_torn_last_line_of_any_kind_is_kept_aside(
    name: str, cut: int, tmp_path: Path
) -> None:
    record = captured_record(name)
    store = Store(reports=tmp_path, kind=KINDS[name])
    store.append(record)
    path = store.file_of(record.host.slug, record.record_id)
    line = path.read_bytes()
    with path.open("ab") as file:
        file.write(line[:cut])
    store.append(record)
    assert list(store.read_all()) == [record, record]
    assert path.with_suffix(".torn").read_bytes() == line[:cut] + b"\n"
