"""What npm has under a name and a version, asked through its own client."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from llamatrix import shell
from llamatrix.config.lock import Integrity, LockedNpm, NpmProgram, npm_packages
from llamatrix.config.matrix import Matrix, NpmPin
from llamatrix.errors import ProvisionError
from llamatrix.progress import say
from llamatrix.provision.compiler import find_tool
from llamatrix.provision.npm_pack import QUIET
from llamatrix.provision.sdist import UnreachableError

_TIMEOUT_S = 300
_NO_SUCH = ("E404", "ETARGET", "ENOVERSIONS")


class _Package(msgspec.Struct, frozen=True):
    version: str


class _PackageLock(msgspec.Struct, frozen=True):
    packages: dict[str, msgspec.Raw]


def resolve_npm(
    matrix: Matrix, program: NpmProgram, old: Mapping[str, LockedNpm]
) -> dict[str, LockedNpm]:
    """Every pin of `opencode` or `context7`; npm is asked for what `old` lacks."""
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
    """The tarball's hash, as npm's registry publishes it: `sha512-…==`."""
    wanted = f"{package}@{version}"
    said = _npm("view", wanted, "dist.integrity", wanted=wanted).strip()
    if not said:  # npm's way to say that the package lacks this version
        raise ProvisionError(f"{wanted}: npm has no such version")
    try:
        return msgspec.convert(said, type=Integrity)
    except msgspec.ValidationError:
        raise ProvisionError(f"{wanted}: npm gave no sha512, but {said!r}") from None


def package_lock_file(root: Path, name: str) -> Path:
    """Where Context7's own dependencies stand, one file for each pin."""
    return root / "nix" / "context7" / f"{name}.package-lock.json"


def write_package_lock(package: str, version: str, path: Path) -> bool:
    """Resolve a package's dependencies into `path`; False where it has them already.

    npm is told to leave addresses out: an entry is its name, version and integrity.
    """
    if _locked_version(package, path) == version:
        return False
    with tempfile.TemporaryDirectory(prefix="llamatrix-npm-") as aside:
        wish = {"name": "context7", "dependencies": {package: version}}
        (Path(aside) / "package.json").write_text(json.dumps(wish))
        flags = ("--package-lock-only", "--ignore-scripts")
        addresses = "--omit-lockfile-registry-resolved=true"
        wanted = f"{package}@{version}"
        _npm("install", *flags, addresses, wanted=wanted, cwd=Path(aside))
        made = json.loads((Path(aside) / "package-lock.json").read_text())
    for entry in made["packages"].values():
        entry.pop("funding", None)
    text = json.dumps(made, indent=2) + "\n"
    if "://" in text:
        raise ProvisionError(f"{path.name}: npm wrote an address into it; not kept")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return True


def _locked_version(package: str, path: Path) -> str | None:
    try:
        packages = msgspec.json.decode(path.read_bytes(), type=_PackageLock).packages
        entry = packages[f"node_modules/{package}"]
        return msgspec.json.decode(entry, type=_Package).version
    except (OSError, KeyError, msgspec.DecodeError):
        return None


def _npm(*arguments: str, wanted: str, cwd: Path | None = None) -> str:
    """What npm prints; UnreachableError where it could not ask."""
    npm = shutil.which("npm") or find_tool("npm")
    if npm is None:
        raise UnreachableError(
            f"{wanted}: npm not found; install Node.js, or enter `nix develop`"
        )
    ended = shell.run(
        [str(npm), *arguments],
        timeout_s=_TIMEOUT_S,
        cwd=cwd,
        env={**os.environ, **QUIET},
    )
    if ended.ok:
        return ended.out
    text = ended.out + "\n".join(ended.tail)
    if any(word in text for word in _NO_SUCH):
        raise ProvisionError(f"{wanted}: npm has no such version\n{ended.complaint()}")
    raise UnreachableError(
        f"{wanted}: npm could not look it up; check the network (`npm view {wanted}` "
        f"should work), then run the command again\n{ended.complaint()}"
    )
