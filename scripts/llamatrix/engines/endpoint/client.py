"""One endpoint's answers: streamed by our clock, counted by the server's usage.

OpenAI's API reference, "Create chat completion": with `stream_options.include_usage` the
last chunk before `[DONE]` has no choices and the token counts of the request.
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import msgspec
from msgspec import Raw, Struct

from llamatrix.config.matrix import HttpEndpoint
from llamatrix.engines.outcome import EndpointFailed, EndpointFailure, TimedOut
from llamatrix.errors import MatrixError
from llamatrix.redaction import Redaction, without_folders
from llamatrix.web import (
    LateAnswerError,
    NoAnswerError,
    Site,
    WrongAnswerError,
    site,
)

_MODELS_TIMEOUT_S = 10.0
_SHOWN_CHARACTERS = 200
_BY_STATUS = {
    401: EndpointFailure.UNAUTHORISED,
    403: EndpointFailure.UNAUTHORISED,
    404: EndpointFailure.NO_MODEL,
    429: EndpointFailure.RATE_LIMITED,
}
_FIRST_SERVER_ERROR = 500
Failed = EndpointFailed | TimedOut


class Reported(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a server says of itself: unverified, and part of the identity of a cell."""

    server: str = ""
    """The HTTP header `Server`."""
    owned_by: str = ""
    """Of the model's entry in `/models`."""
    fingerprint: str = ""
    """`system_fingerprint` of its answers: llama-server's build."""

    @property
    def words(self) -> str:
        told = (self.server, self.owned_by, self.fingerprint)
        return ", ".join(filter(None, told)) or "nothing"


class ServerTimings(Struct, frozen=True, kw_only=True):
    """llama-server's own, where the server is one: kept beside ours."""

    prompt_n: int
    prompt_ms: float
    predicted_n: int
    predicted_ms: float


