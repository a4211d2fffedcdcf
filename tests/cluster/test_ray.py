"""`--cluster HOST:PORT` with real Ray on hosts in namespaces, and what may happen to them."""

import importlib.util
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.cluster.boxes import NETWORK, Boxes, Host, open_boxes, wait_for_lines
from tests.cluster.conftest import CELLS, PROCESSES, TESTS, Box
from tests.cluster.test_local import keys
from tests.shipped import ROOT
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None,
        reason="Ray is not installed: the extra `cluster`",
    ),
]
_ALL = CELLS * TESTS * PROCESSES
_CHILD, _BENCH = "llamatrix.cluster.child", "llama_bench.py"
_HEAD = f"{NETWORK}.2:6379"
_SETUP = "mkdir -p /mnt/ray && mount -t tmpfs none /mnt && mkdir /mnt/ray && mount -t tmpfs none /dev/shm"
_OPTIONS = (
    *("--num-cpus=1", "--num-gpus=0", "--object-store-memory=80000000"),
    "--disable-usage-stats",
)


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ray") / "token"
    path.write_text("a" * 64)
    return path


class Cluster:
    """Hosts with Ray; the driver runs on the head's."""

    def __init__(self, boxes: Boxes, box: Box, token: Path) -> None:
        self.boxes = boxes
        self.box = box
        self.variables = {
            "RAY_worker_niceness": "0",
            "RAY_worker_oom_score_adjustment": "0",
            "RAY_memory_monitor_refresh_ms": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
        }
        self.env = {
            key: value
            for key, value in {**box.environment, **self.variables}.items()
            if key != "LLAMATRIX_LOCKS"
        }

    def add(self, name: str, *, setup: str = "true") -> Host:
        host = self.boxes.add(name, setup=f"{_SETUP}; {setup}", ssh=False)
        self.start_ray(host)
        return host

    def start_ray(self, host: Host) -> None:
        head = len(self.boxes.hosts) == 1
        place = (
            (
                "--head",
                "--port=6379",
                "--include-dashboard=false",
                "--temp-dir=/mnt/ray",
            )
            if head
            else (f"--address={_HEAD}",)
        )
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", *place]
        command = host.inside(*ray, f"--node-ip-address={host.address}", *_OPTIONS)
        for _ in range(2):  # Ray allows its parts a time that a busy machine exceeds
            with suppress(subprocess.TimeoutExpired):
                ended = subprocess.run(
                    command,
                    env=self.env,
                    check=False,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    timeout=180,
                )
                if not ended.returncode:
                    return
            host.kill("ray/")
        pytest.fail("Ray does not start")

    def start(self, **wishes: object) -> subprocess.Popen[str]:
        wishing = self.box.wishing(**wishes).environment["LLAMATRIX_FAKE_BENCH"]
        command = (
            *(sys.executable, "-m", "invoke", "bench", "--profile", "smoke"),
            *("--cluster", _HEAD),
        )
        return subprocess.Popen(
            self.boxes.hosts["heada"].inside(
                "sh", "-c", f'cd {ROOT} && exec "$@"', "sh", *command
            ),
            env={**self.env, "LLAMATRIX_FAKE_BENCH": wishing},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def said(self, command: subprocess.Popen[str], *, within_s: float = 150) -> str:
        """Wait for the command's end; return what it said."""
        return command.communicate(timeout=within_s)[1]

    def is_idle(self) -> bool:
        return not any(
            host.processes(word)
            for host in self.boxes.hosts.values()
            if host.init.poll() is None
            for word in (_CHILD, _BENCH)
        )

    def assert_complete(self) -> None:
        assert len(keys(self.box)) == _ALL
        assert set(keys(self.box).values()) == {1}, "nothing is doubled"
        wait_until(self.is_idle, within_s=15)


@pytest.fixture
def cluster(box: Box, tmp_path: Path, token: Path) -> Iterator[Cluster]:
    with open_boxes(tmp_path / "boxes") as boxes:
        made = Cluster(boxes, box, token)
        made.add("heada")
        yield made


def test_killed_worker_killed_raylet_and_a_host_that_joins_late(
    cluster: Cluster,
) -> None:
    """Each costs the cell in flight there; the rest goes on, and nothing is doubled.

    A host of another version is left out.
    """
    project = cluster.box.project
    other = project.root / "other.lock"
    other.write_text(project.lock_file.read_text() + "\n")
    cluster.add("boxb")
    cluster.add("old", setup=f"mount --bind {other} {project.lock_file}")
    command = cluster.start(delay_s=0.6)
    wait_for_lines(cluster.box.project.records, 2)
    cluster.boxes.hosts["heada"].kill("ray::Keeper")
    wait_for_lines(cluster.box.project.records, 6)
    cluster.boxes.hosts["boxb"].kill("raylet/raylet")
    cluster.add("late")
    said = cluster.said(command)
    assert command.returncode == 0, said
    assert "heada: lost: " in said
    assert "boxb: lost: " in said
    assert "late: " in said
    assert "old: left out: versions differ: matrix.lock" in said
    environments = {
        str(record["same_environment"].get("niceness", 0))
        for record in cluster.box.records()
    }
    assert environments == {"0"}
    cluster.assert_complete()


@pytest.mark.parametrize("end", ["driver", "interrupt", "head"])
def test_a_dead_driver_or_head_leaves_nothing_and_the_next_run_resumes(
    end: str, cluster: Cluster
) -> None:
    command = cluster.start(delay_s=0.3)
    wait_for_lines(cluster.box.project.records, 3)
    number = signal.SIGINT if end == "interrupt" else signal.SIGKILL
    word = "gcs_server" if end == "head" else "invoke"
    cluster.boxes.hosts["heada"].kill(word, number)
    said = cluster.said(command)
    assert (command.returncode == 130) is (end == "interrupt"), said
    assert command.returncode != 0
    if end == "head":
        assert f"Ray's head {_HEAD} does not answer" in said
        cluster.boxes.hosts["heada"].kill("raylet")
        cluster.start_ray(cluster.boxes.hosts["heada"])
    wait_until(cluster.is_idle, within_s=15)
    again = cluster.start()
    said = cluster.said(again)
    assert again.returncode == 0, said
    cluster.assert_complete()


@pytest.mark.long
def test_after_a_cut_of_two_minutes_a_host_that_joins_again_hands_in_its_records(
    cluster: Cluster,
) -> None:
    boxb = cluster.add("boxb")
    command = cluster.start(delay_s=9.0)
    wait_for_lines(cluster.box.project.records, 4)
    boxb.plug(out=True)
    time.sleep(120.0)
    kept = len(cluster.box.records())
    boxb.plug(out=False)
    wait_until(lambda: not boxb.processes("raylet/raylet"), within_s=60)
    cluster.start_ray(boxb)
    said = cluster.said(command, within_s=400)
    print(said)  # noqa: T201
    assert command.returncode == 0, said
    assert said.count("boxb: lost: ") == 1
    assert "boxb: handed in" in said
    assert "boxb: is back" in said
    assert kept > 4, "the head's host went on"
    cluster.assert_complete()


@pytest.mark.long
def test_a_host_cut_off_for_good_is_named_and_the_head_does_its_work(
    cluster: Cluster,
) -> None:
    boxb = cluster.add("boxb")
    command = cluster.start(delay_s=3.0)
    wait_for_lines(cluster.box.project.records, 4)
    boxb.plug(out=True)
    said = cluster.said(command, within_s=400)
    print(said)  # noqa: T201
    assert command.returncode == 0, said
    assert said.count("boxb: lost: ") == 1
    assert "lost and not back: boxb (" in said
    wait_until(cluster.is_idle, within_s=150)
    cluster.assert_complete()
