"""Serves the stubs: web services by host name under TLS, Context7 and a package index.

TLS ends in the harness's process, which also writes the request logs: programs in a
sandbox can reach neither keys nor logs.
"""

import secrets
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import trustme
from starlette.responses import Response
from starlette.routing import Host, Router
from starlette.types import ASGIApp

from llamatrix.provision.python import provide_bytecode
from llamatrix.proxy.serving import loopback_listener, serving
from llamatrix.sandbox.forwarding import answering
from llamatrix.trials.stubs import gemini_api, post_api
from llamatrix.trials.stubs.context7_api import PAGES, context7_api
from llamatrix.trials.stubs.request_log import Watched
from llamatrix.trials.stubs.wheel_index import wheel_index
from llamatrix.trials.stubs.world import Switch, World

HOSTS = (post_api.HOST, gemini_api.HOST)
SWITCH_KEY = "session.key"
"""The file, in a run's folder, with the key for the services' switch."""
_WORDS = ("dolor", "amet", "magna", "tempor", "nulla", "fugiat", "culpa", "mollit")
_NOWHERE = 421  # "misdirected request": a host without a stub


class TlsFiles(NamedTuple):
    """A certificate authority for one run, as files for a server and its clients."""

    server: Path
    """The server's private key and certificate chain."""
    authority: Path
    """The authority alone: for a sandbox that reaches nothing else."""
    authorities: Path
    """It and those that this machine trusts: where other servers are reached too."""


def issue(names: tuple[str, ...], folder: Path) -> TlsFiles:
    """Create an authority and one certificate for all names."""
    authority = trustme.CA()
    tls_files = TlsFiles(
        folder / "server.pem", folder / "authority.pem", folder / "authorities.pem"
    )
    tls_files.server.touch(mode=0o600)
    authority.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(
        tls_files.server
    )
    ours = authority.cert_pem.bytes().decode()
    tls_files.authority.write_text(ours)
    trusted = ssl.create_default_context().get_ca_certs(binary_form=True)
    tls_files.authorities.write_text(
        ours + "".join(ssl.DER_cert_to_PEM_cert(cert) for cert in trusted)
    )
    return tls_files


def trusting(bundle: Path) -> Mapping[str, str]:
    """Return variables with which Python, requests, curl, uv and Node trust a bundle."""
    names = (
        *("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        "NODE_EXTRA_CA_CERTS",
    )
    return dict.fromkeys(names, str(bundle))


@dataclass(frozen=True, kw_only=True, slots=True)
class Services:
    """Ports of this machine's loopback; a sandbox may map them to others."""

    context7: int
    """Context7's back end: `CONTEXT7_API_URL`."""
    packages: int
    """The package index; see `wheel_index.indexed`."""
    bytecode: Path
    """The folder with the compiled modules of its wheels; see `provide_bytecode`."""
    pages_served: Callable[[], int]
    """Returns how many pages of documentation were served so far."""


@contextmanager
def services(*, wheels: Path, log: Path) -> Iterator[Services]:
    """Serve both while the block runs, with the requests to both in a new `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    pages = Watched(context7_api(), log, counted=PAGES)
    with ExitStack() as stack:
        ports: list[int] = []
        for app in (pages, Watched(wheel_index(wheels), log)):
            listener = stack.enter_context(loopback_listener())
            stack.enter_context(serving(app, [listener]))
            ports.append(_port(listener))
        yield Services(
            context7=ports[0],
            packages=ports[1],
            bytecode=provide_bytecode(wheels),
            pages_served=lambda: pages.count,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Stubs:
    """What the stubs of a run consist of; they may be served several times in it."""

    models: tuple[str, ...]
    """Of the Gemini stub."""
    log: Path
    """The request log."""
    tls_files: TlsFiles
    key: str
    """The only key that the Gemini stub accepts."""
    title: str = ""
    """How a post's title begins in the OTHER world."""
    foreign_keys: tuple[str, ...] = ()
    """Keys of other runs: a program that sends one has stored it somewhere."""
    switch: Switch | None = None
    """Changes what they answer."""

    def for_judging(self, folder: Path) -> "Stubs":
        """Return the same services for the checks: another key and log, a switch."""
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
    """Create an authority, a key and an empty log, in a folder of the run's own."""
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
def serve_stubs(stubs: Stubs) -> Iterator[int]:
    """Serve on a free port of this machine's loopback, which is yielded."""
    app, certificate = _app(stubs), stubs.tls_files.server
    with (
        loopback_listener() as listener,
        serving(app, [listener], certificate=certificate),
    ):
        yield _port(listener)


@contextmanager
def serve_stubs_for_checks(stubs: Stubs) -> Iterator[tuple[int, int]]:
    """Serve the stubs for judged programs; yield their port and their switch's."""
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
    router = Router(
        [Host(name, app) for name, app in apps.items()],
        default=Response(status_code=_NOWHERE),
    )
    return Watched(router, stubs.log)