class Answer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One complete answer; times are our monotonic clock's, in nanoseconds."""

    begun_ns: int
    """When the request was sent."""
    first_ns: int
    """The first text, or the end of an answer without any."""
    last_ns: int
    prompt_tokens: int
    """The whole prompt."""
    cached_tokens: int | None = None
    """None where the server does not tell."""
    generated_tokens: int
    pieces: int
    """Chunks with text."""
    fingerprint: str = ""
    timings: ServerTimings | None = None

    @property
    def processed_tokens(self) -> int:
        return self.prompt_tokens - (self.cached_tokens or 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Client:
    endpoint: HttpEndpoint
    site: Site
    key: str = field(default="", repr=False)

    def identify(self) -> Reported | Failed:
        """Ask for the models; a server without such a list is known by its header."""
        try:
            reply = self.site.get("models", timeout_s=_MODELS_TIMEOUT_S)
        except LateAnswerError:
            return TimedOut(after_s=_MODELS_TIMEOUT_S, tail=())
        except NoAnswerError as error:
            return self._failed(EndpointFailure.DOWN, _without_address(error))
        if _BY_STATUS.get(reply.status) is EndpointFailure.UNAUTHORISED:
            return self._failed(EndpointFailure.UNAUTHORISED, _message(reply.text))
        try:
            listed = msgspec.json.decode(reply.body, type=_Models).data
        except msgspec.MsgspecError:
            listed = ()
        own = (each.owned_by for each in listed if each.id == self.endpoint.model)
        return Reported(
            server=self._clean(reply.server), owned_by=self._clean(next(own, ""))
        )

    def introduce(self, *, timeout_s: float) -> Reported | Failed:
        """As `identify`, with the build that llama-server tells only in its answers."""
        reported = self.identify()
        if not isinstance(reported, Reported):
            return reported
        answer = self.ask("Say yes.", max_tokens=1, timeout_s=timeout_s)
        if not isinstance(answer, Answer):
            return reported
        return msgspec.structs.replace(reported, fingerprint=answer.fingerprint)

    def ask(self, text: str, *, max_tokens: int, timeout_s: float) -> Answer | Failed:
        """Send one user message; the limit covers the complete answer.

        A server may close a kept connection at any time: where nothing came back, the
        message is sent once more.
        """
        answer = self._ask(text, max_tokens, timeout_s)
        down = EndpointFailure.DOWN
        if isinstance(answer, EndpointFailed) and answer.failure is down:
            return self._ask(text, max_tokens, timeout_s)
        return answer

    def _ask(self, text: str, max_tokens: int, timeout_s: float) -> Answer | Failed:
        request = {
            "model": self.endpoint.model,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self.endpoint.request,
        }
        stream = _Stream(begun_ns=time.perf_counter_ns())
        deadline_ns = stream.begun_ns + timeout_s * 1e9
        try:
            for line in self.site.stream(
                "chat/completions", request, timeout_s=timeout_s
            ):
                if time.perf_counter_ns() > deadline_ns:
                    return TimedOut(after_s=timeout_s, tail=())
                stream.take(line)
                if stream.failed:
                    break
        except LateAnswerError:
            return TimedOut(after_s=timeout_s, tail=())
        except NoAnswerError as error:
            down = stream.first_ns is None and not stream.chunks
            failure = EndpointFailure.DOWN if down else EndpointFailure.STREAM_CUT
            return self._failed(failure, _without_address(error))
        except WrongAnswerError as error:
            status = error.status or 0
            failed = status >= _FIRST_SERVER_ERROR
            other = EndpointFailure.SERVER_ERROR if failed else EndpointFailure.REFUSED
            failure = _BY_STATUS.get(status, other)
            return self._failed(failure, f"HTTP {status}: {_message(error.body)}")
        answer = stream.answer()
        if isinstance(answer, EndpointFailed):
            return self._failed(answer.failure, answer.reason)
        fingerprint = self._clean(answer.fingerprint)
        return msgspec.structs.replace(answer, fingerprint=fingerprint)

    def _failed(self, failure: EndpointFailure, text: str) -> EndpointFailed:
        return EndpointFailed(failure=failure, reason=self._clean(text))

    def _clean(self, text: str) -> str:
        """Without key, address and folders: this reaches records."""
        parts = urlsplit(self.endpoint.base_url)
        for address in (self.endpoint.base_url, parts.netloc, parts.hostname or ""):
            text = text.replace(address, "the endpoint")
        secrets = (self.key,) if self.key else ()
        text = Redaction(secrets=secrets).clean(text.encode()).decode()
        return without_folders(" ".join(text.split()))[:_SHOWN_CHARACTERS]


@contextmanager
def open_client(
    endpoint: HttpEndpoint, environ: Mapping[str, str] | None = None
) -> Iterator[Client]:
    """Connect by the endpoint's address and the key of the variable that it names."""
    key = api_key(endpoint, os.environ if environ is None else environ)
    with site(endpoint.base_url, bearer=key) as own_site:
        yield Client(endpoint=endpoint, site=own_site, key=key)


def api_key(endpoint: HttpEndpoint, environ: Mapping[str, str]) -> str:
    """MatrixError where the variable of the key is not set."""
    name = endpoint.api_key_env
    if name and not environ.get(name):
        raise MatrixError(f"api_key_env {name!r}: this variable is not set; export it")
    return environ[name] if name else ""


class _Listed(Struct, frozen=True):
    id: str = ""
    owned_by: str = ""


class _Models(Struct, frozen=True):
    data: tuple[_Listed, ...] = ()


class _Error(Struct, frozen=True):
    message: str = ""


class _Refusal(Struct, frozen=True):
    error: _Error | str = ""
    detail: Raw = Raw()
    """FastAPI's own refusals."""


_REFUSAL = msgspec.json.Decoder(_Refusal)
"""Made before there are threads, for the reason in `records/store.py`."""


def _message(body: str) -> str:
    """The message in an error's body, else the body."""
    try:
        refusal = _REFUSAL.decode(body)
    except msgspec.MsgspecError:
        return body
    error = refusal.error
    told = error.message if isinstance(error, _Error) else error
    return told or bytes(refusal.detail).decode() or body


def _without_address(error: NoAnswerError) -> str:
    """The error alone, of `GET http://…: error`."""
    return str(error).partition(": ")[2]


class _Cached(Struct, frozen=True):
    cached_tokens: int | None = None


class _Usage(Struct, frozen=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Cached | None = None


class _Delta(Struct, frozen=True):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Choice(Struct, frozen=True):
    delta: _Delta | None = None
    message: Raw = Raw()
    finish_reason: str | None = None


class _Chunk(Struct, frozen=True):
    choices: tuple[_Choice, ...] | None = None
    usage: _Usage | None = None
    timings: Raw = Raw()
    system_fingerprint: str | None = None
    error: Raw = Raw()


_CHUNK = msgspec.json.Decoder(_Chunk)
_TIMINGS = msgspec.json.Decoder(ServerTimings)
"""Made early, as `_REFUSAL` is."""


@dataclass(kw_only=True, slots=True)
class _Stream:
    """A stream of chunks as it comes in."""

    begun_ns: int
    first_ns: int | None = None
    last_ns: int | None = None
    chunks: int = 0
    pieces: int = 0
    ended: bool = False
    """Whether a choice had a reason to finish, or `[DONE]` came."""
    usage: _Usage | None = None
    timings: ServerTimings | None = None
    fingerprint: str = ""
    failed: EndpointFailed | None = None

    def take(self, line: str) -> None:
        now_ns = time.perf_counter_ns()
        if not line.strip() or line.startswith((":", "event:", "id:", "retry:")):
            return
        text = line.removeprefix("data:").strip()
        if text == "[DONE]":
            self.ended = True
            return
        try:
            chunk = _CHUNK.decode(text)
        except msgspec.MsgspecError:
            self.failed = _failure(EndpointFailure.NOT_OPENAI, line)
            return
        if bytes(chunk.error) not in {b"", b"null"} or line.startswith("error"):
            self.failed = _failure(EndpointFailure.SERVER_ERROR, _message(text))
        elif chunk.choices is None and chunk.usage is None:
            self.failed = _failure(EndpointFailure.NOT_OPENAI, line)
        elif any(bytes(choice.message) for choice in chunk.choices or ()):
            why = "the answer came as one document"
            self.failed = _failure(EndpointFailure.NOT_STREAMED, why)
        else:
            self._read(chunk, now_ns)

    def _read(self, chunk: _Chunk, now_ns: int) -> None:
        self.chunks += 1
        self.usage = chunk.usage or self.usage
        self.fingerprint = chunk.system_fingerprint or self.fingerprint
        if bytes(chunk.timings):
            try:
                self.timings = _TIMINGS.decode(chunk.timings)
            except msgspec.MsgspecError:
                self.timings = None
        for choice in chunk.choices or ():
            delta = choice.delta or _Delta()
            has_text = bool(delta.content or delta.reasoning_content or delta.reasoning)
            self.pieces += has_text
            self.ended = self.ended or choice.finish_reason is not None
            if has_text or choice.finish_reason is not None:
                self.first_ns = self.first_ns or now_ns
                self.last_ns = now_ns

    def answer(self) -> Answer | EndpointFailed:
        if self.failed:
            return self.failed
        if not self.ended or self.first_ns is None or self.last_ns is None:
            if not self.chunks:
                why = "the stream has no chunk of an answer"
                return _failure(EndpointFailure.NOT_OPENAI, why)
            why = f"the stream ended after {self.chunks} chunks, without its end"
            return _failure(EndpointFailure.STREAM_CUT, why)
        usage = self.usage or _Usage()
        prompt, generated = usage.prompt_tokens, usage.completion_tokens
        if not prompt or not generated:
            why = "the answer has no usage with prompt_tokens and completion_tokens"
            return _failure(EndpointFailure.NO_COUNTS, why)
        cached = usage.prompt_tokens_details
        return Answer(
            begun_ns=self.begun_ns,
            first_ns=self.first_ns,
            last_ns=self.last_ns,
            prompt_tokens=prompt,
            cached_tokens=cached.cached_tokens if cached else None,
            generated_tokens=generated,
            pieces=self.pieces,
            fingerprint=self.fingerprint,
            timings=self.timings,
        )


def _failure(failure: EndpointFailure, reason: str) -> EndpointFailed:
    return EndpointFailed(failure=failure, reason=reason)
