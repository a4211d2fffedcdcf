"""llama-server: its start, what it serves, and its end in every path."""

import re
import shlex
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from llamatrix import shell
from llamatrix.engines.llama_cpp.launch import HOST, read_capabilities, server_argv
from llamatrix.engines.llama_cpp.output import (
    CacheType,
    Props,
    Tokens,
    cache_types,
    diagnose,
    end_tokens,
    parse_metrics,
)
from llamatrix.engines.llama_cpp.spill import off_card, split_graph
from llamatrix.engines.protocol import (
    Counters,
    Launch,
    Memory,
    StartupError,
    StartupFailure,
    Timeouts,
)
from llamatrix.errors import ServeError
from llamatrix.host import available_bytes
from llamatrix.measured_environment import measured_environment
from llamatrix.progress import say
from llamatrix.shell import read_log
from llamatrix.units import bytes_text, duration_text
from llamatrix.web import NoAnswerError, Site, WrongAnswerError, site

_POLL_S = 0.05
_REQUEST_TIMEOUT_S = 10.0
_HEALTH_TIMEOUT_S = 2.0
_PORT_TRIES = 3
_REPORT_EVERY_S = 15.0
_GROUP_GRACE_S = 0.2
_MEMORY_SHARE = 0.9
CONTEXT_STEP = 256
"""llama.cpp rounds a context up to a multiple of this."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Serving:
    """A server that is ready and serves what was requested: an `Endpoint`."""

    launch: Launch
    argv: tuple[str, ...]
    url: str
    """Without a path: clients add `/v1`."""
    log: Path
    props: Props
    caches: tuple[CacheType, ...]
    """Empty where the log does not name them."""
    pid: int
    site: Site
    """Closed before the server is terminated: an open request would delay its end."""
    poll: Callable[[], int | None]
    """Its exit code as the kernel reports it; None while it runs."""

    @property
    def context_tokens(self) -> int:
        return self.props.context_tokens

    @property
    def template_sha256(self) -> str:
        return self.props.template_sha256

    @property
    def chat_template(self) -> str:
        return self.props.chat_template

    @property
    def is_alive(self) -> bool:
        return memory_of(self.pid) is not None

    def about(self) -> dict[str, str]:
        caches = ", ".join(f"K {cache.k} V {cache.v}" for cache in self.caches)
        return {
            "cache": caches or "not named in the log",
            "build": self.props.build_info,
        }

    def memory(self) -> Memory:
        memory = memory_of(self.pid)
        if memory is None:
            raise ServeError(f"llama-server is gone\nlog: {self.log}")
        return memory

    def counters(self) -> Counters:
        """Return what was done since the start; compare two by `since`."""
        reply = self.site.get("/metrics", timeout_s=_REQUEST_TIMEOUT_S)
        if not reply.ok:
            raise ServeError(
                f"{reply.url}: HTTP {reply.status}; set metrics = true in matrix.toml"
            )
        return parse_metrics(reply.text)

    def diagnose(self, log_text: str, returncode: int) -> tuple[StartupFailure, str]:
        return diagnose(log_text, returncode)

    def off_card(self, *, host_bytes: int) -> tuple[str, ...]:
        return off_card(read_log(self.log), host_bytes=host_bytes)

    def split_graph(self) -> tuple[str, ...]:
        return split_graph(read_log(self.log))

    def count_tokens(self, text: str, *, timeout_s: float) -> int:
        return len(self.tokenize(text, timeout_s=timeout_s))

    def tokenize(
        self, text: str, *, timeout_s: float = 60.0, add_special: bool = False
    ) -> tuple[int, ...]:
        return tokenize(self.site, text, timeout_s=timeout_s, add_special=add_special)

    def end_tokens(self) -> tuple[int, ...]:
        """Return the tokens that end a generation, from the log."""
        return end_tokens(read_log(self.log))


def tokenize(
    site: Site, text: str, *, timeout_s: float, add_special: bool = False
) -> tuple[int, ...]:
    """Return a text's tokens by the served vocabulary; special ones are parsed as such.

    `add_special` puts the vocabulary's own beginning in front. NoAnswerError or
    WrongAnswerError where the server does not answer.
    """
    request = {"content": text, "add_special": add_special, "parse_special": True}
    return site.post("/tokenize", request, timeout_s=timeout_s).read(Tokens).tokens


@contextmanager
def running(
    launch: Launch,
    *,
    log: Path,
    timeouts: Timeouts | None = None,
    memory_limit_bytes: int | None = None,
) -> Iterator[Serving]:
    """Start llama-server, wait until it is ready, check it; end it on leaving.

    The limit holds while it loads and bounds memory that no file backs (default: nine
    tenths of what is free now): an absurd context is ended before the machine is.
    Raises StartupError where it never becomes ready.
    """
    timeouts = timeouts or Timeouts()
    limit_bytes = memory_limit_bytes or int(available_bytes() * _MEMORY_SHARE)
    tries = 1 if launch.port else _PORT_TRIES
    with ExitStack() as stack:
        serving = None
        while serving is None:
            tries -= 1
            try:
                serving = _start(stack, launch, log, timeouts, limit_bytes)
            except StartupError as error:
                # another program may have taken the port since it was chosen
                if error.failure is not StartupFailure.PORT_TAKEN or not tries:
                    raise
        yield serving


def _start(
    stack: ExitStack, launch: Launch, log: Path, timeouts: Timeouts, limit_bytes: int
) -> Serving:
    """Try to start once; what has to be ended later goes onto the stack."""
    port = launch.port or free_port()
    url = f"http://{HOST}:{port}"
    argv = server_argv(
        launch, port=port, capabilities=read_capabilities(launch.program)
    )
    with ExitStack() as attempt:
        process = attempt.enter_context(_process(launch, argv, log, timeouts))
        own_site = attempt.enter_context(site(url))
        start = _Start(
            launch=launch, argv=argv, port=port, log=log, process=process, site=own_site
        )
        start.wait(timeouts.ready_s, limit_bytes)
        props, caches = start.verify()
        stack.push(attempt.pop_all())
        return Serving(
            launch=launch,
            argv=argv,
            url=url,
            log=log,
            props=props,
            caches=caches,
            pid=process.pid,
            site=own_site,
            poll=process.poll,
        )


class _Process(Protocol):
    """What is needed of a started program."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def terminate(self) -> None: ...


