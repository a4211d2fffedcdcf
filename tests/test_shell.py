"""Programs are started, read, limited and killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.shipped import ROOT
from tests.waiting import alive, gone_within, wait_until

from llamatrix import orphan_reaper, shell


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_output_exit_code_and_log_are_kept(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "a.log"
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    ended = shell.run(python(code), timeout_s=30, log=log)
    assert (ended.returncode, ended.out, ended.ok) == (3, "out\n", False)
    assert set(ended.tail) == {"out", "err"}
    assert set(log.read_text().split()) == {"out", "err"}
    assert "exit code 3" in ended.complaint()
    assert str(log) in ended.complaint()


def test_lines_arrive_while_the_program_runs(tmp_path: Path) -> None:
    """It prints its second line only after the first one was read."""
    heard = tmp_path / "heard"
    code = (
        "import pathlib, time; print(1, flush=True)\n"
        f"while not pathlib.Path({str(heard)!r}).exists(): time.sleep(0.01)\n"
        "print(2)"
    )
    lines: list[str] = []

    def keep(_: shell.Channel, line: str) -> None:
        lines.append(line)
        heard.touch()

    assert shell.run(python(code), timeout_s=30, on_line=keep).ok
    assert lines == ["1", "2"]


def test_last_line_without_newline_is_read() -> None:
    assert shell.run(["printf", "a\\nb"], timeout_s=30).out == "a\nb\n"


def test_output_without_newlines_is_bounded() -> None:
    """600 MB take minutes in quadratic time, and each tail would be as long."""
    code = "import sys; [sys.stdout.write('x' * 1_000_000) for _ in range(600)]"
    ended = shell.run(python(code), timeout_s=300)
    assert ended.ok
    assert len(ended.out) == 1 + (8 << 20)
    assert len(ended.tail[-1]) == shell.TAIL_LINE_CHARACTERS


def test_program_over_its_time_limit_is_killed_with_its_children(
    tmp_path: Path,
) -> None:
    pid_file = tmp_path / "pid"
    script = f"sleep 600 & echo $! > {pid_file}; echo begun; wait"
    ended = shell.run(["sh", "-c", script], timeout_s=1.0)
    assert ended.limit is shell.Limit.TOTAL
    assert "begun" in ended.tail
    assert gone_within(int(pid_file.read_text()), 5)


def test_silent_program_is_killed_before_its_time_limit() -> None:
    code = "import time; print('one', flush=True); time.sleep(600)"
    ended = shell.run(python(code), timeout_s=60, silence_s=0.5)
    assert ended.limit is shell.Limit.SILENCE
    assert ended.seconds < 30


def test_missing_program_is_named() -> None:
    with pytest.raises(shell.ProgramMissingError, match="no-such-program"):
        shell.run(["no-such-program"], timeout_s=1)


def test_program_of_another_machine_is_an_error_of_one_line(tmp_path: Path) -> None:
    program = tmp_path / "llama-bench"
    program.write_bytes(b"\x7fELF of another machine")
    program.chmod(0o755)
    with pytest.raises(shell.ProgramMissingError) as caught:
        shell.run([str(program)], timeout_s=1)
    assert caught.value.exit_code == 3
    assert "Exec format error" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["true", "a\0b"], "embedded null byte"),
        (["true", "a" * 10_000_000], "Argument list too long"),
        (["/etc"], "Permission denied"),
        (["/etc/passwd/true"], "Not a directory"),
    ],
)
def test_impossible_argument_is_an_error_of_one_line(
    words: list[str], complaint: str
) -> None:
    with pytest.raises(shell.ProgramMissingError, match=complaint):
        shell.run(words, timeout_s=1)


def test_missing_working_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(shell.ProgramMissingError, match=r"cannot be started in .*gone"):
        shell.run(["true"], timeout_s=1, cwd=tmp_path / "gone")


def test_peak_memory_of_the_program_is_reported() -> None:
    ended = shell.run(python("x = bytearray(200_000_000)"), timeout_s=60)
    assert ended.peak_rss_bytes > 200_000_000


def test_exception_while_reading_kills_the_program(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"

    def interrupt(_channel: shell.Channel, _line: str) -> None:
        raise KeyboardInterrupt

    script = f"echo $$ > {pid_file}; echo ready; sleep 600"
    with pytest.raises(KeyboardInterrupt):
        shell.run(["sh", "-c", script], timeout_s=60, on_line=interrupt)
    assert gone_within(int(pid_file.read_text()), 5)


def test_no_descendant_outlives_a_killed_harness(tmp_path: Path) -> None:
    """After `kill -9` of the harness its child, grandchild and daemon all end."""
    pids = tmp_path / "pids"
    script = f"echo $$ >> {pids}; setsid sleep 601 & echo $! >> {pids}; sleep 602"
    code = (
        "from llamatrix import shell\n"
        f"shell.run(['sh', '-c', {script!r}], timeout_s=600)\n"
    )
    scripts = str(Path(shell.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": scripts}
    with shell.started(python(code), env=environment) as harness:
        wait_until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
        started = [int(pid) for pid in pids.read_text().split()]
        assert all(map(alive, started))
        os.kill(harness.pid, signal.SIGKILL)
        harness.wait(timeout=10)
        assert all(gone_within(pid, 10) for pid in started)


def mark_of(pid: int) -> str:
    """Return the mark of a process once the kernel shows its environment."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        for part in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            name, _, value = part.decode().partition("=")
            if name == orphan_reaper.MARK_VARIABLE:
                return value
        time.sleep(0.01)
    raise AssertionError("no mark")


def test_orphan_reaper_finds_only_marked_processes() -> None:
    with shell.started(["sleep", "600"]) as process:
        mark = mark_of(process.pid)
        assert process.pid in set(orphan_reaper.marked_processes(mark))
        assert not set(orphan_reaper.marked_processes("another-mark"))


def test_threads_that_start_together_share_one_orphan_reaper() -> None:
    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "import psutil\n"
        "from llamatrix import shell\n"
        "def run(_): return shell.run(['sh', '-c', 'sleep 0.5; echo ok'], timeout_s=60)\n"
        "with ThreadPoolExecutor(8) as pool:\n"
        "    ended = list(pool.map(run, range(8)))\n"
        "below = psutil.Process().children()\n"
        "reapers = [one for one in below if 'orphan_reaper.py' in ' '.join(one.cmdline())]\n"
        "print([one.out for one in ended].count('ok\\n'), len(reapers))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(shell.__file__).parents[1])}
    ended = shell.run(python(code), timeout_s=60, env=environment)
    assert ended.out == "8 1\n", ended.complaint()


def test_program_does_not_inherit_standard_input() -> None:
    """The harness's own may be a pipe that nobody closes, as in CI."""
    code = (
        "from llamatrix import shell\n"
        "ended = shell.run(['cat'], timeout_s=60)\n"
        "print(ended.returncode, ended.limit)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,  # held open until it has ended
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")},
    ) as harness:
        assert harness.stdout
        assert harness.stdout.read() == b"0 None\n"
