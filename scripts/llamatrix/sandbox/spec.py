"""A sandbox as bubblewrap's command line.

It has pid, network and mount namespaces of its own, fixed paths, one user who is not
root and has no capability, and a writable part of bounded size in memory. It cannot
write to this machine, and does not see its home folders, temporary files and sockets.
`supervisor.py` is process 1.
"""

import os
import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from llamatrix import shell
from llamatrix.config.matrix import Network
from llamatrix.errors import MeasureError
from llamatrix.redaction import without_folders
from llamatrix.sandbox import supervisor, supervisor_files
from llamatrix.sandbox.supervisor import Job

ROOT = Path("/trial")
HOME = ROOT / "home"
WORK = ROOT / "work"
TOOLS = Path("/opt/llamatrix/bin")
_PYTHON = Path("/opt/llamatrix/python")
"""Where a Python that is not the system's own is mounted."""
_PACKAGES = Path("/opt/llamatrix/packages")
_MODULES = _PACKAGES / "llamatrix" / "sandbox"
"""Where the supervisor's modules are mounted, and no others."""
_SUPERVISOR = (
    f"import sys; sys.path.insert(0, {str(_PACKAGES)!r})\n"
    "from llamatrix.sandbox import supervisor\n"
    "supervisor.main()"
)
_PRIVILEGED_BELOW = 1024
_PROBE_TIMEOUT_S = 20
_SYSTEM = ("/usr", "/nix/store", "/gnu/store")
_MERGED = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC = (
    *("alternatives", "ca-certificates", "crypto-policies", "ld.so.cache"),
    *("ld.so.conf", "ld.so.conf.d", "localtime", "mime.types", "nsswitch.conf", "pki"),
    *("protocols", "services", "ssl", "static", "resolv.conf"),
)
_PRIVATE = ("/etc/ssl/private", "/etc/pki/tls/private", "/etc/pki/CA/private")

USER_ID = 1000
_SUPERVISOR_CAPABILITIES = {"CHOWN": 0, "KILL": 5, "SETGID": 6, "SETUID": 7}
"""Capabilities by number."""
_CAP_SYS_ADMIN = 21
"""What bubblewrap needs."""
_KERNEL_SETTINGS = (
    *("acpi", "bus", "driver", "dynamic_debug", "fs", "irq", "mtrr", "pressure"),
    *("scsi", "sys", "sysrq-trigger"),
)
_FREE_USERS = (1_879_048_192, 1_895_825_408)
_FEWER_FREE_USERS = (60_578, 60_705)
"""Where a container has only 65 536 users: systemd's list reserves these."""


@dataclass(frozen=True, kw_only=True, slots=True)
class User:
    user_id: int
    own_namespace: bool
    """Whether it is the harness's own user, renumbered in a user namespace.

    Root can instead choose a user of this machine that owns nothing: kernel limits that
    do not apply to root apply to that one.
    """

    @property
    def words(self) -> list[str]:
        if not self.own_namespace:
            return []
        number = str(self.user_id)
        return ["--unshare-user", "--uid", number, "--gid", number]

    @property
    def cover_words(self) -> list[str]:
        """Bubblewrap's options to protect kernel settings from a user who is root.

        Without a user namespace bubblewrap protects them itself.
        """
        if not self.own_namespace or os.geteuid():
            return []
        places = [
            place
            for name in _KERNEL_SETTINGS
            if (place := Path("/proc", name)).exists()
        ]
        return [word for place in places for word in ("--ro-bind", *(str(place),) * 2)]

    @property
    def supervisor_capabilities(self) -> list[str]:
        """The capabilities with which a root supervisor changes the program's user."""
        return (
            []
            if self.own_namespace
            else [f"CAP_{name}" for name in _SUPERVISOR_CAPABILITIES]
        )


def our_user() -> User:
    """Return the user for a sandbox that runs only the harness's programs."""
    return User(user_id=USER_ID, own_namespace=not _is_able())


def user_of_its_own(shown: Iterable[Path]) -> User:
    """Return the user for a sandbox that sees these files of this machine.

    For root it is one that no other sandbox has. MeasureError where that user cannot
    read the files: root itself could, but might change this machine's settings.
    """
    if not _is_able():
        return User(user_id=USER_ID, own_namespace=True)
    for path in shown:
        if not _is_open_to_all(path):
            raise MeasureError(
                f"{path}: not readable by all users, and where the harness is root an "
                f"agent runs as another user; `chmod -R o+rX {path}` makes it readable"
            )
    first, last = _FREE_USERS if _is_mapped(_FREE_USERS[1]) else _FEWER_FREE_USERS
    return User(user_id=random.randint(first, last), own_namespace=False)  # noqa: S311  to be distinct


