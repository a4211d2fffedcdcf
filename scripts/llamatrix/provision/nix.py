"""What a Nix shell has ready: `LLAMATRIX_NIX` names a file of store paths.

The flake writes it (nix/world.nix), from the same matrix and lock that we read.
"""

import os
from pathlib import Path

import msgspec

from llamatrix.errors import ProvisionError

VARIABLE = "LLAMATRIX_NIX"
_ANEW = "leave the shell and enter it anew (`nix develop`)"


class StorePaths(msgspec.Struct, frozen=True, kw_only=True):
    builds: dict[str, str] = {}
    """By pin and build: `april/cuda`."""
    sources: dict[str, str] = {}
    """Trees of llama.cpp by commit, held to the lock's NAR hash by Nix."""
    templates: str | None = None
    """A folder with our corrected chat templates."""
    opencode: dict[str, str] = {}
    context7: dict[str, str] = {}
    programs: dict[str, str] = {}
    """What agents are run with, by the name it is started under: `bwrap`, `uv`."""


def store_paths() -> StorePaths:
    """What the shell offers; nothing outside of one."""
    named = os.environ.get(VARIABLE)
    if not named:
        return StorePaths()
    try:
        return msgspec.json.decode(Path(named).read_bytes(), type=StorePaths)
    except (OSError, msgspec.DecodeError) as error:
        raise ProvisionError(
            f"{VARIABLE}: {named}: cannot be read: {error}; {_ANEW}"
        ) from error


def stored_build(pin: str, build: str) -> Path | None:
    return _existing(store_paths().builds.get(f"{pin}/{build}"))


def stored_source(commit: str) -> Path | None:
    return _existing(store_paths().sources.get(commit))


def stored_opencode(pin: str) -> Path | None:
    """The program; None outside of a shell."""
    folder = _existing(store_paths().opencode.get(pin))
    return folder / "bin" / "opencode" if folder else None


def stored_context7(pin: str) -> Path | None:
    """The folder that holds `node_modules`; None outside of a shell."""
    folder = _existing(store_paths().context7.get(pin))
    return folder / "lib" / "context7" if folder else None


def stored_program(name: str) -> Path | None:
    """One of the shell's own programs; None outside of a shell."""
    return _existing(store_paths().programs.get(name))


def stale(path: Path, why: str) -> ProvisionError:
    """The shell has something else than matrix.toml and matrix.lock ask for now."""
    return ProvisionError(f"{path}: {why}; {_ANEW}")


def world() -> str:
    """In one line, for `invoke doctor`: where binaries come from."""
    paths = store_paths()
    if not os.environ.get(VARIABLE):
        return "no Nix shell: llama.cpp is compiled here from proven source"
    names = ", ".join(sorted(paths.builds)) or "none"
    return f"Nix shell; builds from the store: {names}"


def _existing(named: str | None) -> Path | None:
    if named is None:
        return None
    path = Path(named)
    if not path.exists():  # collected as garbage while the shell was open
        raise stale(path, "is no longer in the store")
    return path
