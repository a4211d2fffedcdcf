"""uv: runs what agents wrote. requirements.txt pins it, in a Nix shell nixpkgs does."""

from functools import cache
from pathlib import Path

from llamatrix import shell
from llamatrix.errors import ProvisionError
from llamatrix.provision.compiler import find_tool
from llamatrix.provision.nix import stored_program

_TIMEOUT_S = 30


def find_uv() -> Path:
    """The uv of a Nix shell, beside this Python, or on the PATH."""
    found = stored_program("uv") or find_tool("uv")
    if found is None:
        raise ProvisionError(
            "uv: not found; install it: pip install -r requirements.txt"
        )
    return found.resolve()


@cache
def uv_version() -> str:
    """`0.13.9`."""
    ended = shell.run([str(find_uv()), "--version"], timeout_s=_TIMEOUT_S)
    if not ended.ok:
        raise ProvisionError(f"uv does not start\n{ended.complaint()}")
    return ended.out.split()[1]
