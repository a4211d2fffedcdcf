"""A cache entry is whole or not there."""

from pathlib import Path

import pytest

from llamatrix.provision.staging import made_once


def test_an_entry_is_made_once(tmp_path: Path) -> None:
    calls: list[Path] = []

    def make(staging: Path) -> None:
        calls.append(staging)
        (staging / "file").write_text("made")

    made_once(tmp_path / "entry", make, purpose="testing")
    entry = made_once(tmp_path / "entry", make, purpose="testing")
    assert (entry / "file").read_text() == "made"
    assert len(calls) == 1


def test_a_failure_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    def fail(staging: Path) -> None:
        (staging / "half").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made_once(tmp_path / "entry", fail, purpose="testing")
    assert not (tmp_path / "entry").exists()
    assert not list(tmp_path.glob("*staging*"))


def test_what_a_killed_process_left_is_not_taken_for_finished(tmp_path: Path) -> None:
    leftover = tmp_path / ".entry.staging"
    leftover.mkdir()
    (leftover / "half").write_text("half")

    def make(staging: Path) -> None:
        (staging / "whole").write_text("whole")

    entry = made_once(tmp_path / "entry", make, purpose="testing")
    assert [path.name for path in entry.iterdir()] == ["whole"]