@contextmanager
def _process(
    launch: Launch, argv: tuple[str, ...], log: Path, timeouts: Timeouts
) -> Iterator[_Process]:
    """Run the program; end it by two SIGTERMs, then let `shell.started` kill its group.

    One SIGTERM may not end a server with a request in flight (both pins).
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("wb") as sink,
        shell.started(
            argv,
            env=measured_environment(launch.server.env),
            out=sink,
            err=sink,
            grace_s=_GROUP_GRACE_S,
        ) as process,
    ):
        try:
            yield process
        finally:
            for wait_s in (timeouts.first_s, timeouts.second_s):
                if process.poll() is not None:
                    break
                process.terminate()
                deadline = time.monotonic() + wait_s
                while process.poll() is None and time.monotonic() < deadline:
                    time.sleep(_POLL_S)


_REMEDIES = {
    StartupFailure.PORT_TAKEN: "another program has the port; stop it or choose another "
    "--port",
    StartupFailure.WEIGHTS: "the weights file is missing, damaged or of an unknown kind; "
    "run `invoke weights`",
    StartupFailure.TEMPLATE: "the chat template cannot be used; `invoke template-check` "
    "shows which case it fails",
    StartupFailure.MEMORY: "the model and its context do not fit; lower ctx_size in "
    "matrix.toml, or free memory",
    StartupFailure.SLOW: "it did not become ready in time; see the log for its progress",
    StartupFailure.UNKNOWN: "see the log",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Start:
    """One attempt at a start."""

    launch: Launch
    argv: tuple[str, ...]
    port: int
    log: Path
    process: _Process
    site: Site

    def wait(self, ready_s: float, limit_bytes: int) -> None:
        """Return when the server is ready; StartupError where it will not be."""
        begin = reported = time.monotonic()
        while True:
            self._require_alive()
            memory = memory_of(self.process.pid)
            if memory and memory.own_bytes > limit_bytes:
                raise self._error(
                    StartupFailure.MEMORY,
                    f"took {bytes_text(memory.own_bytes)} while loading (limit "
                    f"{bytes_text(limit_bytes)}) and was ended",
                )
            missing = self._not_ready()
            if not missing:
                return
            now = time.monotonic()
            if now - reported > _REPORT_EVERY_S:
                reported = now
                say(
                    f"{self.launch.alias}: waiting for llama-server for "
                    f"{duration_text(now - begin)} (at most {duration_text(ready_s)}): "
                    f"{missing}; log: {self.log}"
                )
            if now - begin > ready_s:
                raise self._error(
                    StartupFailure.SLOW,
                    f"was not ready after {duration_text(ready_s)}: {missing}",
                )
            time.sleep(_POLL_S)

    def _not_ready(self) -> str:
        """Say what `/health` answers while the server is not ready; empty when it is.

        Refused, then 503 while the model loads, then 200. Another server may hold the
        port and answer as ours would: the owner is looked up last, as that takes
        longest.
        """
        try:
            reply = self.site.get("/health", timeout_s=_HEALTH_TIMEOUT_S)
        except NoAnswerError:
            return "/health does not answer"
        if not reply.ok:
            return f"/health answers HTTP {reply.status}: {reply.text[:100]}"
        ours = listens(self.process.pid, self.port)
        return "" if ours else f"another program answers on port {self.port}"

    def verify(self) -> tuple[Props, tuple[CacheType, ...]]:
        """Read what the server reports of itself; ServeError where it differs."""
        try:
            props = self.site.get("/props", timeout_s=_REQUEST_TIMEOUT_S).read(Props)
        except (NoAnswerError, WrongAnswerError) as error:
            self._require_alive()
            raise ServeError(f"{error}\nlog: {self.log}") from error
        caches = cache_types(read_log(self.log))
        lines = [
            f"  {what}: asked {asked}, served {served}"
            for what, asked, served in _differences(self.launch, props, caches)
        ]
        if lines:
            title = f"llama-server serves {self.launch.alias} otherwise than asked"
            raise ServeError("\n".join([title, *lines]))
        return props, caches

    def _require_alive(self) -> None:
        code = self.process.poll()
        if code is None:
            return
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        failure, line = diagnose(read_log(self.log), code)
        raise self._error(failure, f"ended while starting ({how})", line)

    def _error(
        self, failure: StartupFailure, what: str, log_line: str = ""
    ) -> StartupError:
        text = [
            f"llama-server {what}: {_REMEDIES[failure]}",
            *([f"its log says: {log_line}"] if log_line else []),
            shlex.join(self.argv),
            f"log: {self.log}",
            log_tail(self.log),
        ]
        return StartupError("\n".join(filter(None, text)), failure, log_line)


def _differences(
    launch: Launch, props: Props, caches: tuple[CacheType, ...]
) -> Iterator[tuple[str, object, object]]:
    server = launch.server
    slot_tokens = launch.model.ctx_size // server.parallel
    if not slot_tokens <= props.context_tokens < slot_tokens + CONTEXT_STEP:
        yield "ctx_size of one slot", slot_tokens, props.context_tokens
    if props.total_slots != server.parallel:
        yield "parallel", server.parallel, props.total_slots
    if props.model_alias != launch.alias:
        yield "alias", launch.alias, props.model_alias
    pin, template = launch.template_pin, launch.template_sha256()
    if pin and not props.is_template(pin):
        yield "chat template (sha256 in matrix.lock)", pin, props.template_sha256
    elif template not in (None, props.template_sha256):
        yield "chat template (sha256)", template, props.template_sha256
    asked = CacheType(k=server.cache_type_k, v=server.cache_type_v)
    if caches and caches[0] != asked:
        yield "cache types", asked, caches[0]
    commit = props.build_info.rpartition("-")[2]
    if launch.commit and not launch.commit.startswith(commit):
        yield "build commit", launch.commit, commit


def serve_in_foreground(
    launch: Launch,
    *,
    log: Path,
    show: Callable[[Serving], None],
    until: threading.Event | None = None,
    timeouts: Timeouts | None = None,
) -> None:
    """Serve until Ctrl-C, or until the event is set; ServeError where the server ends.

    `show` is called once, when the server is ready.
    """
    until = until or threading.Event()
    say(f"starting {launch.alias} (log: {log})")
    try:
        with running(launch, log=log, timeouts=timeouts) as serving:
            show(serving)
            while not until.wait(1.0):
                if not serving.is_alive:
                    raise ServeError(
                        f"llama-server ended by itself\nlog: {log}\n{log_tail(log)}"
                    )
    except KeyboardInterrupt:
        say(f"{launch.alias} is stopped")


def log_tail(log: Path) -> str:
    lines = read_log(log).splitlines()[-shell.TAIL_LINES :]
    return "\n".join(f"  | {line}" for line in lines)


def free_port() -> int:
    """Return a port that is free now; whoever binds it first has it."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def listens(pid: int, port: int) -> bool:
    """Whether this very process listens on the port; False where it is gone."""
    import psutil

    try:
        sockets = psutil.Process(pid).net_connections("tcp4")
    except psutil.Error:
        return False
    return any(
        socket.status == psutil.CONN_LISTEN and socket.laddr.port == port
        for socket in sockets
    )


def memory_of(pid: int, *, proc: Path = Path("/proc")) -> Memory | None:
    """Read a process's memory; None where it is gone, and for a zombie.

    psutil has no peak of another process, and counts shared memory as backed by files.
    """
    try:
        text = (proc / str(pid) / "status").read_text()
    except OSError:
        return None
    sizes = {
        key: int(kib) * 1024
        for key, kib in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)
    }
    if "VmRSS" not in sizes:
        return None
    return Memory(
        rss_bytes=sizes["VmRSS"],
        peak_rss_bytes=sizes["VmHWM"],
        own_bytes=sizes["RssAnon"] + sizes.get("RssShmem", 0),
    )
