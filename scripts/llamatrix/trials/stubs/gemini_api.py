"""A stub of the Gemini API, as far as generating images with it goes.

It answers `generateContent` (plain and streamed) and the list of models in the shapes
of the public REST reference, with its errors: an unknown model, a wrong key, a body
without contents. Any other path is answered with 404.
"""

import base64
import hashlib
import io
import itertools
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus

import msgspec
from msgspec import Struct
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from llamatrix.trials.checks.keys import looks_real
from llamatrix.trials.stubs.request_log import GivenKey, Served, describe
from llamatrix.trials.stubs.world import World

SIDE = 256
BANDS = 8


@dataclass(frozen=True, slots=True)
class Picture:
    """A square of coloured bands from top to bottom."""

    bands: bytes
    """Red, green and blue of each band."""

    @classmethod
    def of(cls, seed: str) -> "Picture":
        return cls(hashlib.sha256(seed.encode()).digest()[: BANDS * 3])

    @property
    def fingerprint(self) -> str:
        """Identifies the image after conversion or scaling."""
        return self.bands.hex()

    def png(self) -> bytes:
        from PIL import Image

        column = Image.frombytes("RGB", (1, BANDS), self.bands)
        file = io.BytesIO()
        column.resize((SIDE, SIDE), Image.Resampling.NEAREST).save(file, "PNG")
        return file.getvalue()


HOST = "generativelanguage.googleapis.com"
_TOKENS_PER_IMAGE = 1120
_PROMPT_CHARACTERS = 2000
_MAX_BODY_BYTES = 8 << 20


class _Part(Struct):
    text: str = ""


class _Content(Struct):
    parts: tuple[_Part, ...] = ()


class _Configuration(Struct):
    modalities: tuple[str, ...] = msgspec.field(default=(), name="responseModalities")


class _Ask(Struct):
    contents: tuple[_Content, ...] = ()
    configuration: _Configuration = msgspec.field(
        default_factory=_Configuration, name="generationConfig"
    )

    @property
    def prompt(self) -> str:
        return "\n".join(
            part.text for content in self.contents for part in content.parts
        )

    @property
    def modalities(self) -> set[str]:
        return {word.upper() for word in self.configuration.modalities}

    @property
    def wants_image(self) -> bool:
        return not self.modalities or "IMAGE" in self.modalities


