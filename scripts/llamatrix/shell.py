"""The one place that starts programs: each in its own process group, with time limits."""

import os
import selectors
import shlex
import signal
import subprocess
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from threading import Lock
from typing import IO, NoReturn

from llamatrix import orphan_reaper
from llamatrix.errors import ProvisionError
from llamatrix.lines import LineSplitter

TAIL_LINES = 20
TAIL_LINE_CHARACTERS = 2000
_GRACE_S = 5.0
_CHUNK_BYTES = 1 << 16


class Channel(StrEnum):
    OUT = "stdout"
    ERR = "stderr"


class Limit(StrEnum):
    """The time limit at which the harness ended a program."""

    TOTAL = "total"
    SILENCE = "silence"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a program ended, and its last lines."""

    argv: tuple[str, ...]
    returncode: int
    """As the kernel reports it: negative for the signal that ended it."""
    limit: Limit | None
    """The limit at which it was ended, or None."""
    seconds: float
    out: str
    """All of standard output; empty if lines went to a callback."""
    tail: tuple[str, ...]
    """The last lines of both channels in order of arrival, each up to 2000 characters."""
    peak_rss_bytes: int
    """The largest resident set of the program itself (`ru_maxrss`)."""
    log: Path | None

    @property
    def ok(self) -> bool:
        return self.returncode == 0 and self.limit is None

    def complaint(self) -> str:
        """Describe a failure: command line, log file, last lines."""
        how = (
            f"stopped after {self.seconds:.0f} s ({self.limit} limit)"
            if self.limit
            else f"exit code {self.returncode}"
        )
        lines = [f"{shlex.join(self.argv)}: {how}"]
        if self.log:
            lines.append(f"log: {self.log}")
        return "\n".join([*lines, *(f"  | {line}" for line in self.tail)])


class ProgramMissingError(ProvisionError):
    """The program to start is missing or cannot be executed."""


_REAPER_LOCK = Lock()
"""Threads that start their first programs at the same time share one orphan reaper."""


@cache
def _orphan_reaper() -> tuple[str, int]:
    """Start this process's orphan reaper, once; return its mark and our end of its pipe.

    It waits until our end closes. We never close it: the kernel does.
    """
    mark = uuid.uuid4().hex
    its_end, our_end = os.pipe()
    environment = {
        k: v for k, v in os.environ.items() if k != orphan_reaper.MARK_VARIABLE
    }
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", orphan_reaper.__file__, mark],
        stdin=its_end,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=environment,
    )
    os.close(its_end)
    process.returncode = 0  # it outlives us briefly and is never waited for
    return mark, our_end


def remove_when_killed(folder: Path, *, gone: bool = False) -> None:
    """Let the orphan reaper remove a folder if we are killed; `gone` takes that back."""
    with _REAPER_LOCK:
        _, pipe = _orphan_reaper()
    with suppress(BrokenPipeError):  # the orphan reaper was killed
        os.write(pipe, orphan_reaper.entry(folder, gone=gone))


@contextmanager
def started(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    out: int | IO[bytes] = subprocess.PIPE,
    err: int | IO[bytes] = subprocess.PIPE,
    pass_fds: Sequence[int] = (),
    grace_s: float = _GRACE_S,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program in a process group of its own; end the group on leaving.

    A given `env` replaces the environment; the orphan reaper's mark is always added.
    """
    environment = dict(os.environ if env is None else env)
    with _REAPER_LOCK:
        environment[orphan_reaper.MARK_VARIABLE], _ = _orphan_reaper()
    try:
        process = subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=environment,
            stdin=stdin,
            stdout=out,
            stderr=err,
            pass_fds=pass_fds,
            process_group=0,
        )
    except (OSError, ValueError) as error:  # a ValueError: a NUL in an argument
        where = f" in {cwd}" if cwd and not cwd.is_dir() else ""
        what = f"{argv[0]}: cannot be started{where}: {error}"
        raise ProgramMissingError(what) from error
    try:
        yield process
    finally:
        end_group(process, grace_s=grace_s)
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()


