"""A hub on 127.0.0.1 in a state reported by users, its argument; it prints its port.

`fine`, `renamed` (huggingface_hub#981: 307 to the new name), `removed` (main answers
404, a pinned revision works), `reuploaded` (other bytes under the same name), `squashed`
(the revision is gone).
"""

import hashlib
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WAY = sys.argv[1]
OLD, NEW = b"GGUF" + bytes(4092), b"GGUF" + bytes(4091) + b"!"
CONTENT = NEW if WAY == "reuploaded" else OLD
COMMIT = ("b" if WAY == "reuploaded" else "a") * 40


class Hub(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        return

    def answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self) -> None:
        parts = self.path.lstrip("/").split("/")
        if parts[0] == "bytes":
            return self.answer(200, {}, CONTENT)
        if len(parts) < 5:
            return self.answer(200, {})
        owner, name, _, revision, *file = parts
        if WAY == "renamed" and owner != "new-owner":
            to = f"/new-owner/{name}/resolve/{revision}/{'/'.join(file)}"
            return self.answer(307, {"Location": to})
        if WAY == "removed" and revision == "main":
            return self.answer(404, {"X-Error-Code": "EntryNotFound"})
        if WAY == "squashed" and revision != "main":
            return self.answer(404, {"X-Error-Code": "RevisionNotFound"})
        port = server.server_port
        facts = {
            "Location": f"http://localhost:{port}/bytes/x",
            "X-Repo-Commit": COMMIT,
            "X-Linked-Etag": f'"{hashlib.sha256(CONTENT).hexdigest()}"',
            "X-Linked-Size": str(len(CONTENT)),
        }
        return self.answer(302, facts)

    do_HEAD = do_GET  # noqa: N815


server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
print(server.server_port, flush=True)
server.serve_forever()
