"""Programs that came as Python packages are still what their installer recorded."""

import base64
from importlib.metadata import PackageNotFoundError, PackagePath, distribution
from pathlib import Path

from llamatrix.errors import ProvisionError
from llamatrix.provision.integrity import known_sha256


def require_as_installed(program: Path, package: str, cache: Path) -> Path:
    """Return `program`; ProvisionError where its sha256 is not the one in `RECORD`.

    requirements.txt pins the wheel by hash, and the installer writes the digest of each
    of its files. A program that is not the package's own is returned as it is: the
    user's, or a Nix shell's.
    """
    entry = _entry_of(program, package)
    if entry is None or entry.hash is None or entry.hash.mode != "sha256":
        return program
    recorded = base64.urlsafe_b64decode(f"{entry.hash.value}=").hex()
    found = known_sha256(program, cache)
    if found != recorded:
        raise ProvisionError(
            f"{program}: sha256 is {found}, but {recorded} was recorded when {package} "
            "was installed; install it again: pip install --force-reinstall "
            "--no-deps -r requirements.txt"
        )
    return program


def _entry_of(program: Path, package: str) -> PackagePath | None:
    """The line of the package's RECORD that is about a program."""
    try:
        files = distribution(package).files or ()
    except PackageNotFoundError:
        return None
    same_name = (each for each in files if each.name == program.name)
    where = program.resolve()
    return next(
        (e for e in same_name if Path(str(e.locate())).resolve() == where), None
    )
