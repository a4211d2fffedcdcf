"""Scratch folders never outlive the process that made them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.waiting import wait_until

from llamatrix import orphan_reaper, shell
from llamatrix.scratch import scratch_folder, sweep

MAKER = """
import sys, time
from llamatrix.scratch import scratch_folder
with scratch_folder("test") as folder:
    (folder / "kept").mkdir()
    (folder / "kept" / "file").write_text("mine")
    with scratch_folder("other"):
        pass
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@contextmanager
def maker(temporary: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Run a process that has made a folder and uses it."""
    path = str(Path(shell.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(temporary)}
    argv = [sys.executable, "-c", MAKER]
    with shell.started(argv, env=environment) as process:
        assert process.stdout
        yield process, Path(process.stdout.readline().decode().strip())


def reapers_of(process: subprocess.Popen[bytes]) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "stat").read_text().rpartition(")")[2].split()
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if int(words[1]) == process.pid and b"orphan_reaper.py" in line:
                found.append(int(entry.name))
    return found


def test_scratch_folder_is_private_and_removed_on_exit(temporary: Path) -> None:
    with scratch_folder("test") as folder:
        assert folder.parent == temporary
        assert folder.stat().st_mode & 0o077 == 0
        (folder / "x").write_text("x")
        sweep()
        assert (folder / "x").exists(), "a folder in use is swept"
    assert not folder.exists()


def test_scratch_folder_of_killed_process_is_removed(temporary: Path) -> None:
    with maker(temporary) as (process, folder):
        assert (folder / "kept" / "file").exists()
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_until(lambda: not any(temporary.iterdir()), within_s=20)


def test_sweep_removes_folder_after_the_orphan_reaper_was_killed_too(
    temporary: Path,
) -> None:
    with maker(temporary) as (process, folder):
        for pid in reapers_of(process):
            os.kill(pid, signal.SIGKILL)
        sweep()
        assert folder.exists(), "the folder of a living process is swept"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert folder.exists()
    sweep()
    assert list(temporary.iterdir()) == []


def test_sweep_leaves_other_folders_and_links_alone(
    temporary: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "x").write_text("x")
    (temporary / "llamatrix-scratch-link").symlink_to(elsewhere)
    (temporary / "llamatrix-other").mkdir()
    sweep()
    assert (elsewhere / "x").exists()
    assert (temporary / "llamatrix-other").exists()


def test_orphan_reaper_knows_the_remaining_folders() -> None:
    entries = b"".join(
        orphan_reaper.entry(Path(name), gone=gone)
        for name, gone in (("/a", False), ("/b", False), ("/a", True))
    )
    assert orphan_reaper.remaining_folders(entries + b"+/cut o") == {Path("/b")}
