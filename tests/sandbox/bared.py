"""A recorded session without the words of the agent that sent it.

Its system messages and descriptions of tools are its makers' text and not ours to
hand on; what a replay needs of them is that something stands there.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from llamatrix.proxy.call import read_calls

LONGEST = 60
"""Letters of the longest text of ours in an agent's place."""

_SYSTEM = "The system message of the agent stood here."
_DROPPED = {"title", "examples", "$comment"}
"""Keys of a JSON schema that tell people something and bind nothing."""


def bare(recording: Path) -> None:
    """Replace an agent's words in every stored request; the calls tell of what is left.

    Roles, names, schemas, order, the prompt and the conversation stay.
    """
    calls = []
    for call in read_calls(recording):
        path = recording / f"{call.index:04}.request.json"
        body = bared(path.read_bytes())
        path.write_bytes(body)
        digest = hashlib.sha256(body).hexdigest()
        calls.append(
            msgspec.structs.replace(
                call, request_bytes=len(body), request_sha256=digest
            )
        )
    lines = [msgspec.json.encode(call) + b"\n" for call in calls]
    (recording / "calls.jsonl").write_bytes(b"".join(lines))


def bared(request: bytes) -> bytes:
    """A chat completion request in which an agent's words are ours; else as it was."""
    body = msgspec.json.decode(request)
    for message in body.get("messages", ()):
        if message["role"] == "system":
            message["content"] = _SYSTEM
    for tool in body.get("tools", ()):
        function = tool["function"]
        function["description"] = f"The tool {function['name']}."
        function["parameters"] = _schema(function.get("parameters", {}))
    return msgspec.json.encode(body)


def agents_words(request: bytes) -> Iterator[str]:
    """Every text of a request that its agent's makers wrote, or ours in its place."""
    body = msgspec.json.decode(request)
    for message in body.get("messages", ()):
        if message["role"] == "system":
            yield from _texts(message["content"])
    for tool in body.get("tools", ()):
        yield from _texts(tool)


def _texts(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for one in value.values():
                yield from _texts(one)
        case list():
            for one in value:
                yield from _texts(one)
        case _:
            return


def _schema(schema: Any, name: str = "") -> Any:  # noqa: ANN401  (a JSON schema)
    """The schema with a word of ours where it tells people something.

    A property may be called like such a key: under `properties` are only names.
    """
    if isinstance(schema, list):
        return [_schema(one, name) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            kept[key] = {one: _schema(inner, one) for one, inner in value.items()}
        elif key == "description":
            kept[key] = f"The value {name}."
        elif key not in _DROPPED:
            kept[key] = _schema(value, name)
    return kept
