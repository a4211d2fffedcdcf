"""bubblewrap: the system's, else the distribution's package unpacked without root."""

import shutil
import tempfile
from pathlib import Path

from llamatrix import shell
from llamatrix.errors import ProvisionError
from llamatrix.progress import say
from llamatrix.provision.staging import made_once

_TIMEOUT_S = 300
_INSTALL = "install the package `bubblewrap`, or enter `nix develop`"


def find_bwrap(cache: Path) -> Path:
    """Where bwrap is; ProvisionError with the remedy where it cannot be had."""
    found = shutil.which("bwrap")
    if found:
        return Path(found)
    entry = made_once(
        cache / "programs" / "bubblewrap", _unpack, purpose="unpacking bubblewrap"
    )
    return entry / "usr" / "bin" / "bwrap"


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
