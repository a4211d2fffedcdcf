"""Removes an agent's own texts from a recorded session.

System messages and tool descriptions belong to the agent's authors and may not be
redistributed; a replay needs only some text in their place.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from llamatrix.proxy.call import read_calls

LONGEST = 60
"""Length of the longest replacement, in characters."""

_SYSTEM = "The system message of the agent stood here."
_DROPPED = {"title", "examples", "$comment"}
"""Keys of a JSON schema that are documentation only."""


def redact_session(recording: Path) -> None:
    """Redact every stored request, and update the sizes and digests of the calls.

    Roles, names, schemas, order, the prompt and the conversation stay.
    """
    calls = []
    for call in read_calls(recording):
        path = recording / f"{call.index:04}.request.json"
        body = redacted(path.read_bytes())
        path.write_bytes(body)
        digest = hashlib.sha256(body).hexdigest()
        calls.append(
            msgspec.structs.replace(
                call, request_bytes=len(body), request_sha256=digest
            )
        )
    lines = [msgspec.json.encode(call) + b"\n" for call in calls]
    (recording / "calls.jsonl").write_bytes(b"".join(lines))


def redacted(request: bytes) -> bytes:
    """Return a chat completion request with the agent's texts replaced."""
    body = msgspec.json.decode(request)
    for message in body.get("messages", ()):
        if message["role"] == "system":
            message["content"] = _SYSTEM
    for tool in body.get("tools", ()):
        function = tool["function"]
        function["description"] = f"The tool {function['name']}."
        function["parameters"] = _schema(function.get("parameters", {}))
    return msgspec.json.encode(body)


def agent_texts(request: bytes) -> Iterator[str]:
    """Yield every text of a request by the agent's authors, or its replacement."""
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
            for item in value.values():
                yield from _texts(item)
        case list():
            for item in value:
                yield from _texts(item)
        case _:
            return


def _schema(schema: Any, name: str = "") -> Any:  # noqa: ANN401  (a JSON schema)
    """Return the schema with its documentation replaced.

    A property may have the name of a documentation key: keys of `properties` are names.
    """
    if isinstance(schema, list):
        return [_schema(item, name) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            kept[key] = {
                property_name: _schema(inner, property_name)
                for property_name, inner in value.items()
            }
        elif key == "description":
            kept[key] = f"The value {name}."
        elif key not in _DROPPED:
            kept[key] = _schema(value, name)
    return kept
