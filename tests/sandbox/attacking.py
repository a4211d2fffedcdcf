"""Runs the attacks in real sandboxes, as the current user, and prints the results.

`python -m tests.sandbox.attacking BWRAP FOLDER` prints one JSON object: in a process of
its own it can be run as root and as an ordinary user.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.sandbox.attacks import ATTACKS, SESSION

from llamatrix.proxy.serving import loopback_listener
from llamatrix.sandbox.session import open_sandbox
from llamatrix.sandbox.spec import HOME, SandboxSpec, inside_path
from llamatrix.sandbox.workspace_archive import pack, unpack_work

MIB = 1 << 20
MARKER = "MARKER_OF_THE_HARNESS"
SCRIPTS = {
    "kill everything": "import os, signal\n"
    "if os.fork() == 0: os.execv('/bin/sh', ['sh', '-c', 'kill -9 -1'])\n"
    "import time; time.sleep(60)",
    "pkill -9 python": "import subprocess, time\n"
    "subprocess.Popen(['pkill', '-9', 'python']); time.sleep(60)",
    "fork bomb": "import os\nwhile True:\n try: os.fork()\n except OSError: pass",
    "thread bomb": "import threading, time\n"
    "for count in range(5000):\n"
    " try: threading.Thread(target=time.sleep, args=(9,), daemon=True).start()\n"
    " except RuntimeError: break\n"
    "print(count)",
    "memory bomb": "import os\n"
    "for _ in range(3): os.fork()\n"
    "parts = [b'x' * (8 << 20) for _ in range(1000)]\n"
    "print('survived')",
    "shared memory bomb": "import mmap, time\n"
    "parts = [mmap.mmap(-1, 8 << 20) for _ in range(100)]\n"
    "for part in parts:\n"
    " part.write(b'x' * (8 << 20)); time.sleep(0.02)\n"
    "print('survived')",
    "stdout without a line end": "import sys\n"
    "for _ in range(120): sys.stdout.write('x' * 1_000_000)",
    "stderr that is full": "import fcntl, os\n"
    "fcntl.fcntl(2, fcntl.F_SETFL, os.O_NONBLOCK)\n"
    "if os.fork() == 0:\n"
    " while True:\n"
    "  try: os.write(2, b'x' * 4096)\n"
    "  except BlockingIOError: pass\n"
    "if os.fork() == 0: parts = [b'x' * (8 << 20) for _ in range(1000)]\n"
    "import time; time.sleep(3)",
    "a daemon with a name": "import ctypes, os, time\n"
    "if os.fork() == 0:\n"
    " os.setsid()\n"
    " if os.fork() == 0:\n"
    "  ctypes.CDLL(None).prctl(15, b'd\\xff\\xfe', 0, 0, 0); os.close(1); os.close(2)\n"
    "  time.sleep(7777)\n"
    " os._exit(0)\n"
    "time.sleep(0.3)",
    "a strange workspace": """
import os
os.chdir('/trial/work')
os.mkfifo('fifo'); os.symlink('/etc', 'images'); os.symlink('../..', 'up')
for n in range(300):
    with open(f'hole{n}', 'wb') as f: f.truncate(1 << 20)
with open(b'name-\\xff\\xfe.txt', 'wb') as f: f.write(b'x')
with open(b'line\\nend.txt', 'wb') as f: f.write(b'x')
open('one', 'w').write('x')
for n in range(3000): os.link('one', f'link{n}')
os.mkdir('locked'); open('locked/x', 'w').close(); os.symlink('locked/x', 'into')
os.chmod('locked', 0); os.symlink('n' * 300, 'long'); os.symlink('loop', 'loop')
os.utime('one', (2**55, 2**55)); os.mkdir('old'); os.utime('old', (-2**40, -2**40))
here = os.getcwd()
for _ in range(1200):
    os.mkdir('d'); os.chdir('d')
