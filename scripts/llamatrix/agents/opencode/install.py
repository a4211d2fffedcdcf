"""OpenCode and what it needs beside it: pinned, verified, in the cache."""

import platform
import tempfile
from dataclasses import dataclass
from pathlib import Path

from llamatrix import shell
from llamatrix.errors import ProvisionError
from llamatrix.provision.integrity import make_once
from llamatrix.provision.nix import stale, stored_opencode, stored_program
from llamatrix.provision.npm import fetch_package, unpack_program

_VERSION_TIMEOUT_S = 60
_KEY_CHARACTERS = 12
_OFFLINE = {
    "OPENCODE_DISABLE_MODELS_FETCH": "1",
    "OPENCODE_DISABLE_AUTOUPDATE": "1",
    "PATH": "/usr/bin:/bin",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class NpmProgram:
    """A program inside an npm package, and the bytes that package must have."""

    package: str
    version: str
    integrity: str
    """npm's own: `sha512-…==`."""
    member: str
    """The program's path in the package."""
    says: str
    """What stands in the first line of its `--version`."""

    @property
    def name(self) -> str:
        return self.member.rpartition("/")[2]


RIPGREP = NpmProgram(
    package="@vscode/ripgrep-linux-x64",
    version="1.18.0",
    integrity="sha512-mQ3bVrUpnD2vs7QT0vX90Lt0cnUq467uFtEktIdsJJmW296RoSULRGqWgzG1AKx"
    "yBpNDD6l4ZO4qKf6SgyC23Q==",
    member="bin/rg",
    says="ripgrep 15.0.0",
)
"""OpenCode's search tools run it; without one on the PATH they download it."""


def opencode_package() -> str:
    """Name OpenCode's package for this machine's processor."""
    kinds = {"x86_64": "x64", "aarch64": "arm64"}
    kind = kinds.get(platform.machine())
    if kind is None:
        raise ProvisionError(f"opencode: no binary for {platform.machine()}")
    return f"opencode-linux-{kind}"


def opencode_of(version: str, integrity: str) -> NpmProgram:
    return NpmProgram(
        package=opencode_package(),
        version=version,
        integrity=integrity,
        member="bin/opencode",
        says=version,
    )


def provide_program(wanted: NpmProgram, cache: Path) -> Path:
    """The program in the cache: fetched, verified and asked its version once."""
    program = program_path(wanted, cache)

    def make(staging: Path) -> None:
        tarball = fetch_package(
            wanted.package,
            wanted.version,
            integrity=wanted.integrity,
            folder=cache / "npm",
        )
        unpack_program(tarball, wanted.member, staging / wanted.name)
        _check_version(wanted, staging / wanted.name)

    purpose = f"unpacking {wanted.name} {wanted.version}"
    make_once(program.parent, make, purpose=purpose)
    return program


def program_path(wanted: NpmProgram, cache: Path) -> Path:
    """Where it is once it was provided."""
    key = "".join(filter(str.isalnum, wanted.integrity))[6 : 6 + _KEY_CHARACTERS]
    entry = cache / "programs" / f"{wanted.name}-{wanted.version}-{key}"
    return entry / wanted.name


def provide_opencode(pin: str, wanted: NpmProgram, cache: Path) -> Path:
    """A Nix shell's, where there is one and it is what is wanted; else from npm."""
    stored = stored_opencode(pin)
    if stored is None:
        return provide_program(wanted, cache)
    try:
        _check_version(wanted, stored)
    except ProvisionError as error:
        raise stale(stored, str(error)) from error
    return stored


def provide_ripgrep(cache: Path) -> Path:
    """A Nix shell's; elsewhere the pinned one, whatever the system has."""
    return stored_program("rg") or provide_program(RIPGREP, cache)


def _check_version(wanted: NpmProgram, program: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="llamatrix-version-") as home:
        try:
            ended = shell.run(
                [str(program), "--version"],
                timeout_s=_VERSION_TIMEOUT_S,
                env={**_OFFLINE, "HOME": home},
            )
        except shell.ProgramMissingError as error:
            raise ProvisionError(f"{wanted.name} {wanted.version}: {error}") from error
    version_line = ended.out.partition("\n")[0]
    if not ended.ok or wanted.says not in version_line.split("(")[0].strip():
        raise ProvisionError(
            f"{wanted.package} {wanted.version}: its --version says {version_line!r}, not "
            f"{wanted.says!r}\n{ended.complaint()}"
        )
