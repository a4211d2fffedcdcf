"""What a process holds in memory, as Linux tells it."""

import re
import shlex
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from llamatrix import shell
from llamatrix.engines.llama_cpp.http_api import (
    CacheType,
    Counters,
    Props,
    cache_types,
    check,
    parse_metrics,
)
from llamatrix.engines.llama_cpp.launch import HOST, Launch, read_capabilities
from llamatrix.errors import ServeError
from llamatrix.measured_environment import measured_environment
from llamatrix.progress import say
from llamatrix.shell import TAIL_LINES
from llamatrix.units import bytes_text, duration_text
from llamatrix.web import NoAnswerError, Site, WrongAnswerError, site

_PROC = Path("/proc")


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    rss_bytes: int
    """The resident set: weights mapped from their file included."""
    peak_rss_bytes: int
    own_bytes: int
    """What no file backs: the cache, buffers, state."""


def memory_of(pid: int, *, proc: Path = _PROC) -> Memory | None:
    """None where the process is gone."""
    try:
        text = (proc / str(pid) / "status").read_text()
    except OSError:
        return None
    sizes = {
        key: int(kib) * 1024
        for key, kib in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)
    }
    if "VmRSS" not in sizes:  # a zombie holds nothing
        return None
    return Memory(
        rss_bytes=sizes["VmRSS"],
        peak_rss_bytes=sizes["VmHWM"],
        own_bytes=sizes["RssAnon"] + sizes.get("RssShmem", 0),
    )


def available_bytes(*, proc: Path = _PROC) -> int:
    """What programs may still take before the machine swaps or kills."""
    text = (proc / "meminfo").read_text()
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", text, re.MULTILINE)
    if not found:
        raise ValueError(f"{proc / 'meminfo'}: no MemAvailable")
    return int(found[1]) * 1024


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


class StartupFailure(StrEnum):
    PORT_TAKEN = "port taken"
    WEIGHTS = "weights"
    TEMPLATE = "template"
    MEMORY = "memory"
    SLOW = "slow"
    UNKNOWN = "unknown"


_SIGNS = (
    (StartupFailure.PORT_TAKEN, r"couldn't bind HTTP server socket"),
    (
        StartupFailure.TEMPLATE,
        r"failed to initialize chat template|chat template is not supported|--chat-template-file",
    ),
    (
        StartupFailure.MEMORY,
        r"failed to create.context|failed to allocate|out of memory",
    ),
    (StartupFailure.WEIGHTS, r"failed to load model|corrupted or incomplete"),
)
"""Words of llama-server's log at b8643 and of October 2026, the most telling first."""

_REMEDY = {
    StartupFailure.PORT_TAKEN: "another program has the port; stop it or choose another --port",
    StartupFailure.WEIGHTS: "the weights file is missing, damaged or of an unknown kind; "
    "run `invoke weights`",
    StartupFailure.TEMPLATE: "the chat template cannot be used; `invoke template-check` shows "
    "which case it fails",
    StartupFailure.MEMORY: "the model and its context do not fit; lower ctx_size in matrix.toml, "
    "or free memory",
    StartupFailure.SLOW: "it did not become ready in time; see the log for where it stands",
    StartupFailure.UNKNOWN: "see the log",
}


class StartupError(ServeError):
    """The server ended, or was ended, before it was ready."""

    def __init__(self, text: str, failure: StartupFailure, sign: str) -> None:
        super().__init__(text)
        self.failure = failure
        self.sign = sign
        """The line of the log that told; empty where none did."""


def diagnose(log_text: str, returncode: int | None) -> tuple[StartupFailure, str]:
    """The first sign in the log, and the line it stands in.

    The pin of April says that the cache cannot be allocated and then runs into a
    segmentation fault: the words decide, not the signal.
    """
    for failure, sign in _SIGNS:
        if found := re.search(
            f"^.*({sign}).*$", log_text, re.IGNORECASE | re.MULTILINE
        ):
            return failure, found[0].strip()
    return (
        StartupFailure.MEMORY
        if returncode == -signal.SIGKILL
        else StartupFailure.UNKNOWN
    ), ""


