"""A program with the same work everywhere: what it inherited, and how long it took.

Every core hashes the same bytes, which lie in its cache: the disk, the memory and the
number of other programs' pages do not matter. Standard library only, so that it starts
like a measured program: `python -I -S fixed_work.py`.
"""

import hashlib
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_BLOCK = bytes(1 << 16)
_BLOCKS = 4096
_LIMITS = ("cpu.max", "cpu.weight", "memory.max", "memory.high")


def _hash() -> str:
    digest = hashlib.sha256()
    for _ in range(_BLOCKS):
        digest.update(_BLOCK)
    return digest.hexdigest()


def _cgroup_limits() -> dict[str, str]:
    """Read the limits of this process' group (cgroup v2); none where it has none."""
    path = Path("/proc/self/cgroup").read_text().rpartition("::")[2].strip()
    group = Path("/sys/fs/cgroup") / path.lstrip("/")
    files = ((name, group / name) for name in _LIMITS)
    return {name: file.read_text().strip() for name, file in files if file.exists()}


def main() -> None:
    cores = os.cpu_count() or 1
    inherited = {
        "niceness": os.getpriority(os.PRIO_PROCESS, 0),
        "scheduler": os.sched_getscheduler(0),
        "oom_score_adj": int(Path("/proc/self/oom_score_adj").read_text()),
        "cores": sorted(os.sched_getaffinity(0)),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set"),
        "cgroup limits": _cgroup_limits(),
    }
    begin_s, cpu_s = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(cores) as threads:
        digests = set(threads.map(lambda _: _hash(), range(cores)))
    wall_s, cpu_s = time.perf_counter() - begin_s, time.process_time() - cpu_s
    environment = dict(os.environ)
    json.dump(
        {
            "wall_s": wall_s,
            "cpu_s": cpu_s,
            "digest": "".join(digests),
            "inherited": {name: json.dumps(value) for name, value in inherited.items()},
            "environment": environment,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
