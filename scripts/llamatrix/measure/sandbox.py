"""A trial's sandbox: bubblewrap's command line, and a program run inside it.

Inside: pid, network and mount namespaces of its own, fixed paths, one user, a
writable part of bounded size in memory, and nothing of this machine that can be
written. The host's home folders, temporary files and sockets are not there.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from llamatrix import shell
from llamatrix.measure import warden
from llamatrix.measure.redaction import without_folders
from llamatrix.plan.matrix import Network

ROOT = Path("/trial")
HOME = ROOT / "home"
WORK = ROOT / "work"
TOOLS = Path("/opt/llamatrix/bin")
_PYTHON = Path("/opt/llamatrix/python")
"""Where a Python that is not the system's own is shown."""
_DOORS = Path("/opt/llamatrix/door")
DOOR = "door.sock"
_WARDEN = Path("/opt/llamatrix/warden.py")
_USER_ID = 1000
_PRIVILEGED_BELOW = 1024
_PROBE_TIMEOUT_S = 20
_SYSTEM = ("/usr", "/nix/store", "/gnu/store")
_MERGED = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC = (
    *("alternatives", "ca-certificates", "crypto-policies", "ld.so.cache"),
    *("ld.so.conf", "ld.so.conf.d", "localtime", "mime.types", "nsswitch.conf", "pki"),
    *("protocols", "services", "ssl", "static", "resolv.conf"),
)
_PASSWD = f"agent:x:{_USER_ID}:{_USER_ID}:agent:{HOME}:/bin/sh\nroot:x:0:0:root:{HOME}:/bin/sh\n"
_GROUP = f"agent:x:{_USER_ID}:\nroot:x:0:\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sandbox:
    """What one trial may see and use."""

    network: Network = Network.HERMETIC
    ports: tuple[int, ...] = ()
    """Ports of the sandbox's loopback that the harness serves (hermetic only)."""
    tools: Mapping[str, Path]
    """Programs for the agent's PATH, by the name they have there."""
    shown: Mapping[Path, Path]
    """More to read: where it is inside, and where on this machine."""
    disk_bytes: int = 1 << 30
    """For the home, and as much for the workspace; they live in memory."""
    file_bytes: int = 256 << 20
    """Larger files are not handed out."""
    files: int = 50_000
    processes: int = 256

    @property
    def own_ports(self) -> tuple[int, ...]:
        return self.ports if self.network is Network.HERMETIC else ()


@dataclass(frozen=True, kw_only=True, slots=True)
class NoSandbox:
    """Why no sandbox can be had on this machine, and what would help."""

    reason: str
    remedy: str


