"""Brings the stand-ins up and down: one TLS server, told apart by the host's name."""

import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from llamatrix.measure.standins import gemini_api, post_api
from llamatrix.measure.standins.authority import Papers, issue
from llamatrix.measure.standins.request_log import RequestLog, Watched
from llamatrix.measure.tap.serving import serving

HOSTS = (post_api.HOST, gemini_api.HOST)
_NOWHERE = 421  # "misdirected request": a name we do not stand in for


@dataclass(frozen=True, kw_only=True, slots=True)
class StandIns:
    """What a run's stand-ins are made of; they may stand several times in it."""

    models: tuple[str, ...]
    """Served by the Gemini stand-in."""
    log: Path
    """What they were asked; see `request_log`."""
    papers: Papers
    key: str
    """The only key the Gemini stand-in takes."""


def prepare(folder: Path, *, models: tuple[str, ...]) -> StandIns:
    """A new authority, a new key and an empty log, in a folder of the run's own."""
    log = folder / "requests.jsonl"
    log.touch()
    return StandIns(
        models=models,
        log=log,
        papers=issue((*HOSTS, "localhost"), folder),
        key="AIza" + secrets.token_urlsafe(32)[:35],
    )


@contextmanager
def standing(
    stand_ins: StandIns, listener: socket.socket | None = None
) -> Iterator[int]:
    """Serve until the block is left; gives the port.

    On a free port of this machine's loopback, or on a socket that listens already: a
    sandbox hands out the one of its own port 443. TLS ends in this process and the
    log is written by it, so the agent can touch neither.
    """
    api = gemini_api.GeminiApi(key=stand_ins.key, models=stand_ins.models)
    apps = {post_api.HOST: post_api.post_api(), gemini_api.HOST: api.app()}
    app = Watched(_ByHost(apps), RequestLog(stand_ins.log))
    with ExitStack() as held:
        if listener is None:
            listener = held.enter_context(socket.create_server(("127.0.0.1", 0)))
        certificate = stand_ins.papers.server
        held.enter_context(serving(app, [listener], certificate=certificate))
        port: int = listener.getsockname()[1]
        yield port


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
