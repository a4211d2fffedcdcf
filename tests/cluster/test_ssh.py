"""`--cluster ssh:…` with real sshd on hosts in namespaces, and what may happen to them."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.boxes import Boxes, open_boxes, start, wait_for_lines, with_ssh
from tests.cluster.conftest import CELLS, PROCESSES, TESTS, Box
from tests.cluster.test_local import keys
from tests.invoking import invoked_apart
from tests.shipped import ROOT
from tests.waiting import wait_until

from llamatrix.cluster.commands import driver_of, planner_of
from llamatrix.commands.flags import MeasureFlags
from llamatrix.config.matrix import Measurement

pytestmark = pytest.mark.slow
_ALL = CELLS * TESTS * PROCESSES
_SOME = ("--cells", "*qwen*")
_CHILD = "llamatrix.cluster.child"
_BENCH = "llama_bench.py"


def bench(*hosts: str) -> tuple[str, ...]:
    return ("bench", "--profile", "smoke", "--cluster", f"ssh:{','.join(hosts)}")


@pytest.fixture
def boxes(tmp_path: Path) -> Iterator[Boxes]:
    with open_boxes(tmp_path / "boxes") as made:
        yield with_ssh(made)


def is_idle(boxes: Boxes) -> bool:
    """Whether no process of ours is left on any host."""
    return not any(
        host.processes(word)
        for host in boxes.hosts.values()
        for word in (_CHILD, _BENCH)
    )


def assert_complete(box: Box, boxes: Boxes, tests: int = _ALL // 2) -> None:
    assert len(keys(box)) == tests
    assert set(keys(box).values()) == {1}, "nothing is doubled"
    wait_until(lambda: is_idle(boxes), within_s=10)


def test_hosts_share_the_cells_and_are_left_clean(box: Box, boxes: Boxes) -> None:
    """A dead child costs its cell in flight, a full disk and another version the host."""
    spool = box.project.cache / "spool"
    other = box.project.root / "other.lock"
    other.write_text(box.project.lock_file.read_text() + "\n")
    spool.mkdir(parents=True)
    boxes.add("boxa")
    boxes.add("boxb")
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
    boxa = boxes.add("boxa")
    env = boxes.environment(box.wishing(delay_s=0.5).environment)
    command = start(*bench("boxa"), *_SOME, env=env, cwd=ROOT)
    wait_for_lines(box.project.records, 2)
    boxa.plug(out=True)
    time.sleep(20)
    spooled = list((box.project.cache / "spool").rglob("*.jsonl"))
    assert spooled, "it was measured meanwhile"
    boxa.plug(out=False)
    _, said = command.communicate(timeout=120)
    assert command.returncode == 0, said
    assert "lost" not in said
    assert_complete(box, boxes)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_driver_that_ends_leaves_nothing_behind_and_the_next_run_resumes(
    number: signal.Signals, box: Box, boxes: Boxes
) -> None:
    boxes.add("boxa")
    env = boxes.environment(box.wishing(delay_s=0.2).environment)
    command = start(*bench("boxa"), *_SOME, env=env, cwd=ROOT)
    wait_for_lines(box.project.records, 3)
    os.kill(command.pid, number)
    _, said = command.communicate(timeout=60)
    assert command.returncode == (-9 if number is signal.SIGKILL else 130), said
    wait_until(lambda: is_idle(boxes), within_s=10)
    env = boxes.environment(box.environment)
    again = invoked_apart(*bench("boxa"), *_SOME, env=env)
    assert again.returncode == 0, again.stderr
    assert_complete(box, boxes)


def test_a_hung_child_is_left_for_another_host(box: Box, boxes: Boxes) -> None:
    """Told by its silence, in the driver itself: the command waits a minute for it."""
    env = boxes.environment(box.wishing(delay_s=0.3).environment)
    boxa = boxes.add("boxa")
    boxes.add("boxb")
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("LLAMATRIX_LOCKS")
        for name, value in env.items():
            patched.setenv(name, value)
        flags = MeasureFlags(profile="smoke", cluster="ssh:boxa,boxb", cells="*qwen*")
        with driver_of(planner_of(flags, [Measurement.SPEED]), silence_s=8.0) as driver:

            def stop() -> None:
                wait_for_lines(box.project.records, 2)
                boxa.kill(_CHILD, signal.SIGSTOP)

            thread = threading.Thread(target=stop)
            thread.start()
            outcome, _ = driver.run()
            thread.join()
    assert not outcome.unmeasured
    assert len(keys(box)) == _ALL // 2
    assert set(keys(box).values()) == {1}


def test_two_drivers_at_once_measure_one_after_the_other(
    box: Box, boxes: Boxes, tmp_path: Path
) -> None:
    """Two checkouts: each gets all its records; the host measures for one at a time."""
    boxes.add("boxa")
    env = boxes.environment(box.wishing(delay_s=0.1).environment)
    shutil.copytree(box.project.root, tmp_path / "other")
    commands = [
        start(
            *bench("boxa"), *_SOME, env={**env, "LLAMATRIX_ROOT": str(root)}, cwd=ROOT
        )
        for root in (box.project.root, tmp_path / "other")
    ]
    said = [command.communicate(timeout=120)[1] for command in commands]
    assert [command.returncode for command in commands] == [0, 0], said
    assert any("waiting for process" in text for text in said)
    for root in (box.project.root, tmp_path / "other"):
        files = (root / "reports" / "records").rglob("*.jsonl")
        assert sum(path.read_bytes().count(b"\n") for path in files) == _ALL // 2
