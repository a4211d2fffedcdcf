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
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_PROC = Path("/proc")
_TABLES = ("net/tcp", "net/tcp6")
_MAPPED = "0000000000000000FFFF0000"
"""The prefix of an IPv4 address in `net/tcp6`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Process:
    pid: int
    parent: int
    begun: int
    """In clock ticks since the machine started."""


@dataclass(kw_only=True, slots=True)
class AgentProcess:
    sandbox: int
    """The process on this machine that everything in the sandbox descends from."""
    program: str
    """One of the first two words of the agent's command line when it calls."""
    _known: _Process | None = field(default=None, init=False)

    def calls_from(self, client: tuple[str, int], server: tuple[str, int]) -> bool:
        """Return whether the agent holds the client's end of an IPv4 connection."""
        agent = self._agent()
        if agent is None:
            return False
        try:
            inode = _inode(agent.pid, client, server)
            return inode is not None and inode in _sockets(agent.pid)
        except OSError:  # it has just ended
            return False

    def _agent(self) -> _Process | None:
        """Find the agent once: another process may later have its process id."""
        if self._known is None:
            inside = _descendants(self.sandbox)
            own = [p for p in inside if self.program in _first_words(p.pid)]
            self._known = min(own, key=lambda process: process.begun, default=None)
        known = self._known
        return known if known and _process(known.pid) == known else None


def _inode(pid: int, client: tuple[str, int], server: tuple[str, int]) -> str | None:
    """Return the inode of the client's socket in a process's network, or None."""
    ends = [_end(*client), _end(*server)]
    for table in _TABLES:
        for line in (_PROC / str(pid) / table).read_text().splitlines()[1:]:
            words = line.split()
            addresses = [word.removeprefix(_MAPPED) for word in words[1:3]]
            if addresses == ends:
                return words[9]
    return None


def _end(host: str, port: int) -> str:
    (address,) = struct.unpack("=I", socket.inet_aton(host))
    return f"{address:08X}:{port:04X}"


def _sockets(pid: int) -> Iterator[str]:
    """Yield the inodes of the sockets that a process has open."""
    folder = _PROC / str(pid) / "fd"
    for name in os.listdir(folder):  # noqa: PTH208  names alone
        try:
            target = os.readlink(folder / name)  # noqa: PTH115  no path
        except FileNotFoundError:  # closed since
            continue
        if target.startswith("socket:["):
            yield target[len("socket:[") : -1]


def _descendants(ancestor: int) -> Iterator[_Process]:
    processes = [
        child
        for name in os.listdir(_PROC)  # noqa: PTH208  names alone
        if name.isdecimal() and (child := _process(int(name)))
    ]
    below = {ancestor}
    while more := [p for p in processes if p.parent in below and p.pid not in below]:
        below |= {process.pid for process in more}
        yield from more


def _process(pid: int) -> _Process | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    words = text.rpartition(")")[2].split()  # the name before is any text
    return _Process(pid=pid, parent=int(words[1]), begun=int(words[19]))


def _first_words(pid: int) -> list[str]:
    """Return the words that may name the program: a script follows its interpreter."""
    try:
        line = (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return []
    return [os.fsdecode(word) for word in line.split(b"\0")[:2]]
