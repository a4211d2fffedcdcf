"""The how-to's job script in a real Slurm of two hosts in namespaces, with real Ray."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.boxes import NETWORK, Boxes, open_boxes
from tests.cluster.conftest import CELLS, PROCESSES, TESTS, Box
from tests.cluster.test_local import keys
from tests.shipped import ROOT
from tests.waiting import wait_until

_PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
_NAMES = ("node1", "node2")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None,
        reason="Ray is not installed: the extra `cluster`",
    ),
    pytest.mark.skipif(
        not all(map(shutil.which, _PROGRAMS)),
        reason="no Slurm here: Debian's `slurm-wlm` and `munge`",
    ),
]
_CONFIGURATION = """
ClusterName=lm
SlurmctldHost=node1
AuthType=auth/munge
CryptoType=crypto/munge
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/linear
MpiDefault=none
ReturnToService=2
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Boxes]:
    """Two hosts with munged and slurmd, one of them with slurmctld."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    addresses = {name: f"{NETWORK}.{2 + at}" for at, name in enumerate(_NAMES)}
    nodes = "\n".join(
        f"NodeName={name} NodeAddr={address} CPUs={os.cpu_count()} State=UNKNOWN"
        for name, address in addresses.items()
    )
    (folder / "slurm.conf").write_text(
        _CONFIGURATION.format(folder=folder, nodes=nodes)
    )
    (folder / "hosts").write_text(
        "127.0.0.1 localhost\n"
        + "".join(f"{address} {name}\n" for name, address in addresses.items())
    )
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    setup = (
        f"mount --bind {folder}/hosts /etc/hosts; mkdir -p /run/munge /tmp/ray;"
        "mount -t tmpfs none /run/munge; mount -t tmpfs none /dev/shm;"
        f"mount -t tmpfs none /tmp/ray; export SLURM_CONF={folder}/slurm.conf;"
        f"munged --force --key-file={key} --log-file={folder}/munged-$(hostname).log"
        " --seed-file=/run/munge/seed"
    )
    with open_boxes(tmp_path / "boxes") as boxes:
        controller, second = _NAMES
        boxes.add(
            controller, setup=f"{setup}; slurmctld; slurmd -N {controller}", ssh=False
        )
        boxes.add(second, setup=f"{setup}; slurmd -N {second}", ssh=False)
        yield boxes


def job_script() -> str:
    """The script of the how-to, as it stands there."""
    text = (ROOT / "docs/howto/several-machines.md").read_text()
    return text.split("## Slurm")[1].split("```sh\n")[1].split("```")[0]


def test_the_script_of_the_how_to_measures_on_all_nodes(
    box: Box, slurm: Boxes, tmp_path: Path
) -> None:
    token = tmp_path / "home" / ".ray" / "auth_token"
    token.parent.mkdir(parents=True)
    token.write_text("a" * 64)
    script = tmp_path / "job.sh"
    text = job_script().replace("--profile published", "--profile smoke")
    text = text.replace("invoke all", "invoke bench")
    script.write_text(re.sub(r" --gpus-per-node=\d+", "", text))
    node = slurm.hosts[_NAMES[0]]
    env = {
        **box.wishing(delay_s=0.3).environment,
        "HOME": str(tmp_path / "home"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SLURM_CONF": str(tmp_path / "slurm" / "slurm.conf"),
    }
    env.pop("LLAMATRIX_LOCKS")

    def run(*argv: str) -> str:
        command = node.inside("sh", "-c", f'cd {ROOT} && exec "$@"', "sh", *argv)
        ended = subprocess.run(
            command, env=env, capture_output=True, text=True, check=False, timeout=300
        )
        return ended.stdout + ended.stderr

    wait_until(lambda: run("sinfo", "-h", "-o", "%D %t").strip() == "2 idle")
    said = tmp_path / "job.out"
    printed = run("sbatch", "--wait", f"--output={said}", str(script))
    output = said.read_text() if said.exists() else printed
    print(printed, output)  # noqa: T201
    assert f"records: {CELLS * TESTS * PROCESSES} made, 0 reused" in output
    for name in _NAMES:
        assert f"{name}: measuring" in output, "both nodes measure"
    assert set(keys(box).values()) == {1}
    assert {
        str(one["same_environment"].get("niceness", 0)) for one in box.records()
    } == {"0"}
    wait_until(lambda: run("squeue", "-h").strip() == "")
