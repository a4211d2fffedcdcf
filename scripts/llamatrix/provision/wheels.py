"""A locked set of wheels in the cache: what a sandbox without a network installs."""

import hashlib
import re
import sys
import sysconfig
from pathlib import Path

from llamatrix import shell
from llamatrix.errors import ProvisionError
from llamatrix.progress import say
from llamatrix.provision.integrity import made_once
from llamatrix.provision.sdist import UnreachableError, file_sha256

_TIMEOUT_S = 1800
_KEY_CHARACTERS = 12
_MARKER = re.compile(r" ;[^\\\n]*(?=\\?$)", re.MULTILINE)
_ENTRY = re.compile(r"^[A-Za-z0-9]", re.MULTILINE)
_SHA256 = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_FLAGS = (
    *("--no-deps", "--only-binary", ":all:", "--require-hashes", "--quiet"),
    *("--ignore-requires-python", "--disable-pip-version-check"),
)


def provide_wheels(requirements: Path, cache: Path) -> Path:
    """A folder with one wheel for each entry of a list with hashes, fetched once.

    They are those for the Python that runs us. Markers are left aside: uv resolves
    for all systems and asks about packages that are installed on none of ours.
    """
    text = _read(requirements)

    def make(staging: Path) -> None:
        say(f"downloading the wheels of {requirements.name}")
        _download(text, requirements.name, staging)

    folder = wheels_folder(requirements, cache)

    def prove() -> str | None:
        listed = set(_SHA256.findall(text))
        for wheel in folder.iterdir():
            sha256 = file_sha256(wheel)
            if sha256 not in listed:
                return f"{wheel}: sha256 {sha256} is not in {requirements.name}"
        return None

    purpose = f"downloading the wheels of {requirements.name}"
    return made_once(folder, make, purpose=purpose, prove=prove)


def wheels_folder(requirements: Path, cache: Path) -> Path:
    """Where they are once they were provided."""
    text = _read(requirements)
    tag = f"{sys.implementation.cache_tag}-{sysconfig.get_platform()}"
    key = hashlib.sha256(text.encode()).hexdigest()[:_KEY_CHARACTERS]
    return cache / "wheels" / f"{tag}-{key}"


def _read(requirements: Path) -> str:
    try:
        return requirements.read_text()
    except OSError as error:
        raise ProvisionError(
            f"{requirements}: cannot be read: {error.strerror}; "
            "`invoke lock --python` writes it"
        ) from error


def _download(text: str, name: str, staging: Path) -> None:
    """Let pip fetch all; it holds each file to the hashes before it keeps it."""
    wanted = staging / "wanted.txt"
    wanted.write_text(_MARKER.sub(" ", text))
    target = ["--dest", str(staging), "--requirement", str(wanted)]
    ended = shell.run(
        [sys.executable, "-m", "pip", "download", *_FLAGS, *target],
        timeout_s=_TIMEOUT_S,
    )
    if not ended.ok:
        raise _failure(name, ended)
    wanted.unlink()
    brought, entries = len(list(staging.glob("*.whl"))), len(_ENTRY.findall(text))
    if brought != entries:
        raise ProvisionError(f"{name}: {entries} entries, but pip brought {brought}")


def _failure(name: str, ended: shell.Ended) -> ProvisionError:
    text = ended.out + "\n".join(ended.tail)
    if "DO NOT MATCH THE HASHES" in text:
        return ProvisionError(
            f"{name}: a download does not have the sha256 of the list and was thrown "
            f"away\n{ended.complaint()}"
        )
    if "--require-hashes" in text:
        return ProvisionError(
            f"{name}: is not exact to the byte; `invoke lock --python` writes it anew\n"
            f"{ended.complaint()}"
        )
    return UnreachableError(
        f"{name}: pip could not download all of it; check the network (`pip download "
        "--no-deps httpx` should work), and whether the package named below has a "
        f"wheel for Python {sys.version_info.major}.{sys.version_info.minor} on "
        f"{sysconfig.get_platform()}; then run the command again\n{ended.complaint()}"
    )
