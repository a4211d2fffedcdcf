"""A trial's sandbox: bubblewrap's command line, and a program run inside it.

SandboxSession: pid, network and mount namespaces of its own, fixed paths, one user who is not
root and has no capability, a writable part of bounded size in memory, and nothing of
this machine that can be written. The host's home folders, temporary files and sockets
are not there. `supervisor.py` is process 1.
"""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from llamatrix import shell
from llamatrix.config.matrix import Network
from llamatrix.redaction import without_folders
from llamatrix.sandbox import supervisor, supervisor_files, supervisor_processes
from llamatrix.sandbox.sandbox_user import User, our_user, user_of_its_own
from llamatrix.sandbox.supervisor import Job

ROOT = Path("/trial")
HOME = ROOT / "home"
WORK = ROOT / "work"
TOOLS = Path("/opt/llamatrix/bin")
_PYTHON = Path("/opt/llamatrix/python")
"""Where a Python that is not the system's own is shown."""
_PACKAGES = Path("/opt/llamatrix/packages")
_MODULES = _PACKAGES / "llamatrix" / "sandbox"
"""Where the supervisor's own modules are shown, and none beside them."""
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
    discarded: tuple[str, ...] = ()
    """Paths that do not come out; they begin with `home/` or `work/`."""
    processes: int = 256
    memory_bytes: int = 4 << 30
    """Of all processes and files together."""

    def job(
        self, argv: Sequence[str], *, env: Mapping[str, str], stdin: str = ""
    ) -> Job:
        """What the supervisor is to run in the workspace, within this sandbox's limits."""
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
        """Choose whom its programs run as; another one each time."""
        shown = (*self.tools.values(), *self.shown.values(), _interpreter())
        return user_of_its_own(shown)

    @property
    def own_ports(self) -> tuple[int, ...]:
        return self.ports if self.network is Network.HERMETIC else ()


@dataclass(frozen=True, kw_only=True, slots=True)
class NoSandbox:
    """Why no sandbox can be had on this machine, and what would help."""

    reason: str
    remedy: str


def base_environment() -> dict[str, str]:
    """Return what every program in a trial's sandbox sees."""
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
    """The PATH of the sandbox: our tools, then the system's own folders."""
    own = [str(TOOLS), "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]
    nix = [
        folder
        for folder in os.environ.get("PATH", "").split(":")
        if folder.startswith("/nix/store/")
    ]
    return ":".join([*own, *nix])


def bwrap_argv(
    bwrap: Path,
    sandbox: Sandbox,
    user: User,
    *,
    files: Mapping[str, int],
    seccomp: int | None,
    command: Sequence[str],
) -> tuple[str, ...]:
    """The whole command line.

    `files` are the small files of its `/etc`, by name, as open file descriptors;
    `seccomp` is the descriptor of `syscall_filter`.
    """
    words = [
        *(str(bwrap), *user.words, "--unshare-ipc", "--unshare-pid"),
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
    """The command line of a sandbox in which nothing can be written or reached."""
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
    """The folders that these lie in: bubblewrap itself makes them for its user alone."""
    own = (Path("/etc/x"), *(Path(name) for name in _SYSTEM if Path(name).is_dir()))
    folders = {folder for place in (*own, *places) for folder in place.parents}
    words = [("--dir", str(folder)) for folder in sorted(folders)[1:]]
    return [word for pair in words for word in pair]


def supervisor_command(sandbox: Sandbox, user: User) -> tuple[str, ...]:
    """The supervisor's own command line inside."""
    words = (str(python_inside()), "-I", "-S", "-c", _SUPERVISOR, str(ROOT))
    ports = (str(port) for port in sandbox.own_ports)
    return (*words, str(user.user_id), *ports)


@cache
def probe(bwrap: Path) -> NoSandbox | None:
    """Try the smallest sandbox of the kind that trials need, once per process."""
    flags = ["--unshare-pid", "--unshare-net", "--ro-bind", "/", "/"]
    try:
        ended = shell.run(
            [
                str(bwrap),
                *our_user().words,
                *flags,
                "--proc",
                "/proc",
                "--",
                sys.executable,
                "-V",
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
    for name in _PRIVATE:
        if Path(name).is_dir():
            words += ["--perms", "0000", "--tmpfs", name]
    if not _is_shown(_interpreter()):
        words += ["--ro-bind", str(_interpreter().parents[1]), str(_PYTHON)]
    return words


def _device_words(*, terminals: bool) -> list[str]:
    """`/dev`, with or without pseudo-terminals.

    For those bubblewrap makes a second user namespace, in which a right to a port below
    1024 says nothing.
    """
    if terminals:
        return ["--dev", "/dev"]
    words = ["--perms", "0755", "--tmpfs", "/dev"]
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        words += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    for name, descriptor in (("stdin", "0"), ("stdout", "1"), ("stderr", "2")):
        words += ["--symlink", f"/proc/self/fd/{descriptor}", f"/dev/{name}"]
    return [*words, "--symlink", "/proc/self/fd", "/dev/fd"]


def _own_words(sandbox: Sandbox) -> list[str]:
    words: list[str] = []
    for place in (HOME, WORK, Path("/tmp"), Path("/dev/shm")):  # noqa: S108
        own = place.is_relative_to(ROOT)
        size_bytes = sandbox.disk_bytes // (1 if own else 8)
        words += ["--perms", "0755" if own else "1777"]
        words += ["--size", str(size_bytes), "--tmpfs", str(place)]
    for module in (supervisor, supervisor_files, supervisor_processes):
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
    """Our Python without its virtual environment: what lies in it is not shown."""
    return (
        Path(sys.base_prefix) / "bin" / Path(sys.executable).resolve().name
    ).resolve()
