"""`--cluster ssh:…` with real sshd on hosts in namespaces, and what may happen to them."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.cluster.boxes import Boxes, open_boxes, start, wait_for_lines, with_ssh
from tests.cluster.conftest import CELLS, PROCESSES, TESTS, Box
from tests.cluster.test_local import keys
from tests.invoking import invoked_apart
from tests.shipped import ROOT
from tests.waiting import gone_within, wait_until

from llamatrix.cluster.commands import driver_id, driver_of, planner_of
from llamatrix.commands.flags import MeasureFlags
from llamatrix.config.matrix import Measurement
from llamatrix.project import Project

pytestmark = pytest.mark.slow
_ALL = CELLS * TESTS * PROCESSES
_ONE = ("--cells", "*qwen35-27b*")
_CUT_S = 8.0
"""Longer than a child is silent by itself, shorter than the driver's patience."""
_LONG_CUT_S = 120.0
_STOPPED_S = 30.0
"""Shorter than the patience of its driver, longer than one who waits looks away."""
_LATE_S = 5.0
"""Within which a host's time reaches the driver, which takes it for the present."""
_WRONG_CLOCK = """
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && clock == CLOCK_REALTIME)
        now->tv_sec += AHEAD_S;
    return failed;
}

time_t time(time_t *copy)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return copy ? (*copy = now.tv_sec) : now.tv_sec;
}
"""
"""For LD_PRELOAD. Under libfaketime 0.9.10 Python's `time.sleep` fails, or waits hang."""
_CHILD = "llamatrix.cluster.child"
_BENCH = "llama_bench.py"


def bench(*hosts: str) -> tuple[str, ...]:
    return ("bench", "--profile", "smoke", "--cluster", f"ssh:{','.join(hosts)}")


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boxes]:
    with open_boxes(tmp_path_factory.mktemp("ssh") / "boxes") as made:
        with_ssh(made).add("boxa")
        made.add("boxb")
        yield made


def is_idle(boxes: Boxes) -> bool:
    """Whether no process of ours is left on any host."""
    return not any(
        host.processes(word)
        for host in boxes.hosts.values()
        for word in (_CHILD, _BENCH)
    )