@dataclass(frozen=True, kw_only=True, slots=True)
class GeminiApi:
    key: str
    """The only key that it accepts."""
    models: tuple[str, ...]
    """All of them generate images."""
    world: Callable[[], World] = lambda: World.REAL
    foreign_keys: tuple[str, ...] = ()
    """Keys of other runs of the trial: a program that sends one has stored it."""
    _counter: Iterator[int] = field(default_factory=itertools.count)
    _nonce: str = field(default_factory=lambda: secrets.token_hex(16))
    """Makes the images of this run differ from those of all others."""

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/{version}/models", self._list),
                Route("/{version}/models/{model}", self._describe),
                Route("/{version}/models/{call}", self._generate, methods=["POST"]),
                Route("/{rest:path}", _not_there, methods=["GET", "POST"]),
            ]
        )

    def _refusal(self, request: Request, model: str | None = None) -> Response | None:
        given = request.headers.get("x-goog-api-key") or request.query_params.get("key")
        describe(request.scope, Served(key=self._kind_of(given or "")))
        if not given:
            text = "Method doesn't allow unregistered callers; use an API key."
            return _error(HTTPStatus.FORBIDDEN, "PERMISSION_DENIED", text)
        if given != self.key:
            text = "API key not valid. Please pass a valid API key."
            return _error(HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", text)
        if model is not None and model not in self.models:
            text = f"models/{model} is not found, or is not supported for this method."
            return _error(HTTPStatus.NOT_FOUND, "NOT_FOUND", text)
        return None

    def _kind_of(self, given: str) -> GivenKey:
        if not given:
            return GivenKey.NONE
        if given == self.key:
            return GivenKey.RIGHT
        if given in self.foreign_keys:
            return GivenKey.FOREIGN
        return GivenKey.UNKNOWN if looks_real(given) else GivenKey.BAD

    async def _list(self, request: Request) -> Response:
        listed = [_description(model) for model in self.models]
        return self._refusal(request) or JSONResponse({"models": listed})

    async def _describe(self, request: Request) -> Response:
        model = request.path_params["model"]
        return self._refusal(request, model) or JSONResponse(_description(model))

    async def _generate(  # noqa: PLR0911  one for each refusal
        self, request: Request
    ) -> Response:
        model, _, method = request.path_params["call"].partition(":")
        if method not in ("generateContent", "streamGenerateContent"):
            return await _not_there(request)
        if refusal := self._refusal(request, model):
            return refusal
        body = await _body(request)
        if body is None:
            text = f"Request payload size exceeds the limit: {_MAX_BODY_BYTES} bytes."
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            return _error(status, "INVALID_ARGUMENT", text)
        try:
            ask = msgspec.json.decode(body, type=_Ask)
        except msgspec.MsgspecError as error:
            text = f"Invalid JSON payload received. {error}"
            return _error(HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", text)
        if not ask.prompt.strip():
            text = "* GenerateContentRequest.contents: contents is not specified"
            return _error(HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", text)
        drawn = Picture.of(f"{self._nonce} {next(self._counter)} {ask.prompt}")
        describe(
            request.scope,
            Served(
                key=GivenKey.RIGHT,
                prompt=ask.prompt[:_PROMPT_CHARACTERS],
                picture=drawn.fingerprint if ask.wants_image else "",
            ),
        )
        if self.world() is World.FAILING:
            text = "An internal error has occurred. Please retry or report."
            return _error(HTTPStatus.INTERNAL_SERVER_ERROR, "INTERNAL", text)
        answer = self._answer(model, ask, drawn)
        if method == "streamGenerateContent":
            return StreamingResponse(_events(answer), media_type="text/event-stream")
        return JSONResponse(answer)

    def _answer(self, model: str, ask: _Ask, drawn: Picture) -> dict[str, object]:
        """Return an image, after a text unless only images were asked for."""
        parts: list[dict[str, object]] = []
        if ask.modalities != {"IMAGE"}:
            parts.append({"text": "Here is your image."})
        if ask.wants_image:
            text = base64.b64encode(drawn.png()).decode()
            parts.append({"inlineData": {"mimeType": "image/png", "data": text}})
        asked_tokens = len(ask.prompt) // 4 + 1
        return {
            "candidates": [
                {
                    "content": {"role": "model", "parts": parts},
                    "finishReason": "STOP",
                    "index": 0,
                }
            ],
            "usageMetadata": {
                "promptTokenCount": asked_tokens,
                "candidatesTokenCount": _TOKENS_PER_IMAGE,
                "totalTokenCount": asked_tokens + _TOKENS_PER_IMAGE,
            },
            "modelVersion": model,
            "responseId": f"stub-{drawn.fingerprint[:12]}",
        }


def _description(model: str) -> dict[str, object]:
    return {
        "name": f"models/{model}",
        "displayName": model,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
    }


def _error(status: HTTPStatus, word: str, message: str) -> Response:
    body = {"error": {"code": status.value, "message": message, "status": word}}
    return JSONResponse(body, status_code=status)


async def _body(request: Request) -> bytes | None:
    """Return the body; None where it is too large."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MAX_BODY_BYTES:
            return None
    return bytes(body)


async def _not_there(_request: Request) -> Response:
    return _error(HTTPStatus.NOT_FOUND, "NOT_FOUND", "Requested entity was not found.")


async def _events(answer: dict[str, object]) -> AsyncIterator[bytes]:
    yield b"data: " + msgspec.json.encode(answer) + b"\r\n\r\n"
