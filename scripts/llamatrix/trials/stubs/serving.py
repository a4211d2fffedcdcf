"""Brings the stand-ins up and down: one TLS server, told apart by the host's name."""

import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from llamatrix.proxy.serving import loopback_listener, serving
from llamatrix.sandbox.forwarding import answering
from llamatrix.trials.stubs import gemini_api, post_api
from llamatrix.trials.stubs.authority import TlsFiles, issue
from llamatrix.trials.stubs.request_log import RequestLog, Watched
from llamatrix.trials.stubs.world import Switch, World

HOSTS = (post_api.HOST, gemini_api.HOST)
SWITCH_KEY = "session.key"
"""The file, in a run's folder, with the key for the services' switch."""
_WORDS = ("dolor", "amet", "magna", "tempor", "nulla", "fugiat", "culpa", "mollit")
_NOWHERE = 421  # "misdirected request": a name we do not stand in for


@dataclass(frozen=True, kw_only=True, slots=True)
class Stubs:
    """What a run's stand-ins are made of; they may stand several times in it."""

    models: tuple[str, ...]
    """Served by the Gemini stand-in."""
    log: Path
    """What they were asked; see `request_log`."""
    tls_files: TlsFiles
    key: str
    """The only key the Gemini stand-in takes."""
    title: str = ""
    """What a post's title begins with in a world where it is another."""
    foreign_keys: tuple[str, ...] = ()
    """Keys of other runs; who sends one has kept it somewhere."""
    switch: Switch | None = None
    """With one the stand-ins can answer otherwise."""

    def for_judging(self, folder: Path) -> "Stubs":
        """The same services for the judge: another key, another log, a switch."""
        log = folder / "judged-requests.jsonl"
        log.touch()
        return replace(
            self,
            log=log,
            key=_new_key(),
            title=f"{secrets.choice(_WORDS)} {secrets.token_hex(4)}",
            foreign_keys=(*self.foreign_keys, self.key),
            switch=Switch(key_file=folder / SWITCH_KEY),
        )


def prepare(folder: Path, *, models: tuple[str, ...]) -> Stubs:
    """A new authority, a new key and an empty log, in a folder of the run's own."""
    log = folder / "requests.jsonl"
    log.touch()
    return Stubs(
        models=models,
        log=log,
        tls_files=issue((*HOSTS, "localhost"), folder),
        key=_new_key(),
    )


def _new_key() -> str:
    return "AIza" + secrets.token_urlsafe(32)[:35]


@contextmanager
def serve_stubs(stubs: Stubs, listener: socket.socket | None = None) -> Iterator[int]:
    """Serve until the block is left; gives the port.

    On a free port of this machine's loopback, or on a socket that listens already: a
    sandbox hands out the one of its own port 443. TLS ends in this process and the
    log is written by it, so the agent can touch neither.
    """
    with ExitStack() as held:
        if listener is None:
            listener = held.enter_context(loopback_listener())
        app, certificate = _app(stubs), stubs.tls_files.server
        held.enter_context(serving(app, [listener], certificate=certificate))
        yield _port(listener)


@contextmanager
def serve_stubs_for_checks(stubs: Stubs) -> Iterator[tuple[int, int]]:
    """Serve what judged programs ask; gives its port and that of its switch."""
    if stubs.switch is None:
        raise AssertionError
    with loopback_listener() as control:
        handler = stubs.switch.handler()
        with answering([(control, handler)]), serve_stubs(stubs) as port:
            yield port, _port(control)


def _port(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


def _app(stubs: Stubs) -> ASGIApp:
    switch = stubs.switch

    def world() -> World:
        return switch.world if switch else World.REAL

    images = gemini_api.GeminiApi(
        key=stubs.key,
        models=stubs.models,
        world=world,
        foreign_keys=stubs.foreign_keys,
    )
    posts = post_api.PostApi(world=world, title=stubs.title)
    apps = {post_api.HOST: posts.app(), gemini_api.HOST: images.app()}
    return Watched(_ByHost(apps), RequestLog(stubs.log))


class _ByHost:
    """Hands each request to the app of its host."""

    def __init__(self, apps: Mapping[str, ASGIApp]) -> None:
        self._apps = apps

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # it has no life of its own to begin and end
            return
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        app = self._apps.get(host.partition(":")[0], _misdirected)
        await app(scope, receive, send)


async def _misdirected(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": _NOWHERE, "headers": []})
    await send({"type": "http.response.body", "body": b""})
