"""The host's CUDA driver, put in reach of programs out of the Nix store.

Such a program looks for libcuda in /run/opengl-driver, which only NixOS has, and never
asks the host's loader. The driver's own libraries are linked into a folder of ours that
one program searches; their neighbours stay out, for the host's C library would break it.
nix/with-cuda-driver.sh does the same for a shell.
"""

import hashlib
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from llamatrix.errors import ProvisionError

VARIABLE = "CUDA_DRIVER_DIR"
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
    """A folder like a build's, whose programs start with the driver in reach.

    ProvisionError where the host has no driver: nothing is measured on the CPU instead.
    """
    driver = _found(folders)
    links = driver if driver == NIXOS else _linked(driver, cache)
    folder = cache / "store" / f"{store_path.name}-{_mark(links)}"
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    for program in (store_path / "bin").iterdir():
        _write_starter(folder / "bin" / program.name, program, links)
    return folder


def driver_folders() -> tuple[Path, ...]:
    """Where the driver may lie: what the user says, else the usual places."""
    named = os.environ.get(VARIABLE)
    return (Path(named),) if named else FOLDERS


def _found(folders: Sequence[Path]) -> Path:
    for folder in folders:
        if (folder / _LIBRARY).exists():
            return folder
    raise ProvisionError(
        f"no CUDA driver: {_LIBRARY} is in none of {', '.join(map(str, folders))}; "
        f"install NVIDIA's driver, set {VARIABLE} to the folder that has it, or choose "
        "a profile with a CPU build (`--profile smoke`)"
    )


def _linked(driver: Path, cache: Path) -> Path:
    library = (driver / _LIBRARY).resolve()
    links = cache / "driver" / f"{library.name}-{_mark(library)}"
    links.mkdir(parents=True, exist_ok=True)
    for pattern in _PATTERNS:
        for path in driver.glob(pattern):
            _replace_by_link(links / path.name, path)
    return links


def _replace_by_link(link: Path, target: Path) -> None:
    aside = link.with_name(f".{link.name}.{os.getpid()}")
    aside.symlink_to(target)
    aside.replace(link)


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
