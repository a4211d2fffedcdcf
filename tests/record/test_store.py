"""The store: whole lines, appended, never lost; bad lines told, newer ones refused."""

import json
import multiprocessing
from pathlib import Path

import msgspec
import pytest
from tests.record.made import made_record

from llamatrix.errors import RecordError
from llamatrix.record import record as record_module
from llamatrix.record.record import SPEED, Record, decode_record
from llamatrix.record.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store[Record]:
    return Store(folder=tmp_path / "records", kind=SPEED)


def read(store: Store[Record], record: Record) -> list[Record]:
    return store.read(host_slug=record.host.slug, cell_id=record.cell.id)


def test_what_is_appended_is_read_back(store: Store[Record]) -> None:
    first, second = made_record(repeat=1), made_record(repeat=2)
    store.append(first)
    store.append(second)
    assert read(store, first) == [first, second]
    assert list(store.read_all()) == [first, second]


def test_a_record_is_one_line(store: Store[Record]) -> None:
    store.append(made_record())
    (path,) = store.folder.rglob("*.jsonl")
    assert path.read_bytes().count(b"\n") == 1
    assert path.relative_to(store.folder).parts[0] == made_record().host.slug


def test_records_of_another_kind_are_neither_read_nor_written(
    store: Store[Record],
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


def test_a_half_written_last_line_is_passed_over(
    store: Store[Record], capsys: pytest.CaptureFixture[str]
) -> None:
    record = made_record()
    store.append(record)
    (path,) = store.folder.rglob("*.jsonl")
    with path.open("ab") as file:
        file.write(b'{"schema_version":1,"cell":{"id":"spe')
    assert read(store, record) == [record]
    assert "cut short by a crash" in capsys.readouterr().err


def test_the_next_record_starts_a_line_after_a_half_written_one(
    store: Store[Record],
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


def test_a_damaged_line_is_named_by_file_and_number(store: Store[Record]) -> None:
    record = made_record()
    store.append(record)
    (path,) = store.folder.rglob("*.jsonl")
    with path.open("ab") as file:
        file.write(b"not a record\n")
    with pytest.raises(RecordError, match=rf"{path.name}:2: not a record"):
        read(store, record)
    assert b"not a record" in path.read_bytes()


def test_a_record_of_a_newer_schema_is_refused_with_the_remedy(
    store: Store[Record],
) -> None:
    record = made_record()
    store.append(record)
    (path,) = store.folder.rglob("*.jsonl")
    raw = json.loads(path.read_text())
    raw["schema_version"] = 99
    raw["something_new"] = True
    path.write_text(json.dumps(raw) + "\n")
    with pytest.raises(RecordError, match=r"newer llamatrix .*update this checkout"):
        read(store, record)


def test_an_older_record_is_migrated_by_a_named_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def from_0(raw: dict[str, object]) -> dict[str, object]:
        return {**raw, "schema_version": 1, "repeat": raw.pop("number")}

    monkeypatch.setitem(record_module.MIGRATIONS, 0, from_0)
    raw = json.loads(msgspec.json.encode(made_record(repeat=3)))
    raw["schema_version"] = 0
    raw["number"] = raw.pop("repeat")
    record = decode_record(json.dumps(raw).encode(), where="here")
    assert record.repeat == 3


def test_a_schema_nobody_can_read_is_refused() -> None:
    raw = json.loads(msgspec.json.encode(made_record()))
    raw["schema_version"] = 0
    with pytest.raises(RecordError, match="no way to read schema 0"):
        decode_record(json.dumps(raw).encode(), where="here")


def test_an_unwritable_store_is_told_with_the_remedy(store: Store[Record]) -> None:
    store.folder.mkdir(parents=True)
    (store.folder / made_record().host.slug).write_text("a file in the way")
    with pytest.raises(RecordError, match=r"could not be written.*all earlier records"):
        store.append(made_record())


def append_many(folder: Path, first: int) -> None:
    for repeat in range(first, first + 25):
        Store(folder=folder, kind=SPEED).append(made_record(repeat=repeat))


def test_two_processes_on_one_store_lose_nothing(store: Store[Record]) -> None:
    spawn = multiprocessing.get_context("spawn")
    writers = [
        spawn.Process(target=append_many, args=(store.folder, first))
        for first in (1, 101)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=120)
    assert [writer.exitcode for writer in writers] == [0, 0]
    repeats = {record.repeat for record in store.read_all()}
    assert repeats == {*range(1, 26), *range(101, 126)}