def inside_path() -> str:
    """The PATH of the sandbox: our tools, then the system's own folders."""
    own = [str(TOOLS), "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]
    nix = [
        folder
        for folder in os.environ.get("PATH", "").split(":")
        if folder.startswith("/nix/store/")
    ]
    return ":".join([*own, *nix])


def bwrap_argv(
    bwrap: Path, sandbox: Sandbox, *, door: Path, command: Sequence[str]
) -> tuple[str, ...]:
    """The whole command line; `door` is the private folder with our socket."""
    privileged = any(port < _PRIVILEGED_BELOW for port in sandbox.own_ports)
    user_id = 0 if privileged else _USER_ID
    words = [
        *(str(bwrap), "--unshare-user", "--unshare-ipc", "--unshare-pid"),
        *("--unshare-uts", "--unshare-cgroup-try", "--die-with-parent"),
        *("--new-session", "--clearenv", "--hostname", "trial"),
        *("--uid", str(user_id), "--gid", str(user_id)),
    ]
    if sandbox.network is Network.HERMETIC:
        words.append("--unshare-net")
    if user_id == 0:
        words += ["--cap-add", "CAP_NET_BIND_SERVICE"]
    words += [*_system_words(), *_own_words(sandbox, door)]
    words += ["--remount-ro", "/dev", "--remount-ro", "/"]
    return (*words, "--chdir", "/", "--", *command)


def read_only_argv(
    bwrap: Path, *, shown: Mapping[Path, Path], command: Sequence[str]
) -> tuple[str, ...]:
    """The command line of a sandbox in which nothing can be written or reached."""
    words = [
        *(str(bwrap), "--unshare-user", "--unshare-ipc", "--unshare-pid"),
        *("--unshare-uts", "--unshare-net", "--unshare-cgroup-try"),
        *("--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"),
        *("--uid", str(_USER_ID), "--gid", str(_USER_ID)),
        *(*_system_words(), "--dev", "/dev"),
    ]
    for inside, outside in shown.items():
        words += ["--ro-bind", str(outside.resolve()), str(inside)]
    words += ["--remount-ro", "/dev", "--remount-ro", "/"]
    return (*words, "--chdir", "/", "--", *command)


def write_door(door: Path, *, hosts: Mapping[str, str]) -> None:
    """Put the small files of the sandbox's `/etc` beside the socket."""
    (door / "passwd").write_text(_PASSWD)
    (door / "group").write_text(_GROUP)
    lines = {"localhost": "127.0.0.1", "trial": "127.0.0.1", **hosts}
    text = "".join(f"{address} {name}\n" for name, address in lines.items())
    (door / "hosts").write_text(text)


def warden_command(sandbox: Sandbox) -> tuple[str, ...]:
    """The warden's own command line inside."""
    python = str(python_inside())
    words = (python, "-I", "-S", str(_WARDEN), str(_DOORS / DOOR), str(ROOT))
    return (*words, *(str(port) for port in sandbox.own_ports))


@cache
def probe(bwrap: Path) -> NoSandbox | None:
    """Try the smallest sandbox of the kind that trials need, once per process."""
    flags = ["--unshare-user", "--unshare-pid", "--unshare-net", "--ro-bind", "/", "/"]
    try:
        ended = shell.run(
            [str(bwrap), *flags, "--proc", "/proc", "--", sys.executable, "-V"],
            timeout_s=_PROBE_TIMEOUT_S,
        )
    except shell.ProgramMissingError as error:
        return NoSandbox(
            reason=without_folders(str(error)),
            remedy="install the package `bubblewrap`",
        )
    if ended.ok:
        return None
    return NoSandbox(
        reason=without_folders(" ".join(ended.tail[-1:]))
        or f"bwrap: exit code {ended.returncode}",
        remedy="allow user namespaces: `sysctl user.max_user_namespaces=15000`, on "
        "Debian also kernel.unprivileged_userns_clone=1, on Ubuntu "
        "kernel.apparmor_restrict_unprivileged_userns=0; in a container allow "
        "`unshare` (docker: --security-opt seccomp=unconfined)",
    )


def _system_words() -> list[str]:
    """The system's programs and libraries, read-only, and a small `/etc`."""
    words = []
    for name in _SYSTEM:
        if Path(name).is_dir():
            words += ["--ro-bind", name, name]
    for name in _MERGED:
        if Path(name).is_symlink():
            words += ["--symlink", str(Path(name).readlink()), name]
        elif Path(name).is_dir():
            words += ["--ro-bind", name, name]
    for name in _ETC:
        words += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    if not _is_shown(_interpreter()):
        words += ["--ro-bind", str(_interpreter().parents[1]), str(_PYTHON)]
    return words


def _own_words(sandbox: Sandbox, door: Path) -> list[str]:
    words = ["--proc", "/proc", "--dev", "/dev"]
    for place in (HOME, WORK, Path("/tmp"), Path("/dev/shm")):  # noqa: S108
        size_bytes = sandbox.disk_bytes // (1 if place.is_relative_to(ROOT) else 8)
        words += ["--size", str(size_bytes), "--tmpfs", str(place)]
    words += ["--ro-bind", str(door), str(_DOORS)]
    for name in ("passwd", "group", "hosts"):
        words += ["--ro-bind", str(door / name), f"/etc/{name}"]
    words += ["--ro-bind", str(Path(warden.__file__)), str(_WARDEN)]
    for name, program in sandbox.tools.items():
        words += ["--ro-bind", str(program.resolve()), str(TOOLS / name)]
    for name in ("python", "python3"):  # the one the package index is made for
        words += ["--symlink", str(python_inside()), str(TOOLS / name)]
    for inside, outside in sandbox.shown.items():
        words += ["--ro-bind", str(outside.resolve()), str(inside)]
    return words


def python_inside() -> Path:
    python = _interpreter()
    return python if _is_shown(python) else _PYTHON / "bin" / python.name


def _is_shown(path: Path) -> bool:
    return any(path.is_relative_to(name) for name in _SYSTEM)


def _interpreter() -> Path:
    """Our Python without its virtual environment: what lies in it is not shown."""
    return (
        Path(sys.base_prefix) / "bin" / Path(sys.executable).resolve().name
    ).resolve()
