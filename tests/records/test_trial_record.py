"""A trial as a line of the store."""

import resource
from pathlib import Path

import msgspec
import pytest
from tests.records.made import made_record
from tests.report.made_trials import NO_SANDBOX, made_trial, published_trials

from llamatrix.agents.turn_outcome import EndpointDied
from llamatrix.errors import RecordError
from llamatrix.project import Project
from llamatrix.records.speed_record import SPEED, SpeedRecord
from llamatrix.records.store import Store, UnwrittenError
from llamatrix.records.trial_record import AGENT, TrialRecord
from llamatrix.trials.trial_result import Broken, Incorrect, Undecided

DIED = Broken(turn=2, cause=EndpointDied(error="cut"))


def gone_before_the_end(record: TrialRecord) -> TrialRecord:
    assert record.served
    assert record.served.memory
    memory = msgspec.structs.replace(record.served.memory, peak_rss_bytes=None)
    served = msgspec.structs.replace(record.served, memory=memory)
    return msgspec.structs.replace(record, served=served)


@pytest.mark.parametrize(
    "record",
    [
        *published_trials()[:2],
        *(made_trial(outcome=one) for one in (Incorrect(turns=3), Undecided(turn=1))),
        made_trial(outcome=NO_SANDBOX, script="solution"),
        gone_before_the_end(made_trial(outcome=DIED)),
    ],
)
def test_trial_record_is_read_back_unchanged(
    record: TrialRecord, tmp_path: Path
) -> None:
    store = Store(reports=tmp_path, kind=AGENT)
    store.append(record)
    store.append(record)
    assert list(store.read_all()) == [record, record]
    assert store.read(host_slug=record.host.slug, record_id=record.cell.id) == [
        record,
        record,
    ]


def test_trajectory_files_are_not_read_as_records(tmp_path: Path) -> None:
    record = made_trial()
    store = Store(reports=tmp_path, kind=AGENT)
    store.append(record)
    events = (
        store.folder / record.host.slug / "trajectories" / record.cell.id / "x.jsonl"
    )
    events.parent.mkdir(parents=True)
    events.write_text('{"type":"step_start"}\n')
    assert list(store.read_all()) == [record]


@pytest.fixture
def blocked(project: Project) -> Store[SpeedRecord]:
    """A store of which a file stands in the place of the host's folder."""
    store = Store(reports=project.reports, kind=SPEED)
    store.folder.mkdir(parents=True)
    (store.folder / made_record().host.slug).touch()
    return store


def test_store_that_cannot_be_written_is_reported_before_measuring(
    blocked: Store[SpeedRecord],
) -> None:
    with pytest.raises(RecordError, match=r"no record can be written.*nothing was"):
        blocked.require_room(made_record().host.slug)


def test_room_check_leaves_no_file(project: Project) -> None:
    store = Store(reports=project.reports, kind=SPEED)
    store.require_room("some-host")
    assert [path for path in project.reports.rglob("*") if path.is_file()] == []


def test_record_that_cannot_be_written_is_kept_beside_the_store(
    blocked: Store[SpeedRecord], project: Project
) -> None:
    record = made_record()
    with pytest.raises(UnwrittenError, match="it is kept: `cat ") as caught:
        blocked.append(record)
    (aside,) = (project.cache / "llamatrix-unwritten").iterdir()
    _, command, _ = str(caught.value).split("`")
    assert command.split()[1] == str(aside)
    target = Path(command.split()[3])
    (blocked.folder / record.host.slug).unlink()
    target.parent.mkdir(parents=True)
    target.write_bytes(aside.read_bytes())
    assert list(blocked.read_all()) == [record]


def test_record_is_said_to_be_lost_where_no_folder_can_be_written_to(
    blocked: Store[SpeedRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", None)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(UnwrittenError, match="could not be kept elsewhere either"):
            blocked.append(made_record())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