@cache
def _is_able() -> bool:
    """Return whether the harness is root and may give a sandbox another user."""
    status = Path("/proc/self/status").read_text()
    _, _, effective = status.partition("\nCapEff:")
    rights = int(effective.split(None, 1)[0], 16)
    needed = all(
        rights >> number & 1
        for number in (*_SUPERVISOR_CAPABILITIES.values(), _CAP_SYS_ADMIN)
    )
    return os.geteuid() == 0 and needed and _is_mapped(_FEWER_FREE_USERS[1])


def _is_mapped(user_id: int) -> bool:
    """Return whether a user of this number can exist here: containers map only some."""
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        first, _, count = (int(word) for word in line.split())
        if first <= user_id < first + count:
            return True
    return False


def _is_open_to_all(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:  # bubblewrap says what is missing
        return True
    wanted = 0o005 if path.is_dir() or mode & 0o100 else 0o004
    return mode & wanted == wanted


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxSpec:
    bwrap: Path = Path("bwrap")
    network: Network = Network.HERMETIC
    tools: Mapping[str, Path] = field(default_factory=dict)
    """Programs for the PATH, by the name they have there."""
    shown: Mapping[Path, Path] = field(default_factory=dict)
    """Further files and folders to read: path inside → path on this machine."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The variables of what runs inside; they may hold keys."""
    hosts: Mapping[str, str] = field(default_factory=dict)
    """Addresses by name, for `/etc/hosts`."""
    forwards: Mapping[int, int] = field(default_factory=dict)
    """Port of the sandbox's loopback → port of this machine's (hermetic only)."""
    ports: tuple[int, ...] = ()
    """Further ports of its loopback, served on the session's listeners (likewise)."""
    discarded: tuple[str, ...] = ()
    """Paths that do not come out; they begin with `home/` or `work/`."""
    disk_bytes: int = 1 << 30
    """For the home and for the workspace each; they are in memory."""
    file_bytes: int = 256 << 20
    """Larger files do not come out."""
    files: int = 50_000
    processes: int = 256
    memory_bytes: int = 4 << 30
    """Of all processes and files together."""

    def job(
        self, argv: Sequence[str], *, env: Mapping[str, str], stdin: str = ""
    ) -> Job:
        """Return the job that runs a command in the workspace, within the limits."""
        return Job(
            argv=list(argv),
            cwd=str(WORK),
            env=dict(env),
            stdin=stdin,
            max_processes=self.processes,
            max_memory_bytes=self.memory_bytes,
            max_file_bytes=self.file_bytes,
            max_files=self.files,
            max_total_bytes=2 * self.disk_bytes,
            discarded=list(self.discarded),
        )

    def user(self) -> User:
        """Choose the user that its programs run as: another one each time."""
        shown = (*self.tools.values(), *self.shown.values(), _interpreter())
        return user_of_its_own(shown)

    @property
    def own_ports(self) -> tuple[int, ...]:
        if self.network is Network.ONLINE:
            return ()
        return (*self.ports, *self.forwards)


@dataclass(frozen=True, kw_only=True, slots=True)
class NoSandbox:
    reason: str
    remedy: str


def base_environment() -> dict[str, str]:
    return {
        "HOME": str(HOME),
        "PATH": inside_path(),
        "TMPDIR": str(HOME / "tmp"),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "USER": "agent",
        "UV_PYTHON_DOWNLOADS": "never",
    }


def inside_path() -> str:
    """Return the PATH of the sandbox: its tools, then the system's folders."""
    own = [str(TOOLS), "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]
    nix = [
        folder
        for folder in os.environ.get("PATH", "").split(":")
        if folder.startswith("/nix/store/")
    ]
    return ":".join([*own, *nix])


def bwrap_argv(
    sandbox: SandboxSpec,
    user: User,
    *,
    files: Mapping[str, int],
    seccomp: int | None,
    command: Sequence[str],
) -> tuple[str, ...]:
    """Return the whole command line.

    `files` are open file descriptors by name in its `/etc`; `seccomp` is the descriptor
    of `syscall_filter`.
    """
    words = [
        *(str(sandbox.bwrap), *user.words, "--unshare-ipc", "--unshare-pid"),
        *("--as-pid-1", "--unshare-uts", "--unshare-cgroup-try", "--die-with-parent"),
        *("--new-session", "--clearenv", "--hostname", "trial", "--cap-drop", "ALL"),
    ]
    if sandbox.network is Network.HERMETIC:
        words.append("--unshare-net")
    rights = user.supervisor_capabilities
    if any(port < _PRIVILEGED_BELOW for port in sandbox.own_ports):
        rights.append("CAP_NET_BIND_SERVICE")
    words += [word for right in rights for word in ("--cap-add", right)]
    if seccomp is not None:
        words += ["--seccomp", str(seccomp)]
    places = (TOOLS / "x", _MODULES / "x", *sandbox.shown)
    terminals = "CAP_NET_BIND_SERVICE" not in rights or not user.own_namespace
    words += [*_folder_words(places), *_system_words()]
    words += [*_device_words(terminals=terminals), "--proc", "/proc"]
    words += [*user.cover_words, *_own_words(sandbox)]
    for name, descriptor in files.items():
        words += ["--perms", "0644", "--ro-bind-data", str(descriptor), f"/etc/{name}"]
    words += ["--remount-ro", "/dev", "--remount-ro", "/"]
    return (*words, "--chdir", "/", "--", *command)


def read_only_argv(
    bwrap: Path,
    *,
    shown: Mapping[Path, Path],
    seccomp: int | None,
    command: Sequence[str],
) -> tuple[str, ...]:
    """Return the command line of a sandbox without network and writable files."""
    words = [
        *(str(bwrap), *our_user().words, "--unshare-ipc", "--unshare-pid"),
        *("--unshare-uts", "--unshare-net", "--unshare-cgroup-try"),
        *("--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"),
        *(*_folder_words(shown), *_system_words(), *_device_words(terminals=False)),
    ]
    if seccomp is not None:
        words += ["--seccomp", str(seccomp)]
    for inside, outside in shown.items():
        words += ["--ro-bind", str(outside.resolve()), str(inside)]
    words += ["--remount-ro", "/dev", "--remount-ro", "/"]
    return (*words, "--chdir", "/", "--", *command)


def _folder_words(places: Iterable[Path]) -> list[str]:
    """Return options that create the parent folders, readable to all users.

    bubblewrap would create them for its own user only.
    """
    own = (Path("/etc/x"), *(Path(name) for name in _SYSTEM if Path(name).is_dir()))
    folders = {folder for place in (*own, *places) for folder in place.parents}
    words = [("--dir", str(folder)) for folder in sorted(folders)[1:]]
    return [word for pair in words for word in pair]


def supervisor_command(sandbox: SandboxSpec, user: User) -> tuple[str, ...]:
    words = (str(python_inside()), "-I", "-S", "-c", _SUPERVISOR, str(ROOT))
    ports = (str(port) for port in sandbox.own_ports)
    return (*words, str(user.user_id), *ports)


@cache
def probe(bwrap: Path) -> NoSandbox | None:
    """Try the smallest sandbox that trials need, once per process."""
    flags = ["--unshare-pid", "--unshare-net", "--ro-bind", "/", "/"]
    try:
        ended = shell.run(
            [
                *(str(bwrap), *our_user().words, *flags, "--proc", "/proc"),
                *("--", sys.executable, "-V"),
            ],
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
    """Return options for the system's programs and libraries and a small `/etc`."""
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
    for name in _PRIVATE:
        if Path(name).is_dir():
            words += ["--perms", "0000", "--tmpfs", name]
    if not _is_shown(_interpreter()):
        words += ["--ro-bind", str(_interpreter().parents[1]), str(_PYTHON)]
    return words


def _device_words(*, terminals: bool) -> list[str]:
    """Return options for `/dev`, with or without pseudo-terminals.

    For terminals bubblewrap creates a second user namespace, in which the capability
    for ports below 1024 has no effect.
    """
    if terminals:
        return ["--dev", "/dev"]
    words = ["--perms", "0755", "--tmpfs", "/dev"]
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        words += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    for name, descriptor in (("stdin", "0"), ("stdout", "1"), ("stderr", "2")):
        words += ["--symlink", f"/proc/self/fd/{descriptor}", f"/dev/{name}"]
    return [*words, "--symlink", "/proc/self/fd", "/dev/fd"]


def _own_words(sandbox: SandboxSpec) -> list[str]:
    words: list[str] = []
    for place in (HOME, WORK, Path("/tmp"), Path("/dev/shm")):  # noqa: S108
        own = place.is_relative_to(ROOT)
        size_bytes = sandbox.disk_bytes // (1 if own else 8)
        words += ["--perms", "0755" if own else "1777"]
        words += ["--size", str(size_bytes), "--tmpfs", str(place)]
    for module in (supervisor, supervisor_files):
        file = Path(str(module.__file__))
        words += ["--ro-bind", str(file), str(_MODULES / file.name)]
    for name, program in sandbox.tools.items():
        words += ["--ro-bind", str(program.resolve()), str(TOOLS / name)]
    for name in ("python", "python3"):  # the one the package index is made for
        words += ["--symlink", str(python_inside()), str(TOOLS / name)]
    for place, outside in sandbox.shown.items():
        words += ["--ro-bind", str(outside.resolve()), str(place)]
    return words


def python_inside() -> Path:
    python = _interpreter()
    return python if _is_shown(python) else _PYTHON / "bin" / python.name


def _is_shown(path: Path) -> bool:
    return any(path.is_relative_to(name) for name in _SYSTEM)


def _interpreter() -> Path:
    """Return this Python without its virtual environment, which is not mounted."""
    return (
        Path(sys.base_prefix) / "bin" / Path(sys.executable).resolve().name
    ).resolve()