def startup_error(
    failure: StartupFailure,
    *,
    what: str,
    argv: Sequence[str],
    log: Path,
    sign: str = "",
) -> StartupError:
    lines = read_log(log).splitlines()[-TAIL_LINES:]
    text = "\n".join(
        [
            f"llama-server {what}: {_REMEDY[failure]}",
            *([f"it said: {sign}"] if sign else []),
            shlex.join(argv),
            f"log: {log}",
            *(f"  | {line}" for line in lines),
        ]
    )
    return StartupError(text, failure, sign)


def read_log(log: Path) -> str:
    try:
        return log.read_text(errors="replace")
    except OSError:
        return ""


_LOOK_EVERY_S = 0.05
_ASK_TIMEOUT_S = 10.0
_HEALTH_TIMEOUT_S = 2.0
_PORT_TRIES = 3
_TELL_EVERY_S = 15.0
_LEFT_OVER_GRACE_S = 0.2
_MEMORY_SHARE = 0.9


class _Process(Protocol):
    """What is needed of a started program."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def terminate(self) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeouts:
    """How long each thing may take before the next, harder one is done."""

    ready_s: float = 900
    """A cold 20 GB file from a slow disk needs minutes."""
    first_s: float = 10
    """After the first SIGTERM: requests in flight are given up by then."""
    second_s: float = 2
    """After the second; then comes SIGKILL."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Serving:
    """A server that is ready, and is what was asked for."""

    launch: Launch
    argv: tuple[str, ...]
    url: str
    """Without a path: clients add `/v1`."""
    log: Path
    props: Props
    caches: tuple[CacheType, ...]
    """Empty where the log does not tell."""
    pid: int
    site: Site
    """Closed before the server is asked to end: an open request would hold it."""
    poll: Callable[[], int | None]
    """Its exit code as the kernel tells it; None while it runs."""

    def memory(self) -> Memory:
        found = memory_of(self.pid)
        if found is None:
            raise ServeError(f"llama-server is gone\nlog: {self.log}")
        return found

    def counters(self) -> Counters:
        """What was done since the start; take `since` of two of them."""
        reply = self.site.get("/metrics", timeout_s=_ASK_TIMEOUT_S)
        if not reply.ok:
            raise ServeError(
                f"{reply.url}: HTTP {reply.status}; set metrics = true in matrix.toml"
            )
        return parse_metrics(reply.text)


@contextmanager
def running(
    launch: Launch,
    *,
    log: Path,
    timeouts: Timeouts | None = None,
    memory_limit_bytes: int | None = None,
) -> Iterator[Serving]:
    """Start llama-server, wait until it is ready, check it; end it on leaving.

    The limit holds while it loads and bounds what no file backs (default: nine
    tenths of what is free now): an absurd context is ended before the machine is.
    Raises StartupError where it never becomes ready.
    """
    timeouts = timeouts or Timeouts()
    limit_bytes = memory_limit_bytes or int(available_bytes() * _MEMORY_SHARE)
    with ExitStack() as held:
        yield _begin_somewhere(held, launch, log, timeouts, limit_bytes)


def _begin_somewhere(
    held: ExitStack, launch: Launch, log: Path, timeouts: Timeouts, limit_bytes: int
) -> Serving:
    """Try another port where one was taken between choosing and binding it."""
    tries = 1 if launch.port else _PORT_TRIES
    while True:
        tries -= 1
        try:
            return _begin(held, launch, log, timeouts, limit_bytes)
        except StartupError as error:
            if error.failure is not StartupFailure.PORT_TAKEN or not tries:
                raise


def _begin(
    held: ExitStack, launch: Launch, log: Path, timeouts: Timeouts, limit_bytes: int
) -> Serving:
    """One attempt at a start; what it leaves to end is put on the stack."""
    port = launch.port or free_port()
    url = f"http://{HOST}:{port}"
    argv = launch.argv(port=port, capabilities=read_capabilities(launch.program))
    with ExitStack() as attempt:
        process = attempt.enter_context(
            _started(argv, env=launch.server.env, log=log, timeouts=timeouts)
        )
        own_site = attempt.enter_context(site(url))
        starting = _Start(launch=launch, argv=argv, port=port, log=log, process=process)
        starting.wait(own_site, timeouts.ready_s, limit_bytes)
        serving = starting.look(own_site, url)
        held.push(attempt.pop_all())
        return serving


