"""Runs one program in a sandbox: files are sent in, the changed files come out."""

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec

from llamatrix import shell
from llamatrix.errors import MeasureError
from llamatrix.lines import LineSplitter
from llamatrix.sandbox.cgroups import joining, limited
from llamatrix.sandbox.forwarding import forwarding
from llamatrix.sandbox.spec import (
    HOME,
    SandboxSpec,
    User,
    bwrap_argv,
    supervisor_command,
)
from llamatrix.sandbox.supervisor import THREADS_PER_PROCESS, Job, Report
from llamatrix.sandbox.supervisor_files import (
    ARCHIVE_END_BYTES,
    LENGTH,
    WHOLE,
    read_exactly,
)
from llamatrix.sandbox.syscall_filter import syscall_filter

_ENTER_TIMEOUT_S = 30.0
_LEAVE_TIMEOUT_S = 120.0
_LAST_WORDS_S = 0.2
_CHUNK_BYTES = 1 << 16
_OUTPUT_BYTES = 64 << 20
_COMPLAINT_BYTES = 1 << 20


class LostError(MeasureError):
    """The sandbox never opened, or ended without its report."""


@dataclass(kw_only=True, slots=True)
class SandboxSession:
    """An open sandbox, which runs one program."""

    listeners: tuple[socket.socket, ...]
    """One for each of the spec's `ports`, accepting connections from inside."""
    process_id: int
    """bubblewrap's on this machine: everything inside descends from it."""
    _line: socket.socket
    _out: IO[bytes]
    _complaints: Path
    _job: Job
    _splitter: LineSplitter = field(default_factory=LineSplitter)
    _heard_bytes: int = 0

    def begin(self, files: Path) -> None:
        """Send the files (an archive of `home/` and `work/`) and start the program."""
        text = msgspec.json.encode(self._job)
        try:
            self._line.sendall(LENGTH.pack(len(text)) + text)
            self._line.sendall(LENGTH.pack(files.stat().st_size))
            with files.open("rb") as source:
                self._line.sendfile(source)
        except OSError as error:
            raise self._lost(f"took no files: {error}") from error

    def hear(self, *, wait_s: float) -> tuple[str, ...]:
        """Return the lines that the program has printed; wait if there are none."""
        if not _readable(self._out.fileno(), self._line.fileno(), wait_s=wait_s)[0]:
            return ()
        part = os.read(self._out.fileno(), _CHUNK_BYTES)
        self._heard_bytes += len(part)
        if self._heard_bytes > _OUTPUT_BYTES:
            return ()  # too much: read and dropped
        lines = self._splitter.feed(part)
        return tuple(line.decode(errors="replace") for line in lines)

    def last_words(self) -> tuple[str, ...]:
        """Return the rest of the output when the program is over."""
        lines: list[str] = []
        while _readable(self._out.fileno(), wait_s=0)[0]:
            before = self._heard_bytes
            lines += self.hear(wait_s=0)
            if self._heard_bytes == before:  # closed
                break
        rest = self._splitter.rest().decode(errors="replace")
        return (*lines, rest) if rest else tuple(lines)

    def over(self) -> bool:
        """Return whether the program has ended: the supervisor sends its report."""
        return _readable(self._line.fileno(), wait_s=0)[0]

    def stop(self) -> None:
        """End everything inside; the files still come out."""
        with contextlib.suppress(OSError):
            self._line.sendall(b"!")

    def finish(self, files: Path) -> Report:
        """Wait for the report and store the files that come out."""
        max_bytes = self._job["max_total_bytes"] + ARCHIVE_END_BYTES
        self._line.settimeout(_LEAVE_TIMEOUT_S)
        try:
            length = LENGTH.unpack(read_exactly(self._line, LENGTH.size))[0]
            report = msgspec.json.decode(read_exactly(self._line, length), type=Report)
            self._store(files, max_bytes)
        except (OSError, msgspec.MsgspecError) as error:
            raise self._lost(f"ended without a report: {error}") from error
        return report

    def _store(self, files: Path, max_bytes: int) -> None:
        rest = max_bytes
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
        stderr = _last_stderr(self._complaints) or "no output on standard error"
        return LostError(f"the sandbox {what}; {stderr}")


