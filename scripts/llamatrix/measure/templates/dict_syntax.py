"""Gemma 4's own notation of a JSON object: bare keys, strings between `<|"|>`."""

import json
import re

from llamatrix.measure.templates.conversation import Json
from llamatrix.measure.templates.reading import FormatError

_QUOTE = '<|"|>'
_KEY = re.compile(r"([^:{}\[\],]+):")
_PLAIN = re.compile(r"[^,{}\[\]]+")


def write_dict(value: dict[str, Json]) -> str:
    return "{" + ",".join(f"{key}:{_write(item)}" for key, item in value.items()) + "}"


def read_dict(text: str) -> dict[str, Json]:
    value, end = _read(text, 0)
    if not isinstance(value, dict) or end != len(text):
        raise FormatError(f"no whole object: {text[:80]!r}")
    return value


def _write(value: Json) -> str:
    match value:
        case str():
            return f"{_QUOTE}{value}{_QUOTE}"
        case dict():
            return write_dict(value)
        case list():
            return "[" + ",".join(_write(item) for item in value) + "]"
        case _:
            return json.dumps(value)


def _read(text: str, at: int) -> tuple[Json, int]:
    if text.startswith(_QUOTE, at):
        end = text.find(_QUOTE, at + len(_QUOTE))
        if end < 0:
            raise FormatError(f"a string is not closed: {text[at : at + 60]!r}")
        return text[at + len(_QUOTE) : end], end + len(_QUOTE)
    if text.startswith("{", at):
        return _read_object(text, at + 1)
    if text.startswith("[", at):
        return _read_list(text, at + 1)
    plain = _PLAIN.match(text, at)
    try:
        value: Json = json.loads(plain[0]) if plain else _nothing(text, at)
    except json.JSONDecodeError as error:
        raise FormatError(f"no value: {text[at : at + 40]!r}") from error
    return value, plain.end() if plain else at


def _read_object(text: str, at: int) -> tuple[Json, int]:
    read: dict[str, Json] = {}
    while not text.startswith("}", at):
        key = _KEY.match(text, at)
        if not key:
            raise FormatError(f"no key: {text[at : at + 40]!r}")
        read[key[1].replace(_QUOTE, "")], at = _read(text, key.end())
        at = _past_comma(text, at, "}")
    return read, at + 1


def _read_list(text: str, at: int) -> tuple[Json, int]:
    read: list[Json] = []
    while not text.startswith("]", at):
        value, at = _read(text, at)
        read.append(value)
        at = _past_comma(text, at, "]")
    return read, at + 1


def _past_comma(text: str, at: int, close: str) -> int:
    if text.startswith(",", at):
        return at + 1
    if text.startswith(close, at):
        return at
    raise FormatError(f"neither , nor {close} at {text[at : at + 40]!r}")


def _nothing(text: str, at: int) -> Json:
    raise FormatError(f"nothing where a value should be: {text[at : at + 40]!r}")
