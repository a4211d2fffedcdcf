"""Packages of the Python index, through pip: source packages, and locked sets of wheels."""

import hashlib
import importlib.util
import marshal
import os
import re
import sys
import sysconfig
import tempfile
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path

from llamatrix import shell
from llamatrix.errors import ProvisionError
from llamatrix.progress import growing, say
from llamatrix.provision.integrity import file_sha256, make_once

_TIMEOUT_S = 1800
_ASK_TIMEOUT_S = 120


class UnreachableError(ProvisionError):
    """The package index is out of reach: nothing is known about the package."""


def fetch_sdist(
    package: str, version: str, *, sha256: str | None, folder: Path
) -> Path:
    """Return the sdist in `folder`; download it if missing, verify it always.

    With `sha256` None (while a lock is being written) any content is accepted. A file
    that does not match is named and left alone.
    """
    kept = sdist_file(package, version, folder)
    if not kept.exists():
        say(f"downloading {package} {version} (source package)")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".pip-") as aside:
            download = _download(f"{package}=={version}", sha256, Path(aside))
            download.rename(kept)
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
    """Return the versions in the package index, newest first."""
    pip = [sys.executable, "-m", "pip", "index", "versions", package, "--pre"]
    ended = shell.run([*pip, "--no-binary", package], timeout_s=_ASK_TIMEOUT_S)
    match = re.search(r"^Available versions: (.+)$", ended.out, re.MULTILINE)
    if not ended.ok or not match:
        raise UnreachableError(
            f"{package}: the package index has no such package, or cannot be reached; "
            f"check the name in matrix.toml, then the network (`pip index versions "
            f"{package}` should work)\n{ended.complaint()}"
        )
    return tuple(version.strip() for version in match[1].split(","))


def fetch_wheel(
    package: str, version: str, *, sha256: str | None, folder: Path
) -> Path:
    """Download a wheel into `folder`; without a hash any content is accepted."""
    wanted = f"{package}=={version}"
    say(f"downloading {package} {version} (wheel)")
    return _download(wanted, sha256, folder, wheel=True)


def _download(
    wanted: str, sha256: str | None, aside: Path, *, wheel: bool = False
) -> Path:
    """Run `pip download`; with a hash, pip verifies before it unpacks anything."""
    requirements = aside / "requirements.txt"
    hashed = f"{wanted} --hash=sha256:{sha256}" if sha256 else wanted
    requirements.write_text(hashed + "\n")
    package = wanted.partition("==")[0]
    form = ["--only-binary", ":all:"] if wheel else ["--no-binary", package]
    target = ["--dest", str(aside / "got"), "--requirement", str(requirements)]
    listed = "the download does not have the sha256 of matrix.lock"
    ended = _pip_download([*form, *target], wanted, listed, aside)
    if not ended.ok:
        said = _said(ended)
        if "No matching distribution" in said and "from versions: none" not in said:
            raise ProvisionError(f"{wanted}: no such version\n{ended.complaint()}")
        raise UnreachableError(
            f"{wanted}: pip could not download it; check the network (`pip download "
            f"--no-deps {wanted}` should work), then run the command again\n"
            f"{ended.complaint()}"
        )
    files = list((aside / "got").iterdir())
    if len(files) != 1:
        names = ", ".join(sorted(file.name for file in files))
        raise ProvisionError(
            f"{wanted}: pip downloaded {names or 'nothing'}, not one file"
        )
    return files[0]


def _pip_download(
    arguments: Sequence[str], name: str, listed: str, folder: Path
) -> shell.Ended:
    """Run `pip download`; a file without the hash that is listed is ProvisionError."""
    pip = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check"]
    environment = {
        **os.environ,
        "TMPDIR": str(folder),
    }  # where the file is seen to grow
    with growing(name, folder):
        ended = shell.run(
            [*pip, "--no-deps", *arguments], timeout_s=_TIMEOUT_S, env=environment
        )
    if "DO NOT MATCH THE HASHES" in _said(ended) and not ended.ok:
        raise ProvisionError(f"{name}: {listed} and was discarded\n{ended.complaint()}")
    return ended


def _said(ended: shell.Ended) -> str:
    return ended.out + "\n".join(ended.tail)