@dataclass(frozen=True, kw_only=True, slots=True)
class _Start:
    """One attempt at a start."""

    launch: Launch
    argv: tuple[str, ...]
    port: int
    log: Path
    process: _Process

    def wait(self, own_site: Site, ready_s: float, limit_bytes: int) -> None:
        begun = told = time.monotonic()
        deadline = begun + ready_s
        while True:
            self._ensure_alive()
            memory = memory_of(self.process.pid)
            if memory and memory.own_bytes > limit_bytes:
                raise self._dead(
                    StartupFailure.MEMORY,
                    f"took {bytes_text(memory.own_bytes)} while loading (limit "
                    f"{bytes_text(limit_bytes)}) and was ended",
                )
            answer = self._health(own_site)
            if not answer:
                return
            if time.monotonic() - told > _TELL_EVERY_S:
                told = time.monotonic()
                say(
                    f"{self.launch.alias}: waiting for llama-server for "
                    f"{duration_text(told - begun)} (at most {duration_text(ready_s)}): "
                    f"{answer}; log: {self.log}"
                )
            if time.monotonic() > deadline:
                raise self._dead(
                    StartupFailure.SLOW,
                    f"was not ready after {duration_text(ready_s)}: {answer}",
                )
            time.sleep(_LOOK_EVERY_S)

    def look(self, own_site: Site, url: str) -> Serving:
        """Read what it says of itself, and refuse what was not asked for."""
        try:
            reply = own_site.get("/props", timeout_s=_ASK_TIMEOUT_S)
            props = reply.read(Props)
        except (NoAnswerError, WrongAnswerError) as error:
            self._ensure_alive()
            raise ServeError(f"{error}\nlog: {self.log}") from error
        caches = cache_types(read_log(self.log))
        check(self.launch, props, caches)
        return Serving(
            launch=self.launch,
            argv=self.argv,
            url=url,
            log=self.log,
            props=props,
            caches=caches,
            pid=self.process.pid,
            site=own_site,
            poll=self.process.poll,
        )

    def _health(self, own_site: Site) -> str:
        """What `/health` answers while this server is not ready; empty when it is.

        Refused, then 503 while the model loads, then 200. Another server may have the
        port, and answer as ours would: who holds it is looked up last, as that takes
        longest.
        """
        try:
            reply = own_site.get("/health", timeout_s=_HEALTH_TIMEOUT_S)
        except NoAnswerError:
            return "/health does not answer"
        if not reply.ok:
            return f"/health answers HTTP {reply.status}: {reply.text[:100]}"
        ours = listens(self.process.pid, self.port)
        return "" if ours else f"another program answers on port {self.port}"

    def _ensure_alive(self) -> None:
        code = self.process.poll()
        if code is None:
            return
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        failure, sign = diagnose(read_log(self.log), code)
        raise self._dead(failure, f"ended while starting ({how})", sign)

    def _dead(self, failure: StartupFailure, what: str, sign: str = "") -> StartupError:
        return startup_error(
            failure, what=what, argv=self.argv, log=self.log, sign=sign
        )


@contextmanager
def _started(
    argv: tuple[str, ...], *, env: Mapping[str, str], log: Path, timeouts: Timeouts
) -> Iterator[_Process]:
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("wb") as sink,
        shell.started(
            argv,
            env=measured_environment(env),
            out=sink,
            err=sink,
            grace_s=_LEFT_OVER_GRACE_S,
        ) as process,
    ):
        try:
            yield process
        finally:
            _stop(process, timeouts)


def _stop(process: _Process, timeouts: Timeouts) -> None:
    """Two SIGTERMs: with a request in flight one may not end it (both pins).

    What then is left of the group, `shell.started` kills.
    """
    for wait_s in (timeouts.first_s, timeouts.second_s):
        if process.poll() is not None:
            return
        process.terminate()
        deadline = time.monotonic() + wait_s
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY_S)
