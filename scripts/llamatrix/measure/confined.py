"""One program run in a sandbox: files go in, are worked on, and come out."""

import contextlib
import os
import select
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import msgspec

from llamatrix import shell
from llamatrix.errors import MeasureError
from llamatrix.measure.sandbox import (
    DOOR,
    Sandbox,
    bwrap_argv,
    warden_command,
    write_door,
)
from llamatrix.measure.warden import LENGTH, WHOLE, Job, Report

_ENTER_TIMEOUT_S = 30.0
_LEAVE_TIMEOUT_S = 120.0
_LAST_WORDS_S = 0.2
_CHUNK_BYTES = 1 << 16
_OUTPUT_BYTES = 256 << 20
_COMPLAINT_BYTES = 1 << 20


class LostError(MeasureError):
    """The sandbox never opened, or ended without its report."""


@dataclass(kw_only=True, slots=True)
class Inside:
    """A sandbox that is open; `run` may be called once."""

    listeners: tuple[socket.socket, ...]
    """One for each port asked for, accepting from inside the sandbox."""
    process_id: int
    """Of bubblewrap on this machine: all that runs inside descends from it."""
    _line: socket.socket
    _out: IO[bytes]
    _complaints: Path
    _job: Job
    _rest: bytes = b""
    _heard_bytes: int = 0

    def begin(self, files: Path) -> None:
        """Send the files (a tar with `home/` and `work/`) and start the program."""
        text = msgspec.json.encode(self._job)
        try:
            self._line.sendall(LENGTH.pack(len(text)) + text)
            self._line.sendall(LENGTH.pack(files.stat().st_size))
            with files.open("rb") as source:
                self._line.sendfile(source)
        except OSError as error:
            raise self._lost(f"took no files: {error}") from error

    def hear(self, *, wait_s: float) -> tuple[str, ...]:
        """The whole lines the program has said, waiting for some if there are none."""
        out = self._out.fileno()
        readable, _, _ = select.select([out, self._line.fileno()], [], [], wait_s)
        if out not in readable:
            return ()
        part = os.read(out, _CHUNK_BYTES)
        self._heard_bytes += len(part)
        if self._heard_bytes > _OUTPUT_BYTES:
            return ()  # more than anyone needs: read and dropped
        *lines, self._rest = (self._rest + part).split(b"\n")
        return tuple(line.decode(errors="replace") for line in lines)

    def last_words(self) -> tuple[str, ...]:
        """All that is still to be heard when the program is over."""
        lines: list[str] = []
        while select.select([self._out], [], [], 0)[0]:
            before = self._heard_bytes
            lines += self.hear(wait_s=0)
            if self._heard_bytes == before:  # closed
                break
        rest = self._rest.decode(errors="replace")
        return (*lines, rest) if rest else tuple(lines)

    def over(self) -> bool:
        """Whether the warden has begun its report: the program has ended."""
        readable, _, _ = select.select([self._line], [], [], 0)
        return bool(readable)

    def stop(self) -> None:
        """Have everything inside ended; the files still come out."""
        with contextlib.suppress(OSError):
            self._line.sendall(b"!")

    def finish(self, files: Path, *, most_bytes: int) -> Report:
        """Wait for the report and store the files that come out."""
        self._line.settimeout(_LEAVE_TIMEOUT_S)
        try:
            length = LENGTH.unpack(self._exactly(LENGTH.size))[0]
            report = msgspec.json.decode(self._exactly(length), type=Report)
            self._store(files, most_bytes)
        except (OSError, msgspec.MsgspecError) as error:
            raise self._lost(f"ended without a report: {error}") from error
        return report

    def _exactly(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            part = self._line.recv(min(count - len(parts), _CHUNK_BYTES))
            if not part:
                raise ConnectionResetError("the line was cut")
            parts += part
        return bytes(parts)

    def _store(self, files: Path, most_bytes: int) -> None:
        rest = most_bytes
        with files.open("w+b") as sink:
            while part := self._line.recv(_CHUNK_BYTES):
                rest -= len(part)
                if rest < 0:
                    raise ConnectionResetError("more came out than the sandbox holds")
                sink.write(part)
            begin = max(0, sink.tell() - len(WHOLE))
            sink.seek(begin)
            if sink.read() != WHOLE:
                raise ConnectionResetError("its files were cut off")
            sink.truncate(begin)

    def _lost(self, what: str) -> LostError:
        said = _said_last(self._complaints)
        return LostError(f"the sandbox {what}; {said or 'it said nothing'}")


@contextmanager
def entered(
    bwrap: Path,
    sandbox: Sandbox,
    job: Job,
    *,
    complaints: Path,
    hosts: Mapping[str, str] | None = None,
) -> Iterator[Inside]:
    """Open a sandbox; everything in it is ended on leaving.

    `complaints` takes the standard error of all that runs inside.
    """
    with ExitStack() as held:
        door = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="lx-")))
        write_door(door, hosts=hosts or {})
        gate = held.enter_context(socket.socket(socket.AF_UNIX))
        gate.bind(str(door / DOOR))
        gate.listen(1)
        argv = bwrap_argv(bwrap, sandbox, door=door, command=warden_command(sandbox))
        errors = held.enter_context(_kept(complaints))
        process = held.enter_context(shell.started(argv, env={}, err=errors, grace_s=1))
        if process.stdout is None:
            raise AssertionError
        line = held.enter_context(_accepted(gate, process.poll, complaints))
        listeners = tuple(
            held.enter_context(listener)
            for listener in _listeners(line, len(sandbox.own_ports), complaints)
        )
        yield Inside(
            listeners=listeners,
            process_id=process.pid,
            _line=line,
            _out=process.stdout,
            _complaints=complaints,
            _job=job,
        )


