"""HTTP requests with typed replies: the one home of httpx."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import httpx
import msgspec

from llamatrix.errors import BenchError

Kind = TypeVar("Kind")


class NoAnswerError(BenchError):
    """No answer: connection refused, lost, or timed out."""


class LateAnswerError(NoAnswerError):
    """No answer within the time limit."""


class WrongAnswerError(BenchError):
    """The answer is not what the caller expects."""

    def __init__(self, text: str, *, status: int | None = None, body: str = "") -> None:
        super().__init__(text)
        self.status = status
        """The HTTP status; None where that was not what is wrong."""
        self.body = body


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    url: str
    status: int
    body: bytes
    server: str = ""
    """The header of this name."""

    @property
    def ok(self) -> bool:
        return self.status == httpx.codes.OK

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    def read(self, kind: type[Kind]) -> Kind:
        """Decode the body as JSON of one type; WrongAnswerError for any status but 200."""
        if not self.ok:
            raise WrongAnswerError(f"{self.url}: HTTP {self.status}: {self.text[:300]}")
        try:
            return msgspec.json.decode(self.body, type=kind)
        except msgspec.MsgspecError as error:
            raise WrongAnswerError(f"{self.url}: {error}: {self.text[:300]}") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """One base address and its open connections."""

    client: httpx.Client

    def get(self, path: str, *, timeout_s: float) -> Reply:
        return self._ask("GET", path, None, timeout_s)

    def post(self, path: str, content: object, *, timeout_s: float) -> Reply:
        """Send `content`, anything msgspec encodes, as JSON."""
        return self._ask("POST", path, msgspec.json.encode(content), timeout_s)

    def stream(
        self, path: str, content: object, *, timeout_s: float, closing: bool = False
    ) -> Iterator[str]:
        """Yield the answer's lines as they arrive; NoAnswerError if it breaks off.

        The time limit applies between two pieces of the answer. `closing` ends the
        connection behind it: llama-server does so unannounced, and the next request
        could still find it open.
        """
        where = self.client.base_url.join(path)
        headers = {"Content-Type": "application/json"}
        if closing:
            headers["Connection"] = "close"
        try:
            with self.client.stream(
                "POST",
                path,
                content=msgspec.json.encode(content),
                headers=headers,
                timeout=timeout_s,
            ) as answer:
                if answer.status_code != httpx.codes.OK:
                    text = answer.read().decode(errors="replace")
                    raise WrongAnswerError(
                        f"{where}: HTTP {answer.status_code}: {text[:300]}",
                        status=answer.status_code,
                        body=text,
                    )
                yield from answer.iter_lines()
        except httpx.HTTPError as error:
            raise _no_answer(f"POST {where}", error) from error

    def _ask(
        self, method: str, path: str, content: bytes | None, timeout_s: float
    ) -> Reply:
        headers = {} if content is None else {"Content-Type": "application/json"}
        try:
            answer = self.client.request(
                method, path, content=content, headers=headers, timeout=timeout_s
            )
        except httpx.HTTPError as error:
            where = self.client.base_url.join(path)
            raise _no_answer(f"{method} {where}", error) from error
        return Reply(
            url=str(answer.url),
            status=answer.status_code,
            body=answer.content,
            server=answer.headers.get("server", ""),
        )


def _no_answer(where: str, error: httpx.HTTPError) -> NoAnswerError:
    what = str(error) or type(error).__name__
    late = isinstance(error, httpx.TimeoutException)
    return (LateAnswerError if late else NoAnswerError)(f"{where}: {what}")


@contextmanager
def site(
    url: str,
    *,
    transport: httpx.BaseTransport | None = None,
    bearer: str = "",
) -> Iterator[Site]:
    """Open connections to one address, without the environment's proxies.

    `bearer` is a key sent with every request; redirections are not followed.
    """
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
    with httpx.Client(
        base_url=url,
        transport=transport,
        headers=headers,
        trust_env=False,
        # loading all certificates takes longer than most requests to a local server
        verify=not url.startswith("http://"),
    ) as client:
        yield Site(client=client)