@contextmanager
def open_sandbox(
    sandbox: SandboxSpec, job: Job, *, complaints: Path
) -> Iterator[SandboxSession]:
    """Open a sandbox; everything in it is ended when the block is left.

    `complaints` receives the standard error of everything inside.
    """
    with ExitStack() as stack:
        ours, supervisor_end = socket.socketpair()
        stack.enter_context(ours)
        user = sandbox.user()
        texts = _etc_files(user, hosts=sandbox.hosts)
        files = {
            name: stack.enter_context(memory_file(name, text.encode()))
            for name, text in texts.items()
        }
        refused = stack.enter_context(seccomp_file())
        argv = bwrap_argv(
            sandbox,
            user,
            files=files,
            seccomp=refused,
            command=supervisor_command(sandbox, user),
        )
        errors = stack.enter_context(_stored(complaints))
        groups = stack.enter_context(
            limited(
                memory_bytes=job["max_memory_bytes"],
                threads=THREADS_PER_PROCESS * job["max_processes"],
            )
        )
        with supervisor_end:
            process = stack.enter_context(
                shell.started(
                    joining(groups, argv),
                    env={},
                    stdin=supervisor_end.fileno(),
                    err=errors,
                    pass_fds=[*files.values(), *([refused] if refused else [])],
                    grace_s=1,
                )
            )
        if process.stdout is None:
            raise AssertionError
        ours.settimeout(_ENTER_TIMEOUT_S)
        listeners = tuple(
            stack.enter_context(listener)
            for listener in _listeners(ours, len(sandbox.own_ports), complaints)
        )
        ours.settimeout(_LEAVE_TIMEOUT_S)
        if sandbox.own_ports:
            forwarded = listeners[len(sandbox.ports) :]
            ways = list(zip(forwarded, sandbox.forwards.values(), strict=True))
            stack.enter_context(forwarding(ways))
            listeners = listeners[: len(sandbox.ports)]
        yield SandboxSession(
            listeners=listeners,
            process_id=process.pid,
            _line=ours,
            _out=process.stdout,
            _complaints=complaints,
            _job=job,
        )


def _etc_files(user: User, *, hosts: Mapping[str, str]) -> dict[str, str]:
    """Return the small files of the sandbox's `/etc`, by name."""
    own, known = user.user_id, {"localhost": "127.0.0.1", "trial": "127.0.0.1"}
    lines = [f"{address} {name}\n" for name, address in {**known, **hosts}.items()]
    return {
        "passwd": f"agent:x:{own}:{own}:agent:{HOME}:/bin/sh\n"
        f"root:x:0:0:root:{HOME}:/bin/sh\n",
        "group": f"agent:x:{own}:\nroot:x:0:\n",
        "hosts": "".join(lines),
    }


@contextmanager
def memory_file(name: str, content: bytes) -> Iterator[int]:
    """Yield the descriptor of a file in memory."""
    descriptor = os.memfd_create(name)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def seccomp_file() -> Iterator[int | None]:
    """Yield the syscall filter's descriptor; None for an unknown architecture."""
    program = syscall_filter()
    if program is None:
        yield None
        return
    with memory_file("seccomp", program) as descriptor:
        yield descriptor


def _readable(*descriptors: int, wait_s: float) -> tuple[bool, ...]:
    """Return which can be read, waiting for any; `select` is limited to 1024 files."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    ready = {descriptor for descriptor, _ in poll.poll(wait_s * 1000)}
    return tuple(descriptor in ready for descriptor in descriptors)


def _last_stderr(complaints: Path) -> str:
    time.sleep(_LAST_WORDS_S)  # they arrive through another thread
    return " / ".join(complaints.read_text(errors="replace").splitlines()[-5:])


def _listeners(
    line: socket.socket, count: int, complaints: Path
) -> Iterator[socket.socket]:
    """Receive the supervisor's listeners; LostError where it did not start."""
    try:
        word, descriptors, _, _ = socket.recv_fds(line, 1, max(1, count))
    except OSError as error:
        word, descriptors, why = b"", [], str(error)
    else:
        why = "did not open" if not word else "opened no ports"
    yield from (socket.socket(fileno=number) for number in descriptors)
    if not word or len(descriptors) != count:
        stderr = _last_stderr(complaints) or "no output on standard error"
        raise LostError(f"the sandbox {why}: {stderr}")


@contextmanager
def _stored(complaints: Path) -> Iterator[IO[bytes]]:
    """Yield a pipe whose bytes are written to a file, up to a size."""
    reader, writer = os.pipe()
    thread = threading.Thread(
        target=_store_pipe, args=(reader, complaints), daemon=True
    )
    thread.start()
    try:
        with os.fdopen(writer, "wb") as sink:
            yield sink
    finally:
        thread.join(_LEAVE_TIMEOUT_S)
        os.close(reader)


def _store_pipe(reader: int, complaints: Path) -> None:
    rest = _COMPLAINT_BYTES
    with complaints.open("ab") as sink:
        while part := os.read(reader, _CHUNK_BYTES):
            sink.write(part[:rest])
            sink.flush()
            rest = max(0, rest - len(part))
