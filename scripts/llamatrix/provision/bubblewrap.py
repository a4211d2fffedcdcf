"""bubblewrap: a Nix shell's or the system's, else the distribution's package unpacked without root."""

import shutil
import tempfile
from pathlib import Path

from llamatrix import shell
from llamatrix.errors import ProvisionError
from llamatrix.progress import say
from llamatrix.provision.integrity import made_once
from llamatrix.provision.nix import stored_program

_TIMEOUT_S = 300
_MEMBER = Path("usr") / "bin" / "bwrap"
_INSTALL = "install the package `bubblewrap`, or enter `nix develop`"


def find_bwrap(cache: Path) -> Path:
    """Where bwrap is; ProvisionError with the remedy where it cannot be had."""
    if installed := _installed():
        return installed
    made_once(_entry(cache), _unpack, purpose="unpacking bubblewrap")
    return _entry(cache) / _MEMBER


def bwrap_here(cache: Path) -> Path | None:
    """The one that is here already: nothing is fetched."""
    unpacked = _entry(cache) / _MEMBER
    return _installed() or (unpacked if unpacked.exists() else None)


def _installed() -> Path | None:
    if stored := stored_program("bwrap"):
        return stored
    found = shutil.which("bwrap")
    return Path(found) if found else None


def _entry(cache: Path) -> Path:
    return cache / "programs" / "bubblewrap"


def _unpack(staging: Path) -> None:
    """`apt-get download` verifies what it brings; dpkg-deb unpacks it anywhere."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise ProvisionError(f"bwrap: not found on the PATH; {_INSTALL}")
    say("downloading bubblewrap (apt)")
    with tempfile.TemporaryDirectory(prefix="llamatrix-apt-") as aside:
        for argv in (
            ["apt-get", "download", "-q", "bubblewrap"],
            ["sh", "-c", 'exec dpkg-deb -x ./bubblewrap_*.deb "$0"', str(staging)],
        ):
            ended = shell.run(argv, timeout_s=_TIMEOUT_S, cwd=Path(aside))
            if not ended.ok:
                raise ProvisionError(
                    f"bwrap: not found on the PATH, and the package could not be "
                    f"fetched; {_INSTALL}\n{ended.complaint()}"
                )