def assert_complete(box: Box, boxes: Boxes, tests: int = _ALL // CELLS) -> None:
    assert len(keys(box)) == tests
    assert set(keys(box).values()) == {1}, "nothing is doubled"
    wait_until(lambda: is_idle(boxes), within_s=10)


def test_hosts_share_the_cells_and_are_left_clean(box: Box, boxes: Boxes) -> None:
    """A dead child costs its cell in flight, a full disk and another version the host."""
    spool = box.project.cache / "spool"
    other = box.project.root / "other.lock"
    other.write_text(box.project.lock_file.read_text() + "\n")
    spool.mkdir(parents=True)
    boxes.add("full", setup=f"mount -t tmpfs -o size=64k none {spool}")
    boxes.add("old", setup=f"mount --bind {other} {box.project.lock_file}")
    env = boxes.environment(box.wishing(delay_s=0.3).environment)
    command = start(*bench("boxa", "boxb", "full", "old"), env=env, cwd=ROOT)
    wait_for_lines(box.project.records, 2)
    boxes.hosts["boxa"].kill(_CHILD)
    _, said = command.communicate(timeout=120)
    assert command.returncode == 0, said
    assert "old: left out: versions differ: matrix.lock" in said
    assert "full: speed/" in said
    assert "no record can be written: No space left on device" in said
    assert "boxa: lost: " in said
    assert "is queued again" in said
    assert_complete(box, boxes, _ALL)


def test_a_short_cut_of_the_cable_costs_nothing(box: Box, boxes: Boxes) -> None:
    boxa = boxes.hosts["boxa"]
    env = boxes.environment(box.wishing(delay_s=0.5).environment)
    command = start(*bench("boxa"), *_ONE, env=env, cwd=ROOT)
    wait_for_lines(box.project.records, 2)
    boxa.plug(out=True)
    time.sleep(_CUT_S)
    spooled = list((box.project.cache / "spool").rglob("*.jsonl"))
    boxa.plug(out=False)
    assert spooled, "it was measured meanwhile"
    _, said = command.communicate(timeout=120)
    assert command.returncode == 0, said
    assert "lost" not in said
    assert_complete(box, boxes)


@pytest.mark.long
def test_after_a_cut_of_two_minutes_the_host_hands_in_what_it_measured(
    box: Box, boxes: Boxes
) -> None:
    boxa = boxes.hosts["boxa"]
    env = boxes.environment(box.wishing(delay_s=1.5).environment)
    command = start(*bench("boxa"), *_ONE, env=env, cwd=ROOT)
    wait_for_lines(box.project.records, 2)
    boxa.plug(out=True)
    time.sleep(_LONG_CUT_S)
    kept = box.records()
    boxa.plug(out=False)
    _, said = command.communicate(timeout=200)
    print(said)  # noqa: T201
    assert command.returncode == 0, said
    assert said.count("boxa: lost: ") == 1
    assert "boxa: handed in" in said
    assert "boxa: is back" in said
    assert box.records()[: len(kept)] == kept
    assert_complete(box, boxes)


@pytest.mark.long
def test_a_host_cut_off_for_good_is_named_and_the_others_do_its_work(
    box: Box, boxes: Boxes
) -> None:
    """Its child ends by itself, and what it measured is taken in when it is back."""
    boxa = boxes.hosts["boxa"]
    env = boxes.environment(box.wishing(delay_s=1.5).environment)
    command = start(*bench("boxa", "boxb"), env=env, cwd=ROOT)
    wait_for_lines(box.project.records, 3)
    boxa.plug(out=True)
    _, said = command.communicate(timeout=300)
    print(said)  # noqa: T201
    assert command.returncode == 0, said
    assert said.count("boxa: lost: ") == 1
    assert "lost and not back: boxa (" in said
    assert len(keys(box)) == _ALL
    wait_until(lambda: is_idle(boxes), within_s=250)
    boxa.plug(out=False)
    again = invoked_apart(*bench("boxa"), env=env)
    print(again.stderr)  # noqa: T201
    assert again.returncode == 0, again.stderr
    assert "that were recorded already" in again.stderr
    assert_complete(box, boxes, _ALL)


def test_a_driver_that_ends_leaves_nothing_behind_and_the_next_run_resumes(
    box: Box, boxes: Boxes
) -> None:
    env = boxes.environment(box.wishing(delay_s=0.3).environment)
    for number, code, records in ((signal.SIGKILL, -9, 2), (signal.SIGINT, 130, 4)):
        command = start(*bench("boxa"), *_ONE, env=env, cwd=ROOT)
        wait_for_lines(box.project.records, records)
        os.kill(command.pid, number)
        _, said = command.communicate(timeout=60)
        assert command.returncode == code, said
        wait_until(lambda: is_idle(boxes), within_s=10)
    env = boxes.environment(box.environment)
    again = invoked_apart(*bench("boxa"), *_ONE, env=env)
    assert again.returncode == 0, again.stderr
    assert_complete(box, boxes)


def test_a_hung_child_is_left_for_another_host(box: Box, boxes: Boxes) -> None:
    """Told by its silence, in the driver itself: the command waits a minute for it."""
    env = boxes.environment(box.wishing(delay_s=0.3).environment)
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("LLAMATRIX_LOCKS")
        for name, value in env.items():
            patched.setenv(name, value)
        flags = MeasureFlags(profile="smoke", cluster="ssh:boxa,boxb", cells="*qwen*")
        with driver_of(
            planner_of(flags, [Measurement.SPEED]), silence_s=15.0
        ) as driver:

            def stop() -> None:
                wait_for_lines(box.project.records, 2)
                boxes.hosts["boxa"].kill(_CHILD, signal.SIGSTOP)

            thread = threading.Thread(target=stop)
            thread.start()
            outcome, _ = driver.run()
            thread.join()
    boxes.hosts["boxa"].kill(_CHILD)
    wait_until(lambda: is_idle(boxes), within_s=10)
    assert not outcome.unmeasured
    assert len(keys(box)) == _ALL // 2
    assert set(keys(box).values()) == {1}


@pytest.mark.parametrize("offset_s", [7200, -2 * 365 * 86_400])
def test_a_host_whose_clock_is_wrong_gives_records_with_the_right_time(
    offset_s: int, box: Box, boxes: Boxes, tmp_path: Path
) -> None:
    """The child's calendar lies, by two hours or two years; its stop watch does not."""
    if not (compiler := shutil.which("cc")):
        pytest.skip("no C compiler here")
    source, library = tmp_path / "clock.c", tmp_path / "clock.so"
    source.write_text(_WRONG_CLOCK)
    argv = ("-shared", "-fPIC", f"-DAHEAD_S={offset_s}", "-o", library, source)
    subprocess.run([compiler, *argv], check=True)
    name = "fast" if offset_s > 0 else "slow"
    boxes.add(name, options=f"-o SetEnv=LD_PRELOAD={library}")
    begin = datetime.now(UTC)
    env = boxes.environment(box.environment)
    ended = invoked_apart(*bench(name), *_ONE, env=env)
    assert ended.returncode == 0, ended.stderr
    side = "ahead" if offset_s > 0 else "behind"
    clock = re.search(rf"{name}: .*, its clock is (\d+) s {side}: ", ended.stderr)
    assert clock, ended.stderr
    assert int(clock[1]) == pytest.approx(abs(offset_s), abs=_LATE_S)
    for record in box.records():
        assert record["clock_ahead_s"] == pytest.approx(offset_s, abs=_LATE_S)
        times = str(record["measured_at"]), str(record["process"]["started_at"])
        measured, started = map(datetime.fromisoformat, times)
        latest = datetime.now(UTC) + timedelta(seconds=_LATE_S)
        assert begin <= started <= measured <= latest
    assert_complete(box, boxes)


def test_two_drivers_at_once_measure_one_after_the_other(
    box: Box, boxes: Boxes, tmp_path: Path
) -> None:
    """Two checkouts: each gets all its records; the host measures for one at a time.

    A stopped child of the first is named to the second, with the remedy.
    """
    shutil.copytree(box.project.root, tmp_path / "other")

    def started(root: Path, delay_s: float) -> subprocess.Popen[str]:
        env = boxes.environment(box.wishing(delay_s=delay_s).environment)
        env["LLAMATRIX_ROOT"] = str(root)
        return start(*bench("boxa"), *_ONE, env=env, cwd=ROOT)

    first = started(box.project.root, 3.0)
    wait_for_lines(box.project.records, 1)
    second = started(tmp_path / "other", 0.1)
    other = driver_id(Project(root=tmp_path / "other", cache=box.project.cache))
    wait_until(lambda: boxes.hosts["boxa"].processes(other))
    child = driver_id(box.project)
    boxes.hosts["boxa"].kill(child, signal.SIGSTOP)
    time.sleep(_STOPPED_S)
    boxes.hosts["boxa"].kill(child, signal.SIGCONT)
    said = [command.communicate(timeout=120)[1] for command in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], said
    assert "boxa: waiting for process" in said[1]
    assert "on boxa (" in said[1]
    assert "which is stopped: `kill -CONT " in said[1]
    for root in (box.project.root, tmp_path / "other"):
        files = (root / "reports" / "records").rglob("*.jsonl")
        assert sum(path.read_bytes().count(b"\n") for path in files) == _ALL // CELLS


def test_hosts_end_with_the_process_that_runs_the_tests(tmp_path: Path) -> None:
    program = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from tests.cluster.boxes import open_boxes\n"
        f"with open_boxes(Path({str(tmp_path / 'boxes')!r})) as boxes:\n"
        "    host = boxes.add('lone', ssh=False)\n"
        "    print(host.pid, boxes.bridge, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'scripts'}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    if not ended.stdout:
        assert "Skipped" in ended.stderr, ended.stderr
        pytest.skip("no hosts in namespaces here")
    pid, bridge = ended.stdout.split()
    assert gone_within(int(pid), 5)
    wait_until(lambda: not Path(f"/sys/class/net/{bridge}").exists(), within_s=5)
