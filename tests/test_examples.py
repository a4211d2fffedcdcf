"""The shipped examples: every page is what today's code makes of the shipped records."""

from fnmatch import fnmatch
from pathlib import Path

import pytest
from tests.invoking import invoked
from tests.shipped import ROOT

from llamatrix.records.context_record import CONTEXT
from llamatrix.records.hand_run import BY_HAND
from llamatrix.records.judge_record import JUDGE
from llamatrix.records.pair_records import SPEED_PAIRS
from llamatrix.records.speed_record import SPEED
from llamatrix.records.store import DamagedLine, R, RecordKind, Store
from llamatrix.records.trial_record import AGENT
from llamatrix.report.files import DATABASE

EXAMPLES = ROOT / "reports" / "examples"
FOLDERS = sorted(path.parent for path in EXAMPLES.glob("*/records"))
"""Every folder that `invoke table --out` wrote."""
NO_PAGES = (
    *("README.md", "*.txt", DATABASE),
    *("regress/*.jsonl", "records/*/cross-talk/*.jsonl"),
)
"""Prose, what a command printed when it ran, the database, which each version of SQLite
writes in its own way, and the records of `invoke regress` and `invoke cross-talk`."""

example = pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def unreadable(folder: Path, kind: RecordKind[R]) -> list[str]:
    lines = Store(reports=folder, kind=kind).lines()
    return [line.reason for line in lines if isinstance(line, DamagedLine)]


def renew(folder: Path) -> str:
    name = folder.relative_to(ROOT)
    return (
        f"renew them with `invoke table --records {name} --out {name}` and delete the "
        "files that it no longer writes"
    )


@example
def test_shipped_pages_equal_their_records(
    folder: Path, tmp_path: Path, invoke_environment: dict[str, str]
) -> None:
    ended = invoked(
        *("table", "--records", str(folder), "--out", str(tmp_path / "out")),
        env={**invoke_environment, "LLAMATRIX_ROOT": str(ROOT)},
    )
    assert ended.returncode == 0, ended.stderr
    made, shipped = files_of(tmp_path / "out"), files_of(folder)
    differing = sorted(
        name for name in made | shipped if made.get(name) != shipped.get(name)
    )
    pages = [
        name for name in differing if not any(fnmatch(name, glob) for glob in NO_PAGES)
    ]
    assert not pages, f"{', '.join(pages)}: not what the records give; {renew(folder)}"


@example
def test_shipped_records_of_every_schema_are_readable(folder: Path) -> None:
    assert unreadable(folder, SPEED) + unreadable(folder, AGENT) == []
    assert unreadable(folder, CONTEXT) + unreadable(folder, JUDGE) == []
    assert unreadable(folder, BY_HAND) + unreadable(folder, SPEED_PAIRS) == []