class _Poll(Protocol):
    def __call__(self) -> int | None: ...


def _accepted(gate: socket.socket, poll: _Poll, complaints: Path) -> socket.socket:
    """The warden's call; LostError where the sandbox ends instead."""
    gate.settimeout(0.1)
    waited_s = 0.0
    while poll() is None and waited_s < _ENTER_TIMEOUT_S:
        try:
            line, _ = gate.accept()
        except TimeoutError:
            waited_s += 0.1
            continue
        line.settimeout(_LEAVE_TIMEOUT_S)
        return line
    raise LostError(f"the sandbox did not open: {_said_last(complaints) or 'no word'}")


def _said_last(complaints: Path) -> str:
    """The last lines of what ended just now."""
    time.sleep(_LAST_WORDS_S)  # they come by another way
    return " / ".join(complaints.read_text(errors="replace").splitlines()[-5:])


def _listeners(
    line: socket.socket, count: int, complaints: Path
) -> Iterator[socket.socket]:
    """What the warden listens on; LostError where it could not."""
    try:
        _, descriptors, _, _ = socket.recv_fds(line, 1, max(1, count))
    except OSError as error:
        descriptors, why = [], str(error)
    else:
        why = "it opened no ports"
    yield from (socket.socket(fileno=number) for number in descriptors)
    if len(descriptors) != count:
        raise LostError(f"the sandbox: {why}: {_said_last(complaints) or 'no word'}")


@contextmanager
def _kept(complaints: Path) -> Iterator[IO[bytes]]:
    """A pipe whose bytes are written to a file, as far as anyone will read."""
    reader, writer = os.pipe()
    thread = threading.Thread(target=_keep, args=(reader, complaints), daemon=True)
    thread.start()
    try:
        with os.fdopen(writer, "wb") as sink:
            yield sink
    finally:
        thread.join(_LEAVE_TIMEOUT_S)
        os.close(reader)


def _keep(reader: int, complaints: Path) -> None:
    rest = _COMPLAINT_BYTES
    with complaints.open("ab") as sink:
        while part := os.read(reader, _CHUNK_BYTES):
            sink.write(part[:rest])
            sink.flush()
            rest = max(0, rest - len(part))
