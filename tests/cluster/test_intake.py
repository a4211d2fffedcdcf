"""What children send becomes records of the driver, each once."""

from pathlib import Path

import msgspec
import pytest
from tests.records.made import made_record

from llamatrix.cluster.intake import Batch, Intake
from llamatrix.cluster.protocol import FilePiece, RecordLine
from llamatrix.errors import RecordError
from llamatrix.project import Project
from llamatrix.records.speed_record import SPEED, SpeedRecord
from llamatrix.records.store import Store


@pytest.fixture
def intake(project: Project) -> Intake:
    return Intake(project)


def line_of(record: SpeedRecord) -> RecordLine:
    return RecordLine(
        file=f"{record.host.slug}/{record.record_id}.jsonl", line=SPEED.encode(record)
    )


def kept(project: Project) -> list[SpeedRecord]:
    return list(Store(reports=project.reports, kind=SPEED).read_all())


def test_a_record_handed_in_twice_is_kept_once(
    intake: Intake, project: Project
) -> None:
    record, first, second = made_record(), Batch(), Batch()
    intake.keep("boxa", line_of(record), first)
    intake.keep("boxb", line_of(record), second)
    later = msgspec.structs.replace(record, measured_at="2031-01-01T00:00:00.000+00:00")
    intake.keep("boxb", line_of(later), second)
    assert (first.kept, second.kept) == (1, 0), "measured elsewhere too"
    assert kept(project) == [record]


def test_an_order_that_repeats_a_failure_adds_to_it(
    intake: Intake, project: Project
) -> None:
    record = made_record()
    intake.keep("boxa", line_of(record), Batch())
    later = msgspec.structs.replace(record, measured_at="2031-01-01T00:00:00.000+00:00")
    intake.keep("boxa", line_of(later), Batch(known={record.measured_at}))
    assert kept(project) == [record, later]


@pytest.mark.parametrize(
    ("change", "batch"),
    [
        ({"line": b"{}\n"}, Batch()),
        ({"file": "elsewhere/speed/x.jsonl"}, Batch()),
        ({"file": "box/opinion/x.jsonl"}, Batch()),
        ({}, Batch(host_slug="another", digest="d")),
    ],
)
def test_what_was_not_ordered_is_refused(
    change: dict[str, object], batch: Batch, intake: Intake, project: Project
) -> None:
    line = msgspec.structs.replace(line_of(made_record()), **change)
    with pytest.raises(RecordError):
        intake.keep("boxa", line, batch)
    assert kept(project) == []


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "a/trajectories/../../../x", "a/speed/x.jsonl"]
)
def test_a_file_stays_among_the_trajectories(
    path: str, intake: Intake, tmp_path: Path
) -> None:
    before = set(tmp_path.rglob("*"))
    with pytest.raises(RecordError):
        intake.keep_piece("boxa", FilePiece(path=path, data=b"x", first=True))
    assert set(tmp_path.rglob("*")) == before
