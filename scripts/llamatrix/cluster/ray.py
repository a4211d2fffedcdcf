"""Lanes by Ray: an actor on each host starts the children and passes their lines on.

The only home of `import ray`. The actor takes all CPUs and cards of its node, so that no
other job of the cluster runs beside a measurement. Ray retries nothing for us.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llamatrix.cluster.lanes import (
    Lane,
    LaneLostError,
    PipeLane,
    child_argv,
    child_environment,
)
from llamatrix.errors import MeasureError, ProvisionError
from llamatrix.nvml import card_indices, find_library
from llamatrix.progress import say
from llamatrix.project import Project

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # a late call starts no cluster of its own
# a host that is cut off is given up after two minutes, not after seven
os.environ.setdefault("RAY_grpc_client_keepalive_time_ms", "60000")
os.environ.setdefault("RAY_grpc_client_keepalive_timeout_ms", "60000")
_TOKEN = os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token"
if Path(_TOKEN).is_file():  # for an address, Ray itself does not look for it
    os.environ.setdefault("RAY_AUTH_MODE", "token")
try:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError as missing:
    raise ProvisionError(
        "--cluster: Ray is not installed; `pip install 'llamatrix[cluster]'`, or use "
        "ssh:box1,box2, which needs nothing"
    ) from missing

_OF_RAY = ("RAY_", "OMP_", "CUDA_VISIBLE_DEVICES", "PYTHON")
"""Prefixes of variables that Ray sets for its workers and children must not see."""
_MEMORY_MONITOR = "RAY_memory_monitor_refresh_ms"
_LANES = 64
_HEAD_WITHIN_S = 30.0
_REPLY_S = 60.0
_WORD_EVERY_S = 60.0


class Keeper:
    """On a host: keeps the children. A worker's niceness is taken back where allowed."""

    def __init__(self, root: str, driver: str, ours: dict[str, str]) -> None:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, 0)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("0")
        assigned = [int(index) for index in ray.get_gpu_ids()]
        self._monitored = os.environ.get(_MEMORY_MONITOR) != "0"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(_OF_RAY)}
        if len(assigned) < card_indices(find_library())[1]:
            kept["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, assigned))
        self._environment = kept | ours
        self._root = Path(root)
        self._driver = driver
        self._lanes: dict[int, PipeLane] = {}
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()

    def warning(self) -> str:
        """Say what Ray may do to a measurement on this host; empty for nothing."""
        if not self._monitored:
            return ""
        return (
            "Ray's memory monitor may kill a cell there: start Ray with "
            f"{_MEMORY_MONITOR}=0"
        )

    def open(self, card: int | None) -> int:
        env = child_environment(card, self._environment)
        number = max(self._lanes, default=0) + 1
        self._lanes[number] = PipeLane(child_argv(self._driver, card), env, self._root)
        return number

    def send(self, number: int, line: bytes) -> None:
        self._lanes[number].send(line)

    def receive(self, number: int, timeout_s: float) -> list[bytes]:
        return list(self._lanes[number].receive(timeout_s))

    def close(self, number: int) -> None:
        self._lanes[number].close()


def _end_with(raylet: int) -> None:
    """End this worker, and with it the children, when its raylet is gone."""
    while os.getppid() == raylet:
        time.sleep(1.0)
    os._exit(1)


class RayLane:
    """A child that an actor keeps. A reply that is late is waited for, never asked again."""

    def __init__(self, keeper: Any, number: int) -> None:  # noqa: ANN401
        self._keeper = keeper
        self._number = number
        self._reply: Any = None

    def send(self, line: bytes) -> None:
        _got(self._keeper.send.remote(self._number, line), timeout_s=_REPLY_S)

    def receive(self, timeout_s: float) -> Sequence[bytes]:
        if self._reply is None:
            self._reply = self._keeper.receive.remote(self._number, timeout_s)
        ready, _ = ray.wait([self._reply], timeout=2 * timeout_s)
        if not ready:
            return ()
        reply, self._reply = self._reply, None
        lines: list[bytes] = _got(reply, timeout_s=_REPLY_S)
        return lines

    def close(self) -> None:
        with contextlib.suppress(ray.exceptions.RayError):
            self._keeper.close.remote(self._number)


class RayTransport:
    """The nodes of a running Ray cluster; this machine must be one of them."""

    def __init__(self, spec: str, project: Project, driver: str) -> None:
        self._project = project
        self._driver = driver
        self._keepers: dict[str, Any] = {}
        self._guard = threading.Lock()
        _connect(spec)
        address = ray.get_runtime_context().gcs_address
        self._head = (address.rpartition(":")[0], int(address.rpartition(":")[2]))

    def hosts(self) -> Sequence[str]:
        """Name the nodes that are alive; MeasureError where the head is dead."""
        until = time.monotonic() + _HEAD_WITHIN_S
        while not _answers(self._head):
            if time.monotonic() > until:
                raise MeasureError(
                    f"Ray's head {self._head[0]}:{self._head[1]} does not answer; "
                    "finished records are kept: start it again, then the same command"
                )
            time.sleep(1.0)
        return tuple(self._nodes())

    def open(self, host: str, card: int | None) -> Lane:
        node = self._nodes().get(host)
        if node is None:
            raise LaneLostError("Ray says that this node is dead")
        try:
            keeper = self._keeper(host, node)
            return RayLane(keeper, _got(keeper.open.remote(card), timeout_s=_REPLY_S))
        except LaneLostError:
            with self._guard:  # the next attempt needs another actor
                self._keepers.pop(node["NodeID"], None)
            raise

    def close(self) -> None:
        for keeper in self._keepers.values():
            with contextlib.suppress(ray.exceptions.RayError, ValueError):
                ray.kill(keeper)
        ray.shutdown()

    def _nodes(self) -> dict[str, dict[str, Any]]:
        """Return the live nodes by host name, with the address where two share one."""
        alive = [node for node in ray.nodes() if node["Alive"]]
        names = [node["NodeManagerHostname"] for node in alive]
        return {
            name
            if names.count(name) == 1
            else f"{name} {node['NodeManagerAddress']}": node
            for name, node in zip(names, alive, strict=True)
        }

    def _keeper(self, host: str, node: dict[str, Any]) -> Any:  # noqa: ANN401
        """Return the actor of a node: a new one where the node is new."""
        with self._guard:
            known = self._keepers.get(node["NodeID"])
        if known is not None:
            return known
        root = self._project.root
        ours = {k: v for k, v in os.environ.items() if k.startswith("LLAMATRIX_")}
        keeper = (
            ray.remote(Keeper)
            .options(
                num_cpus=node["Resources"].get("CPU", 0),
                num_gpus=node["Resources"].get("GPU", 0),
                max_restarts=0,
                max_task_retries=0,
                max_concurrency=_LANES,
                scheduling_strategy=NodeAffinitySchedulingStrategy(
                    node["NodeID"], soft=False
                ),
            )
            .remote(str(root), self._driver, ours)
        )
        with self._guard:
            self._keepers[node["NodeID"]] = keeper
        ready = keeper.warning.remote()
        while not ray.wait([ready], timeout=_WORD_EVERY_S)[0]:
            say(f"{host}: waiting for its CPUs and cards, which another job of Ray has")
        warning = _got(ready, timeout_s=_REPLY_S)
        if warning:
            say(f"{host}: {warning}")
        return keeper


def _connect(spec: str) -> None:
    """Connect this process; Ray waits without a word where no raylet runs here."""
    sources = str(Path(__file__).parents[2])
    word = (
        f"still connecting to Ray at {spec}: the command must run on a host of the "
        "cluster (`ray start --address=HOST:PORT` here first)"
    )
    patience = threading.Timer(20.0, say, [word])
    patience.daemon = True
    patience.start()
    try:
        ray.init(
            address=spec,
            log_to_driver=False,
            logging_level="error",
            _node_ip_address=_own_address(spec),
            runtime_env={"env_vars": {"PYTHONPATH": sources}},
        )
    except (
        ConnectionError,
        RuntimeError,
        ValueError,
        ray.exceptions.RayError,
    ) as error:
        raise MeasureError(
            f"--cluster {spec}: no Ray cluster answers: {_first_line(error)}; start one "
            "(docs/howto/several-machines.md), or use ssh:box1,box2"
        ) from error
    finally:
        patience.cancel()
    if os.environ.get("RAY_AUTH_MODE") != "token":
        say(
            "Ray asks for no token: whoever reaches its ports can run code there; "
            "docs/howto/several-machines.md shows how to set one"
        )


def _own_address(spec: str) -> str | None:
    """Return this machine's address on the way to the head; Ray would ask the internet."""
    host, _, port = spec.rpartition(":")
    if not host:
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        try:
            way.connect((host, int(port)))
        except OSError:
            return None
        address: str = way.getsockname()[0]
        return address


def _answers(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=5.0).close()
    except OSError:
        return False
    return True


def _got(reply: Any, *, timeout_s: float) -> Any:  # noqa: ANN401
    """Wait for a reply; LaneLostError where actor, node or child is gone."""
    try:
        return ray.get(reply, timeout=timeout_s)
    except ray.exceptions.RayTaskError as error:
        raise LaneLostError(_first_line(error.cause)) from error
    except ray.exceptions.RayError as error:
        raise LaneLostError(_first_line(error)) from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
