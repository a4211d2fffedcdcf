"""What a Nix shell provides, and the host's CUDA driver for programs of the Nix store.

`LLAMATRIX_NIX` names a file of store paths, which the flake writes (nix/world.nix) from
the same matrix and lock that we read.

A program of the store looks for libcuda in /run/opengl-driver, which only NixOS has,
and never asks the host's loader. So the driver's own libraries are linked into a folder
that one program searches. Their neighbours stay out: the host's C library would break
it. nix/with-cuda-driver.sh does the same for a shell.
"""

import hashlib
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import msgspec

from llamatrix.config.lock import NpmProgram
from llamatrix.errors import ProvisionError

VARIABLE = "LLAMATRIX_NIX"
_ENTER_AGAIN = "leave the shell and enter it again (`nix develop`)"


class StorePaths(msgspec.Struct, frozen=True, kw_only=True):
    builds: dict[str, str] = {}
    """By pin and build: `april/cuda`."""
    sources: dict[str, str] = {}
    """Trees of llama.cpp by commit; Nix verifies the lock's NAR hash."""
    weights: dict[str, str] = {}
    """Folders with the GGUF that a package carries, by the file's sha256."""
    templates: str | None = None
    """A folder with our corrected chat templates."""
    opencode: dict[str, str] = {}
    pi: dict[str, str] = {}
    context7: dict[str, str] = {}
    programs: dict[str, str] = {}
    """Programs that agents need, by name: `bwrap`, `uv`."""


def store_paths() -> StorePaths:
    """Return what the shell provides; empty outside of one."""
    named = os.environ.get(VARIABLE)
    if not named:
        return StorePaths()
    try:
        return msgspec.json.decode(Path(named).read_bytes(), type=StorePaths)
    except (OSError, msgspec.DecodeError) as error:
        raise ProvisionError(
            f"{VARIABLE}: {named}: cannot be read: {error}; {_ENTER_AGAIN}"
        ) from error


def stored_build(pin: str, build: str) -> Path | None:
    return _existing(store_paths().builds.get(f"{pin}/{build}"))


def stored_source(commit: str) -> Path | None:
    return _existing(store_paths().sources.get(commit))


def stored_weights(sha256: str) -> Path | None:
    return _existing(store_paths().weights.get(sha256))


def stored_opencode(pin: str) -> Path | None:
    """Return the program; None outside of a shell."""
    folder = _existing(store_paths().opencode.get(pin))
    return folder / "bin" / "opencode" if folder else None


def stored_tree(program: NpmProgram, pin: str) -> Path | None:
    """Return the folder of `node_modules`; None outside of a shell."""
    folder = _existing(getattr(store_paths(), program).get(pin))
    return folder / "lib" / program if folder else None


def stored_program(name: str) -> Path | None:
    """Return one of the shell's own programs; None outside of a shell."""
    return _existing(store_paths().programs.get(name))


def stale(path: Path, why: str) -> ProvisionError:
    """Say that the shell differs from the present matrix.toml and matrix.lock."""
    return ProvisionError(f"{path}: {why}; {_ENTER_AGAIN}")


def world() -> str:
    """Say in one line where binaries come from."""
    paths = store_paths()
    if not os.environ.get(VARIABLE):
        return "no Nix shell: llama.cpp is compiled here from verified source"
    names = ", ".join(sorted(paths.builds)) or "none"
    return f"Nix shell; builds from the store: {names}"


def _existing(named: str | None) -> Path | None:
    if named is None:
        return None
    path = Path(named)
    if not path.exists():  # collected as garbage while the shell was open
        raise stale(path, "is no longer in the store")
    return path


DRIVER_VARIABLE = "CUDA_DRIVER_DIR"
NIXOS = Path("/run/opengl-driver/lib")
FOLDERS = (
    NIXOS,
    Path("/usr/lib/wsl/lib"),
    Path("/usr/local/nvidia/lib64"),
    Path("/usr/lib/x86_64-linux-gnu"),
    Path("/usr/lib/aarch64-linux-gnu"),
    Path("/usr/lib64"),
    Path("/usr/lib"),
)
_LIBRARY = "libcuda.so.1"
_PATTERNS = ("libcuda.so*", "libnvidia-*.so*")


def with_driver(store_path: Path, cache: Path, folders: Sequence[Path]) -> Path:
    """Return a folder like a build's, whose programs find the driver.

    ProvisionError where the host has no driver: nothing is measured on the CPU instead.
    """
    driver = next((one for one in folders if (one / _LIBRARY).exists()), None)
    if driver is None:
        raise ProvisionError(
            f"no CUDA driver: {_LIBRARY} is in none of {', '.join(map(str, folders))}; "
            f"install NVIDIA's driver, set {DRIVER_VARIABLE} to the folder that has it, "
            "or choose a profile with a CPU build (`--profile smoke`)"
        )
    links = driver if driver == NIXOS else _linked(driver, cache)
    folder = cache / "store" / f"{store_path.name}-{_mark(links)}"
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    for program in (store_path / "bin").iterdir():
        _write_starter(folder / "bin" / program.name, program, links)
    return folder


def driver_folders() -> tuple[Path, ...]:
    """Return where to look for the driver: the user's folder, else the usual ones."""
    named = os.environ.get(DRIVER_VARIABLE)
    return (Path(named),) if named else FOLDERS


def _linked(driver: Path, cache: Path) -> Path:
    library = (driver / _LIBRARY).resolve()
    links = cache / "driver" / f"{library.name}-{_mark(library)}"
    links.mkdir(parents=True, exist_ok=True)
    for pattern in _PATTERNS:
        for path in driver.glob(pattern):
            aside = links / f".{path.name}.{os.getpid()}"
            aside.symlink_to(path)
            aside.replace(links / path.name)
    return links


def _write_starter(path: Path, program: Path, links: Path) -> None:
    searched = shlex.quote(str(links))
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(
        "#!/bin/sh\n"
        f"LD_LIBRARY_PATH={searched}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\n"
        "export LD_LIBRARY_PATH\n"
        f'exec {shlex.quote(str(program))} "$@"\n'
    )
    aside.chmod(0o755)
    aside.replace(path)


def _mark(path: Path) -> str:
    return hashlib.sha256(bytes(path)).hexdigest()[:8]
