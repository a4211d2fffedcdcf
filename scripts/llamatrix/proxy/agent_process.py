"""Tells whether a call is made by the agent program itself, by the kernel's tables.

A secret in the agent's address or headers would not stay secret: what the agent starts
runs as the same user and can read its files, environment and command line. The kernel
knows which process holds a socket. The agent is the first process of its program below
the sandbox's own process; what it starts later has another process id. A process that
writes into the agent's memory could still call through it.
"""

import os
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_PROC = Path("/proc")
_TABLES = ("net/tcp", "net/tcp6")
_MAPPED = "0000000000000000FFFF0000"
"""The prefix of an IPv4 address in `net/tcp6`."""


@dataclass(kw_only=True, slots=True)
class AgentProcess:
    sandbox: int
    """The process on this machine that everything in the sandbox descends from."""
    program: str
    """One of the first two words of the agent's command line when it calls."""
    _agent: psutil.Process | None = field(default=None, init=False)
    """Found once: another process may later have its process id."""

    def calls_from(self, client: tuple[str, int], server: tuple[str, int]) -> bool:
        """Return whether the agent holds the client's end of an IPv4 connection."""
        try:
            if self._agent is None:
                self._agent = self._find()
            if self._agent is None or not self._agent.is_running():
                return False
            process = _PROC / str(self._agent.pid)
            inode = _inode(process, client, server)
            return inode is not None and _holds(process, f"socket:[{inode}]")
        except (OSError, psutil.Error):  # it has just ended
            return False

    def _find(self) -> psutil.Process | None:
        found = []
        for process in psutil.Process(self.sandbox).children(recursive=True):
            with suppress(psutil.Error):
                if self.program in process.cmdline()[:2]:  # a script's comes second
                    found.append((process.create_time(), process.pid, process))
        return min(found)[-1] if found else None


def _inode(
    process: Path, client: tuple[str, int], server: tuple[str, int]
) -> str | None:
    """Return the inode of the client's socket in a process's network, or None.

    psutil reads the tables of the harness's own network only.
    """
    ends = [_end(*client), _end(*server)]
    for table in _TABLES:
        for line in (process / table).read_text().splitlines()[1:]:
            words = line.split()
            if [word.removeprefix(_MAPPED) for word in words[1:3]] == ends:
                return words[9]
    return None


def _end(host: str, port: int) -> str:
    (address,) = struct.unpack("=I", socket.inet_aton(host))
    return f"{address:08X}:{port:04X}"


def _holds(process: Path, target: str) -> bool:
    for descriptor in os.listdir(process / "fd"):  # noqa: PTH208  names alone
        with suppress(FileNotFoundError):  # closed since
            if os.readlink(process / "fd" / descriptor) == target:  # noqa: PTH115
                return True
    return False
