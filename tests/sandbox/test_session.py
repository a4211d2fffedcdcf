"""What comes out of a sandbox: all of it, or word that it was lost."""

import io
import socket
from pathlib import Path

import msgspec
import pytest

from llamatrix.sandbox.session import LostError, SandboxSession
from llamatrix.sandbox.supervisor import Job, Report
from llamatrix.sandbox.supervisor_files import LENGTH, WHOLE

JOB = Job(
    argv=["true"],
    cwd="/",
    env={},
    stdin="",
    max_processes=1,
    max_memory_bytes=1,
    max_file_bytes=1,
    max_files=1,
    max_total_bytes=1000,
    discarded=[],
)
REPORT = Report(
    exit_code=0,
    stopped=False,
    most_processes=1,
    ran_away=False,
    left_running=[],
    left_out=[],
)


def finished(tmp_path: Path, files: bytes) -> bytes:
    """What is stored when a supervisor reports, hands this out, and is gone."""
    ours, supervisor_end = socket.socketpair()
    complaints = tmp_path / "complaints"
    complaints.write_text("Killed\n")
    with ours, supervisor_end:
        text = msgspec.json.encode(REPORT)
        supervisor_end.sendall(LENGTH.pack(len(text)) + text + files)
        supervisor_end.shutdown(socket.SHUT_WR)
        session = SandboxSession(
            listeners=(),
            process_id=0,
            _line=ours,
            _out=io.BytesIO(),
            _complaints=complaints,
            _job=JOB,
        )
        assert session.finish(tmp_path / "out.tar") == REPORT
    return (tmp_path / "out.tar").read_bytes()


def test_archive_ends_with_the_completeness_mark(tmp_path: Path) -> None:
    assert finished(tmp_path, b"a tar" + WHOLE) == b"a tar"


@pytest.mark.parametrize("files", [b"", b"a t", b"a tar" + WHOLE[:-1]])
def test_files_that_were_cut_off_are_lost(tmp_path: Path, files: bytes) -> None:
    with pytest.raises(LostError, match="its files were cut off; Killed"):
        finished(tmp_path, files)


def test_oversized_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LostError, match="more came out"):
        finished(tmp_path, b"x" * 100_000)