def end_group(process: subprocess.Popen[bytes], *, grace_s: float = _GRACE_S) -> None:
    """Send SIGTERM to the whole group, wait, then SIGKILL what is left of it."""
    for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, grace_s)):
        try:
            os.killpg(process.pid, number)
        except (ProcessLookupError, PermissionError):
            break
        if process.returncode is not None and number == signal.SIGTERM:
            continue  # the leader has ended; its children get no grace period
        try:
            process.wait(timeout=wait_s)
        except subprocess.TimeoutExpired:
            continue
    process.poll()


def run(  # noqa: PLR0913  how a program is started, and what is read from it
    argv: Sequence[str],
    *,
    timeout_s: float,
    silence_s: float | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    log: Path | None = None,
    on_line: Callable[[Channel, str], None] | None = None,
    pass_fds: Sequence[int] = (),
) -> Ended:
    """Run a program to its end; read both channels line by line as they arrive.

    `timeout_s` bounds the whole run, `silence_s` the time between two lines on
    standard output. Raises only if the program cannot be started; whatever it does
    afterwards is in the result.
    """
    begin = time.monotonic()
    out: list[str] = []
    tail: deque[str] = deque(maxlen=TAIL_LINES)

    def take(channel: Channel, line: str) -> None:
        tail.append(line[:TAIL_LINE_CHARACTERS])
        if on_line:
            on_line(channel, line)
        elif channel is Channel.OUT:
            out.append(line + "\n")

    with started(argv, cwd=cwd, env=env, stdin=stdin, pass_fds=pass_fds) as process:
        limit = _read_until_closed(
            process, timeout_s=timeout_s, silence_s=silence_s, log=log, take=take
        )
        if limit:
            end_group(process)
        peak_rss_bytes = _wait(process, until=begin + timeout_s)
    return Ended(
        argv=tuple(argv),
        returncode=process.returncode,
        limit=limit,
        seconds=time.monotonic() - begin,
        out="".join(out),
        tail=tuple(tail),
        peak_rss_bytes=peak_rss_bytes,
        log=log,
    )


def become(argv: Sequence[str], *, cwd: Path) -> NoReturn:
    """Replace this process by a program, which takes over terminal and exit code."""
    os.chdir(cwd)
    os.execv(argv[0], list(argv))  # noqa: S606


def _read_until_closed(
    process: subprocess.Popen[bytes],
    *,
    timeout_s: float,
    silence_s: float | None,
    log: Path | None,
    take: Callable[[Channel, str], None],
) -> Limit | None:
    """Feed lines to `take` until both pipes are closed or a limit is reached."""
    deadline = time.monotonic() + timeout_s
    heard = time.monotonic()
    with selectors.DefaultSelector() as pipes, _log_file(log) as sink:
        for pipe, channel in (
            (process.stdout, Channel.OUT),
            (process.stderr, Channel.ERR),
        ):
            if pipe:
                pipes.register(pipe, selectors.EVENT_READ, (channel, LineSplitter()))
        while pipes.get_map():
            now = time.monotonic()
            quiet_until = heard + silence_s if silence_s else deadline
            until = min(deadline, quiet_until)
            if now >= until:
                return Limit.TOTAL if now >= deadline else Limit.SILENCE
            for key, _ in pipes.select(until - now):
                chunk = os.read(key.fd, _CHUNK_BYTES)
                if not chunk:
                    pipes.unregister(key.fileobj)
                if sink:
                    sink.write(chunk)
                channel, splitter = key.data
                for line in splitter.feed(chunk):
                    take(channel, line.decode(errors="replace"))
                if channel is Channel.OUT:
                    heard = time.monotonic()
    return None


@contextmanager
def _log_file(log: Path | None) -> Iterator[IO[bytes] | None]:
    if log is None:
        yield None
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab", buffering=0) as sink:
        yield sink


def _wait(process: subprocess.Popen[bytes], *, until: float) -> int:
    """Reap the program and return its peak resident set in bytes.

    The pipes may close before the program exits; it is ended at `until`.
    """
    if process.returncode is not None:  # ended at a limit and reaped
        return 0
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return usage.ru_maxrss * 1024
        if time.monotonic() > until:
            end_group(process)
            return 0
        time.sleep(0.002)


def read_log(log: Path) -> str:
    """Return what a program has written so far; empty where its log cannot be read."""
    try:
        return log.read_text(errors="replace")
    except OSError:
        return ""
