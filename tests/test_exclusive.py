"""Locks between processes, and what a waiting process prints."""

import os
import platform
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.waiting import wait_until

from llamatrix import shell
from llamatrix.exclusive import exclusive

_SCRIPTS = str(Path(shell.__file__).parents[1])


def hold_for_a_while(lock: Path, output: list[str]) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from llamatrix.exclusive import exclusive\n"
        f"with exclusive(Path({str(lock)!r}), purpose='holding'):\n"
        "    print('held', flush=True); time.sleep(1)\n"
    )
    shell.run(
        [sys.executable, "-c", code],
        timeout_s=60,
        env={**os.environ, "PYTHONPATH": _SCRIPTS},
        on_line=lambda _, line: output.append(line),
    )


def test_second_process_waits_and_names_the_holder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock, output = tmp_path / "a.lock", list[str]()
    holder = threading.Thread(target=hold_for_a_while, args=(lock, output))
    holder.start()
    while "held" not in output:
        time.sleep(0.01)
    with exclusive(lock, purpose="testing"):
        stderr = capsys.readouterr().err
    holder.join()
    assert "waiting for process" in stderr
    assert "before testing" in stderr


def test_lock_of_killed_process_is_free(tmp_path: Path) -> None:
    lock = tmp_path / "a.lock"
    code = (
        "import os; from pathlib import Path\n"
        "from llamatrix.exclusive import exclusive\n"
        f"with exclusive(Path({str(lock)!r}), purpose='dying'):\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    environment = {**os.environ, "PYTHONPATH": _SCRIPTS}
    shell.run([sys.executable, "-c", code], timeout_s=60, env=environment)
    with exclusive(lock, purpose="testing"):
        assert lock.exists()


def test_a_stopped_holder_is_named_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "a.lock"
    code = (
        "import os, signal; from pathlib import Path\n"
        "from llamatrix.exclusive import exclusive\n"
        f"with exclusive(Path({str(lock)!r}), purpose='holding'):\n"
        "    os.kill(os.getpid(), signal.SIGSTOP)\n"
    )
    environment = {**os.environ, "PYTHONPATH": _SCRIPTS}
    with shell.started([sys.executable, "-c", code], env=environment) as holder:
        stat = Path(f"/proc/{holder.pid}/stat")
        wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")
        threading.Timer(1.0, holder.kill).start()
        with exclusive(lock, purpose="testing"):
            stderr = capsys.readouterr().err
    assert f"waiting for process {holder.pid} on {platform.node()} (" in stderr
    assert "that has held the lock since 20" in stderr
    assert f"which is stopped: `kill -CONT {holder.pid}` lets it go on" in stderr