os.chdir(here)
os.makedirs('/'.join(['e' * 250] * 12)); open('/'.join(['e' * 250] * 12) + '/x', 'w').close()
os.mkdir('many')
for n in range(4000): open(f'many/{n}', 'w').close()
""",
}
"""Each ends, or is ended, in a sandbox of its own."""


def box(**more: Any) -> SandboxSpec:  # noqa: ANN401  what a sandbox takes
    small: dict[str, Any] = {
        "disk_bytes": 32 * MIB,
        "file_bytes": MIB,
        "files": 5000,
        "processes": 64,
        "memory_bytes": 300 * MIB,
        "ports": (8099, 443),
    }
    return SandboxSpec(**(small | more))


def play(bwrap: Path, folder: Path, script: str, work: dict[str, str]) -> Any:  # noqa: ANN401  JSON
    """Run a Python script in a sandbox; what it printed, its report and its files."""
    seed, files = folder / "seed", folder / "files.tar"
    seed.mkdir(parents=True)
    for name, text in {**work, "attack.py": script}.items():
        (seed / name).write_text(text)
    pack(files, home={}, work=seed)
    complaints = folder / "stderr"
    complaints.touch()
    sandbox = box(bwrap=bwrap)
    env = {"PATH": inside_path(), "HOME": str(HOME)}
    argv = ["/bin/sh", "-c", "exec python3 -I /trial/work/attack.py"]
    lines: list[str] = []
    with open_sandbox(
        sandbox, sandbox.job(argv, env=env), complaints=complaints
    ) as session:
        session.begin(files)
        until = time.monotonic() + 40
        while not session.over():
            lines += session.hear(wait_s=0.05)
            if time.monotonic() > until:
                session.stop()
                break
        report = session.finish(files)
        lines += session.last_words()
    env = {"PATH": inside_path(), "HOME": str(HOME)}
    again = sandbox.job(
        ["/bin/true"], env=env
    )  # the next turn begins with what is left
    with open_sandbox(sandbox, again, complaints=complaints) as session:
        session.begin(files)
        next_report = session.finish(folder / "next.tar")
    unpack_work(files, folder / "work")
    return {
        "lines": [line[:500] for line in lines],
        "bytes": sum(len(line) for line in lines),
        "report": report,
        "next": next_report["exit_code"],
        "stderr": complaints.read_text(errors="replace")[-2000:],
        "files": sorted(os.listdir(folder / "work")),  # noqa: PTH208
        "longest": max(len(str(path)) for path in (folder / "work").rglob("*")),
        "depth": max(len(path.parts) for path in (folder / "work").rglob("*")),
    }


@contextmanager
def planted(folder: Path) -> Iterator[dict[str, object]]:
    """What the host has that nobody inside may reach."""
    secret = folder / "secret"
    secret.write_text("mine")
    secret.chmod(0o666)
    own = str(folder / "own.sock")
    os.environ[MARKER] = MARKER
    leaked = os.open(secret, os.O_RDONLY)
    os.set_inheritable(leaked, True)  # noqa: FBT003
    with (
        loopback_listener() as listener,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX) as named,
        subprocess.Popen(["sleep", "600"], env={MARKER: MARKER}) as process,
        ExitStack() as held,
    ):
        abstract.bind(f"\0{folder}")
        named.bind(own)
        for each in (abstract, named):
            each.listen()
        held.callback(process.kill)
        yield {
            "secret": str(secret),
            "socket": own,
            "abstract": str(folder),
            "port": listener.getsockname()[1],
            "pid": process.pid,
            "marker": MARKER,
        }
    os.close(leaked)


def main() -> None:
    bwrap, folder = (Path(word) for word in sys.argv[1:])
    with planted(folder) as facts:
        attacks = [(attack.name, attack.code) for attack in ATTACKS]
        session = play(
            bwrap,
            folder / "session",
            SESSION,
            {"facts.json": json.dumps(facts), "attacks.json": json.dumps(attacks)},
        )
        found = {
            name: play(bwrap, folder / str(number), script, {})
            for number, (name, script) in enumerate(SCRIPTS.items())
        }
        session["planted"] = Path(str(facts["secret"])).read_text()
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, check=True)
    left = [line for line in listed.stdout.splitlines() if b"attack.py" in line]
    print(  # noqa: T201
        json.dumps(
            {
                "user": os.geteuid(),
                "session": session,
                "scripts": found,
                "left": [line.decode(errors="replace") for line in left],
            }
        )
    )


if __name__ == "__main__":
    main()
