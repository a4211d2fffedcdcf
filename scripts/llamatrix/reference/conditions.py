"""The conditions of a measurement, as far as they are stated."""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from llamatrix.config.matrix import Key, Positive

Count = Annotated[int, Meta(ge=0)]
Date = Annotated[str, Meta(pattern=r"^\d{4}(-\d{2}(-\d{2})?)?$")]
"""A day, month or year; text, because not every TOML reader accepts a bare date."""


class Conditions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """None means that a condition is not stated."""

    program: str | None = None
    """The program that printed the number: `llama-bench`, `llama-server`, …"""
    task: str | None = None
    prompt_tokens: Positive | None = None
    gen_tokens: Positive | None = None
    depth_tokens: Count | None = None
    """Tokens in the context before the measurement starts."""
    streams: Positive | None = None
    """Concurrent requests; rates are their sum."""
    speculative: bool | None = None

    gpu: Key | None = None
    """A key of `gpus.toml` or of the set's own `gpus`."""
    gpu_count: Positive | None = None
    engine: str | None = None
    quant: str | None = None
    weights: str | None = None
    """Origin of the file: a kind of `weights` in the matrix; `hub` for published ones."""
    cache_type_k: str | None = None
    cache_type_v: str | None = None
    flash_attn: bool | None = None
    batch_size: Positive | None = None
    ubatch_size: Positive | None = None
    ctx_size: Positive | None = None
    offload: str | None = None
    """`full`, or a description of what ran on the CPU."""

    engine_version: str | None = None
    build_flags: str | None = None
    flags: str | None = None
    """Of the program, without those that have a key here."""
    file: str | None = None
    file_sha256: str | None = None
    power_cap_w: Annotated[float, Meta(gt=0)] | None = None
    driver: str | None = None
    os: str | None = None
    host: str | None = None
    """Hardware other than the GPU."""
    measured_on: Date | None = None
    repetitions: Positive | None = None
    slots: Positive | None = None
    """llama-server's `--parallel`."""
    client: str | None = None
    chat_template: str | None = None
    thinking: bool | None = None
    context_shift: bool | None = None
    correctness: str | None = None
    """The criterion by which an agent's turn counts as correct."""
    temp: float | None = None
    top_k: Count | None = None
    top_p: float | None = None
    min_p: float | None = None


FIELDS: tuple[str, ...] = Conditions.__struct_fields__
SUBJECT = FIELDS[: FIELDS.index("gpu")]
"""The measured quantity: numbers that differ in these measure different things."""
CLASS = FIELDS[FIELDS.index("gpu") : FIELDS.index("engine_version")]
"""The class: numbers that differ in these cannot be compared."""


def merge_conditions(*layers: Conditions) -> Conditions:
    """Merge layers; a later layer overrides where it states a condition."""
    conditions = Conditions()
    for layer in layers:
        stated = dict(stated_fields(layer))
        conditions = msgspec.structs.replace(conditions, **stated)
    return conditions


def stated_fields(conditions: Conditions) -> tuple[tuple[str, bool | float | str], ...]:
    return tuple(
        (key, value)
        for key, value in msgspec.structs.asdict(conditions).items()
        if value is not None
    )


def without(conditions: Conditions, *fields: str) -> Conditions:
    return msgspec.structs.replace(conditions, **dict.fromkeys(fields))


def covers(general: Conditions, special: Conditions) -> bool:
    """Return whether `special` states everything that `general` states, equally."""
    return set(stated_fields(general)) <= set(stated_fields(special))
