"""`invoke merge`: records of several machines, joined by digest."""

from pathlib import Path

import pytest
from tests.commands.conftest import RunInvoke
from tests.records.made import made_record
from tests.report.made_sweep import stored, sweep

from llamatrix.project import Project
from llamatrix.records.speed_record import SPEED
from llamatrix.records.store import SCHEMA_VERSION, Store


@pytest.fixture
def others(tmp_path: Path) -> tuple[Path, Path]:
    """The stores of two machines; one cell was copied between them."""
    one = stored(tmp_path / "one", sweep(1.0))
    two = stored(tmp_path / "two", [made_record(host_slug="h100-abc123")])
    name = next((one / "records").rglob("*.jsonl")).relative_to(one)
    (two / name).parent.mkdir(parents=True)
    (two / name).write_bytes((one / name).read_bytes())
    return one, two


def test_merge_adds_every_line_once(
    project: Project, others: tuple[Path, Path], run_invoke: RunInvoke
) -> None:
    names = ",".join(map(str, others))
    lines = {
        line
        for folder in others
        for path in folder.rglob("*.jsonl")
        for line in path.read_bytes().splitlines()
    }
    ended = run_invoke("merge", names)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(f"{len(lines)} new records from 2 folders, ")
    kept = [
        line
        for path in project.records.rglob("*.jsonl")
        for line in path.read_bytes().splitlines()
    ]
    assert sorted(kept) == sorted(lines)
    assert len(list(Store(reports=project.reports, kind=SPEED).read_all())) == len(kept)
    again = run_invoke("merge", names)
    assert again.stdout.startswith("0 new records")


def test_damaged_and_torn_lines_are_kept_aside_and_named(
    project: Project, others: tuple[Path, Path], run_invoke: RunInvoke
) -> None:
    _, two = others
    path = next(two.rglob("h100-abc123/**/*.jsonl"))
    (whole,) = path.read_bytes().splitlines()
    damaged = whole.replace(b'"repeat":1', b'"repeat":7')
    path.write_bytes(b"\n".join((whole, damaged, whole[:99])))
    ended = run_invoke("merge", str(two))
    assert ended.returncode == 0, ended.stderr
    assert "2 damaged lines kept aside" in ended.stdout
    assert f"{path}:2: damaged" in ended.stderr
    assert f"{path}:3: cut short" in ended.stderr
    merged = project.reports / path.relative_to(two)
    assert merged.read_bytes() == whole + b"\n"
    aside = merged.with_suffix(".damaged").read_bytes().splitlines()
    assert aside == [damaged, whole[:99]]


def test_a_line_of_a_newer_llamatrix_stops_before_anything_is_written(
    project: Project, others: tuple[Path, Path], run_invoke: RunInvoke
) -> None:
    one, two = others
    path = next(two.rglob("h100-abc123/**/*.jsonl"))
    newer = b'{"schema_version":%d}\n' % (SCHEMA_VERSION + 1)
    path.write_bytes(path.read_bytes() + newer)
    ended = run_invoke("merge", f"{one},{two}")
    assert ended.returncode == 6
    assert f"{path}:2: written by a newer llamatrix" in ended.stderr
    assert not list(project.reports.rglob("*.jsonl"))
