"""What came of asking for an opinion. Everything here is data; nothing is raised."""

from typing import Annotated

from msgspec import Meta, Struct


class Grade(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    score: Annotated[int, Meta(ge=1, le=5)]
    sentence: Annotated[str, Meta(min_length=1, max_length=600)]


class Given(Struct, frozen=True, kw_only=True, tag="given"):
    grades: dict[str, Grade]
    """By the rubric's aspects, all of them, in its order."""


class Refused(Struct, frozen=True, kw_only=True, tag="refused"):
    """The model, or a filter before it, would not say."""

    text: str


class Unparseable(Struct, frozen=True, kw_only=True, tag="nonsense"):
    """Twice not the JSON that was asked for."""

    why: str
    text: str
    """The end of the last answer."""


class Declined(Struct, frozen=True, kw_only=True, tag="declined"):
    """The endpoint would not have this request: too long for it, as a rule."""

    status: int
    text: str


Opinion = Given | Refused | Unparseable | Declined
