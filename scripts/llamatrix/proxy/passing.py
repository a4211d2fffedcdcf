"""A call under way through the tap, and what is read of it in passing."""

import hashlib
import time
import zlib
from dataclasses import dataclass, field

from llamatrix.proxy.answer import Answer
from llamatrix.proxy.call import Call, Trouble
from llamatrix.proxy.request import ChatRequest, Kind

_FIRST_SERVER_ERROR = 500
_FIRST_ERROR = 400
_MOST_READ_BYTES = 256 << 20
"""Of a compressed body; what comes after is passed on, but not read."""


class Decoder:
    """Makes a body readable that may be compressed; what it cannot decode is empty."""

    def __init__(self, encoding: str) -> None:
        self._compressed = encoding.strip().lower() in {"gzip", "x-gzip", "deflate"}
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
        self._rest_bytes = _MOST_READ_BYTES

    def decode(self, part: bytes) -> bytes:
        if not self._compressed:
            return part
        try:
            plain = self._inflate.decompress(part, max(1, self._rest_bytes))
        except zlib.error:
            return b""
        self._rest_bytes -= len(plain)
        return plain


@dataclass(kw_only=True, slots=True)
class Passing:
    """A call under way; times are the monotonic clock's."""

    index: int
    path: str
    begun: float
    kind: Kind = Kind.OTHER
    request: bytes = b""
    readable_request: bytes = b""
    """The same, decompressed: what is recorded, as no key is found in compressed text."""
    read: ChatRequest = field(default_factory=ChatRequest)
    parts: list[bytes] = field(default_factory=list)
    readable_parts: list[bytes] = field(default_factory=list)
    decoder: Decoder = field(default_factory=lambda: Decoder(""))
    answer: Answer = field(default_factory=Answer)
    first_byte: float | None = None
    first_token: float | None = None
    status: int | None = None
    trouble: Trouble | None = None
    error: str = ""

    def call(self, *, since: float) -> Call:
        seen = self.answer
        body, readable = b"".join(self.parts), b"".join(self.readable_parts)
        if not self.read.stream:
            seen.read(readable)
        self._judge(readable)
        usage = seen.usage
        cached = usage.prompt_tokens_details
        reasoning = usage.completion_tokens_details

        def clock(at: float | None) -> float | None:
            return None if at is None else at - since

        return Call(
            index=self.index,
            kind=self.kind,
            path=self.path,
            begun_s=self.begun - since,
            first_byte_s=clock(self.first_byte),
            first_token_s=clock(self.first_token),
            ended_s=time.monotonic() - since,
            status=self.status,
            request_bytes=len(self.request),
            request_sha256=hashlib.sha256(self.request).hexdigest(),
            answer_bytes=len(body),
            answer_sha256=hashlib.sha256(body).hexdigest(),
            tools_offered=self.read.tool_names,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=cached.cached_tokens if cached else None,
            generated_tokens=usage.completion_tokens,
            reasoning_tokens=reasoning.reasoning_tokens if reasoning else None,
            timings=seen.timings,
            tool_calls=tuple(seen.tool_calls),
            finish_reason=seen.finish_reason,
            trouble=self.trouble,
            error=self.error,
        )

    def _judge(self, body: bytes) -> None:
        """Name what went wrong, where the passing itself did not."""
        if self.trouble or self.status is None:
            return
        if self.status >= _FIRST_ERROR:
            failed = self.status >= _FIRST_SERVER_ERROR
            self.trouble = Trouble.FAILED if failed else Trouble.REFUSED
            self.error = body[:2000].decode(errors="replace")
        elif self.answer.error:
            self.trouble, self.error = Trouble.ERROR, self.answer.error
        elif self.read.stream and not self.answer.complete:
            self.trouble, self.error = Trouble.CUT, "the stream has no end"
