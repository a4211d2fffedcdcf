"""Ports of this machine: a free one, and who listens on one."""

import socket
from collections.abc import Iterator
from pathlib import Path

from llamatrix.engines.llama_cpp.launch import HOST

_LISTENING = "0A"
"""A socket's state in `/proc/net/tcp`."""


def free_port() -> int:
    """A port that was free a moment ago; whoever binds it first has it."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def listens(pid: int, port: int) -> bool:
    """Whether this very process holds the port; False where it is gone."""
    process = Path("/proc") / str(pid)
    try:
        sockets = {f"socket:[{inode}]" for inode in _listening(process, port)}
        return any(
            str(handle.readlink()) in sockets for handle in (process / "fd").iterdir()
        )
    except OSError:  # it ended meanwhile
        return False


def _listening(process: Path, port: int) -> Iterator[str]:
    for line in (process / "net" / "tcp").read_text().splitlines()[1:]:
        _, local, _, state, *_, inode = line.split()[:10]
        if state == _LISTENING and int(local.rpartition(":")[2], 16) == port:
            yield inode