_KEY_CHARACTERS = 12
_MARKER = re.compile(r" ;[^\\\n]*(?=\\?$)", re.MULTILINE)
_ENTRY = re.compile(r"^[A-Za-z0-9]", re.MULTILINE)
_SHA256 = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_FLAGS = (
    *("--only-binary", ":all:", "--require-hashes", "--quiet"),
    "--ignore-requires-python",
)


def provide_wheels(requirements: Path, cache: Path) -> Path:
    """Return a folder with one wheel for each entry of a hashed list; fetch it once.

    The wheels are those for this Python. Markers are ignored: uv resolves for all
    systems and queries packages that are installed on none of ours.
    """
    text = _read(requirements)

    def make(staging: Path) -> None:
        say(f"downloading the wheels of {requirements.name}")
        _download_wheels(text, requirements.name, staging)

    folder = wheels_folder(requirements, cache)

    def prove() -> str | None:
        listed = set(_SHA256.findall(text))
        for wheel in folder.iterdir():
            sha256 = file_sha256(wheel)
            if sha256 not in listed:
                return f"{wheel}: sha256 {sha256} is not in {requirements.name}"
        return None

    purpose = f"downloading the wheels of {requirements.name}"
    return make_once(folder, make, purpose=purpose, prove=prove)


def provide_bytecode(wheels: Path) -> Path:
    """Compile the modules of a folder of wheels once and return their bytecode's folder.

    `NAME-VERSION/…/__pycache__/MODULE.TAG.pyc`, laid out as in `site-packages`, for the
    Python that runs us. Each file holds the hash of its source (PEP 552, checked), so
    it has no effect beside a source of another content, whatever its time.
    """
    magic = importlib.util.MAGIC_NUMBER
    folder = wheels.with_name(f"{wheels.name}-bytecode-{magic.hex()}")

    def make(staging: Path) -> None:
        say(f"compiling the modules of the wheels in {wheels.name}")
        for wheel in sorted(wheels.glob("*.whl")):
            _compile_wheel(wheel, staging, magic + (0b11).to_bytes(4, "little"))

    return make_once(folder, make, purpose="compiling the wheels' modules")


def _compile_wheel(wheel: Path, folder: Path, head: bytes) -> None:
    with zipfile.ZipFile(wheel) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of packages are not ours to repair
        name = "-".join(wheel.name.split("-")[:2])
        for member in archive.namelist():
            module = Path(member)
            if module.suffix != ".py" or module.parts[0].endswith(".data"):
                continue
            source = archive.read(member)
            try:
                code = compile(source, member, "exec", dont_inherit=True, optimize=0)
            except (SyntaxError, ValueError):  # templates and tests of other Pythons
                continue
            place = folder / name / module.parent / "__pycache__"
            place.mkdir(parents=True, exist_ok=True)
            compiled = place / f"{module.stem}.{sys.implementation.cache_tag}.pyc"
            digest = importlib.util.source_hash(source)
            compiled.write_bytes(head + digest + marshal.dumps(code))


def wheels_folder(requirements: Path, cache: Path) -> Path:
    """Return where `provide_wheels` puts them."""
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


def _download_wheels(text: str, name: str, staging: Path) -> None:
    """Let pip fetch all; it checks each file against the hashes before keeping it."""
    wanted = staging / "wanted.txt"
    wanted.write_text(_MARKER.sub(" ", text))
    target = ["--dest", str(staging), "--requirement", str(wanted)]
    listed = "a download does not have the sha256 of the list"
    ended = _pip_download([*_FLAGS, *target], name, listed, staging)
    if not ended.ok and "--require-hashes" in _said(ended):
        raise ProvisionError(
            f"{name}: has entries without hashes; `invoke lock --python` rewrites it\n"
            f"{ended.complaint()}"
        )
    if not ended.ok:
        raise UnreachableError(
            f"{name}: pip could not download all of it; check the network (`pip download "
            "--no-deps httpx` should work), and whether the package named below has a "
            f"wheel for Python {sys.version_info.major}.{sys.version_info.minor} on "
            f"{sysconfig.get_platform()}; then run the command again\n{ended.complaint()}"
        )
    wanted.unlink()
    wheels, entries = len(list(staging.glob("*.whl"))), len(_ENTRY.findall(text))
    if wheels != entries:
        raise ProvisionError(f"{name}: {entries} entries, but pip fetched {wheels}")
