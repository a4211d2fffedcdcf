"""Source packages by name, version and sha256, through the pip client."""

import hashlib
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from llamatrix import shell
from llamatrix.errors import ProvisionError
from llamatrix.progress import say

_TIMEOUT_S = 1800
_ASK_TIMEOUT_S = 120
_CHUNK_BYTES = 1 << 20


class UnreachableError(ProvisionError):
    """The package index could not be asked; says nothing about the package."""


def fetch_sdist(
    package: str, version: str, *, sha256: str | None, folder: Path
) -> Path:
    """The sdist's file in `folder`, downloaded where it is missing, verified always.

    With `sha256` None (while a lock is being written) whatever the index has is
    taken. A file that does not match is left where it is, and named.
    """
    kept = sdist_file(package, version, folder)
    if not kept.exists():
        say(f"downloading {package} {version} (source package)")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".pip-") as aside:
            found = _download(package, version, sha256, Path(aside))
            found.rename(kept)
    if sha256 and (actual := file_sha256(kept)) != sha256:
        raise ProvisionError(
            f"{kept}: sha256 is {actual}, but matrix.lock has {sha256}; the file was "
            "not used. Delete it to download it again, or run `invoke lock` if the "
            "lock is meant to change"
        )
    return kept


def sdist_file(package: str, version: str, folder: Path) -> Path:
    return folder / f"{package.replace('-', '_')}-{version}.tar.gz"


def versions_of(package: str) -> tuple[str, ...]:
    """The versions that the package index has, newest first."""
    pip = [sys.executable, "-m", "pip", "index", "versions", package, "--pre"]
    ended = shell.run([*pip, "--no-binary", package], timeout_s=_ASK_TIMEOUT_S)
    found = re.search(r"^Available versions: (.+)$", ended.out, re.MULTILINE)
    if not ended.ok or not found:
        raise UnreachableError(
            f"{package}: the package index has no such package, or cannot be reached; "
            f"check the name in matrix.toml, then the network (`pip index versions "
            f"{package}` should work)\n{ended.complaint()}"
        )
    return tuple(version.strip() for version in found[1].split(","))


def file_sha256(path: Path, *, on_bytes: Callable[[int], None] = lambda _: None) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            on_bytes(len(chunk))
    return digest.hexdigest()


def _download(package: str, version: str, sha256: str | None, aside: Path) -> Path:
    """Run `pip download`; with a hash, pip verifies before it unpacks anything."""
    wanted = f"{package}=={version}"
    requirements = aside / "requirements.txt"
    hashed = f"{wanted} --hash=sha256:{sha256}" if sha256 else wanted
    requirements.write_text(hashed + "\n")
    flags = ["--no-deps", "--no-binary", package, "--disable-pip-version-check"]
    target = ["--dest", str(aside / "got"), "--requirement", str(requirements)]
    pip = [sys.executable, "-m", "pip", "download", *flags, *target]
    ended = shell.run(pip, timeout_s=_TIMEOUT_S)
    if not ended.ok:
        raise _failure(wanted, ended)
    files = list((aside / "got").iterdir())
    if len(files) != 1:
        names = ", ".join(sorted(file.name for file in files))
        raise ProvisionError(
            f"{wanted}: pip brought {names or 'nothing'}, not one file"
        )
    return files[0]


def _failure(wanted: str, ended: shell.Ended) -> ProvisionError:
    text = ended.out + "\n".join(ended.tail)
    if "DO NOT MATCH THE HASHES" in text:
        return ProvisionError(
            f"{wanted}: the download does not have the sha256 of matrix.lock and was "
            f"thrown away\n{ended.complaint()}"
        )
    if "No matching distribution" in text and "from versions: none" not in text:
        return ProvisionError(f"{wanted}: no such version\n{ended.complaint()}")
    return UnreachableError(
        f"{wanted}: pip could not download it; check the network (`pip download "
        f"--no-deps {wanted}` should work), then run the command again\n"
        f"{ended.complaint()}"
    )


def ensure_free(
    folder: Path, *, need_bytes: int, purpose: str, setting: str = "LLAMATRIX_CACHE"
) -> None:
    """ProvisionError where the file system of `folder` cannot take `need_bytes`."""
    folder.mkdir(parents=True, exist_ok=True)
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < need_bytes:
        from llamatrix.units import bytes_text

        raise ProvisionError(
            f"{folder}: {purpose} needs {bytes_text(need_bytes)}, but only "
            f"{bytes_text(free_bytes)} are free; free some, or set {setting} to "
            "a folder on a larger disk"
        )
