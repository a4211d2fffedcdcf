"""A small hub on this machine: revisions, gates, redirects, ranges and lost connections.

As the real one, it tells revision, sha256 and size on a redirect to another host that
has the bytes.
"""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REPOSITORY = "someone/Some-GGUF"
FILE = "some.gguf"
MAIN = "a" * 40


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass(kw_only=True)
class Asked:
    """One request."""

    method: str
    path: str
    range: str | None
    token: str | None


@dataclass(kw_only=True)
class HubStub:
    files: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    """By repository, revision and file."""
    newest: dict[str, str] = field(default_factory=dict)
    """The revision of a repository's main branch."""
    sends: dict[str, bytes] = field(default_factory=dict)
    """What is sent instead of the bytes of a sha256."""
    cuts: list[int] = field(default_factory=list)
    """After how many bytes the next connections are closed."""
    gate: int = 0
    """The status of every reply; 0 for the normal ones."""
    gate_code: str = ""
    """The hub's word for the reason of `status`."""
    ranges: bool = True
    asked: list[Asked] = field(default_factory=list)
    port: int = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def fetched(self) -> list[Asked]:
        """Requests for bytes."""
        return [one for one in self.asked if one.path.startswith("/bytes/")]

    def publish(
        self,
        content: bytes,
        *,
        repository: str = REPOSITORY,
        file: str = FILE,
        revision: str = MAIN,
    ) -> None:
        """Make `content` the file of a new revision, which main then is at."""
        self.files[repository, revision, file] = content
        self.newest[repository] = revision


class _Answer(BaseHTTPRequestHandler):
    hub: HubStub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def _answer(self) -> None:
        wanted = self.headers.get("Range")
        token = self.headers.get("Authorization")
        self.hub.asked.append(
            Asked(method=self.command, path=self.path, range=wanted, token=token)
        )
        if self.path.startswith("/bytes/"):
            self._bytes(self.path.removeprefix("/bytes/"), wanted)
        elif self.hub.gate:
            self._refuse(self.hub.gate, self.hub.gate_code)
        else:
            self._resolve()

    def _resolve(self) -> None:
        owner, name, _, revision, *file = self.path.lstrip("/").split("/")
        repository = f"{owner}/{name}"
        if repository not in self.hub.newest:
            self._refuse(404, "RepoNotFound")
            return
        commit = self.hub.newest[repository] if revision == "main" else revision
        known = {entry[1] for entry in self.hub.files if entry[0] == repository}
        content = self.hub.files.get((repository, commit, "/".join(file)))
        if commit not in known:
            self._refuse(404, "RevisionNotFound")
        elif content is None:
            self._refuse(404, "EntryNotFound")
        else:
            place = f"http://localhost:{self.hub.port}/bytes/{sha256(content)}"
            self._head(
                302,
                {
                    "Location": place,
                    "X-Repo-Commit": commit,
                    "X-Linked-Etag": f'"{sha256(content)}"',
                    "X-Linked-Size": str(len(content)),
                },
            )

    def _bytes(self, name: str, wanted: str | None) -> None:
        by_hash = {sha256(content): content for content in self.hub.files.values()}
        content = self.hub.sends.get(name, by_hash[name])
        begin = int(wanted.split("=")[1].partition("-")[0]) if wanted else 0
        if wanted and self.hub.ranges:
            span = f"bytes {begin}-{len(content) - 1}/{len(content)}"
            self._head(206, {"Content-Range": span}, len(content) - begin)
        else:
            begin = 0
            self._head(200, {}, len(content))
        left = content[begin:]
        if self.hub.cuts:
            left = left[: self.hub.cuts.pop(0)]
            self.close_connection = True
        self.wfile.write(left)

    def _refuse(self, status: int, code: str) -> None:
        self._head(status, {"X-Error-Code": code} if code else {})

    def _head(self, status: int, headers: dict[str, str], length: int = 0) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()


@contextmanager
def serve_hub_stub() -> Iterator[HubStub]:
    hub = HubStub()
    answer = type("Answer", (_Answer,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), answer)
    hub.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
