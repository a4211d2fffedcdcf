"""Progress: bars on a terminal, also inside each other; plain lines elsewhere."""

import os
import pty
import struct
import subprocess
import sys
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

import pytest
from tests.shipped import ROOT

from llamatrix.progress import bar, growing, meter

NESTED = """
import tempfile, time
from pathlib import Path
from llamatrix.progress import bar, growing, meter, say
with meter("pairs", total=5) as outer:
    outer.advance(2, note="april")
    with meter("a file of a long, long, long name.gguf", total=2**31, in_bytes=True) as row:
        row.reach(2**30, note="[bold]")
        time.sleep(0.4)  # the next drawing
        say("a dated line")
    with bar("trial", total=3) as row:
        row.advance(note="turn 1")
        time.sleep(0.4)
    with tempfile.TemporaryDirectory() as folder, growing("opencode-ai@1.2", Path(folder)):
        (Path(folder) / "x.tgz").write_bytes(bytes(3 * 2**20))
        time.sleep(0.4)
"""


@pytest.mark.parametrize("locale", ["C.UTF-8", "POSIX"])
@pytest.mark.parametrize("columns", [60, 100])
def test_bars_of_work_inside_other_work_are_drawn_together(
    columns: int, locale: str
) -> None:
    leader, follower = pty.openpty()
    ioctl(follower, TIOCSWINSZ, struct.pack("HHHH", 20, columns, 0, 0))
    ended = subprocess.run(
        [sys.executable, "-c", NESTED],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "scripts"),
            "PYTHONUTF8": "0",
            "PYTHONCOERCECLOCALE": "0",
            "LC_ALL": locale,
            "TERM": "xterm",
        },
        stdout=subprocess.PIPE,
        stderr=follower,
        check=False,
        timeout=60,
    )
    os.close(follower)
    drawn = b""
    while chunk := _read(leader):
        drawn += chunk
    os.close(leader)
    assert (ended.returncode, ended.stdout) == (0, b""), drawn
    for text in (b"2/5", b"april", b"1 GiB/2", b"a dated line", b"turn 1", b"3 MiB"):
        assert text in drawn
    assert b"Traceback" not in drawn
    assert b"\\u" not in drawn


def _read(leader: int) -> bytes:
    try:
        return os.read(leader, 4096)
    except OSError:  # the other end is closed
        return b""


def test_elsewhere_a_bar_says_nothing_and_a_meter_only_after_a_while(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with (
        bar("trial", total=3) as row,
        meter("pairs", total=3) as other,
        growing("opencode-ai@1.2", tmp_path),
    ):
        row.advance(note="turn 1")
        other.advance()
    assert capsys.readouterr().err == ""
