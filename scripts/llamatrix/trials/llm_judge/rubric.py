"""The rubric: data beside this file, and the words that are made of it."""

import hashlib
from functools import cache
from pathlib import Path

import msgspec
from msgspec import Struct

_FILE = Path(__file__).with_name("rubric.toml")


class Aspect(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    title: str
    """As the published Code Quality table calls it."""
    asks: str
    one: str
    three: str
    five: str


class Rubric(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    version: int
    role: str
    answer: str
    again: str
    """Said after an answer that cannot be read; `{why}` is what is wrong with it."""
    aspects: dict[str, Aspect]


@cache
def rubric() -> Rubric:
    return msgspec.toml.decode(_FILE.read_bytes(), type=Rubric)


@cache
def rubric_sha256() -> str:
    return hashlib.sha256(_FILE.read_bytes()).hexdigest()


def aspects_text(asked: Rubric) -> str:
    return "\n\n".join(
        f"{key}: {one.asks}\n  1: {one.one}\n  3: {one.three}\n  5: {one.five}"
        for key, one in asked.aspects.items()
    )
