"""No measurement is lost to a store that cannot be written."""

from pathlib import Path

import pytest
from tests.records.made import made_record

from llamatrix.errors import RecordError
from llamatrix.project import Project
from llamatrix.records.record import SPEED, Record
from llamatrix.records.store import Store, UnwrittenError


@pytest.fixture
def blocked(project: Project) -> Store[Record]:
    """A store of which a file stands in the place of the host's folder."""
    store = Store(reports=project.reports, kind=SPEED)
    store.folder.mkdir(parents=True)
    (store.folder / made_record().host.slug).touch()
    return store


def test_a_store_that_cannot_be_written_is_told_before_measuring(
    blocked: Store[Record],
) -> None:
    with pytest.raises(RecordError, match=r"no record can be written.*nothing was"):
        blocked.require_room(made_record().host.slug)


def test_asking_leaves_no_file(project: Project) -> None:
    store = Store(reports=project.reports, kind=SPEED)
    store.require_room("some-host")
    assert [path for path in project.reports.rglob("*") if path.is_file()] == []


def test_a_record_that_cannot_be_written_is_kept_beside_the_store(
    blocked: Store[Record], project: Project
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
