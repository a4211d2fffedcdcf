"""`--cluster ssh:…` with real sshd on hosts in namespaces, and what may happen to them."""

import os
import shutil
import signal
import subprocess
import sys
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
from tests.waiting import gone_within, wait_until

from llamatrix.cluster.commands import driver_of, planner_of
from llamatrix.commands.flags import MeasureFlags
from llamatrix.config.matrix import Measurement

pytestmark = pytest.mark.slow
_ALL = CELLS * TESTS * PROCESSES
_ONE = ("--cells", "*qwen35-27b*")
_CUT_S = 8.0
"""Longer than a child is silent by itself, shorter than the driver's patience."""
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
        with driver_of(planner_of(flags, [Measurement.SPEED]), silence_s=6.0) as driver:

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


def test_two_drivers_at_once_measure_one_after_the_other(
    box: Box, boxes: Boxes, tmp_path: Path
) -> None:
    """Two checkouts: each gets all its records; the host measures for one at a time."""
    env = boxes.environment(box.wishing(delay_s=0.5).environment)
    shutil.copytree(box.project.root, tmp_path / "other")
    commands = [
        start(*bench("boxa"), *_ONE, env={**env, "LLAMATRIX_ROOT": str(root)}, cwd=ROOT)
        for root in (box.project.root, tmp_path / "other")
    ]
    said = [command.communicate(timeout=120)[1] for command in commands]
    assert [command.returncode for command in commands] == [0, 0], said
    assert any("waiting for process" in text for text in said)
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
