"""Under which conditions a number was measured, as far as anyone says."""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from llamatrix.config.matrix import Key, Positive

Count = Annotated[int, Meta(ge=0)]
Date = Annotated[str, Meta(pattern=r"^\d{4}(-\d{2}(-\d{2})?)?$")]
"""A day, month or year; text, because not every TOML reader takes a bare date."""


class Conditions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """None throughout means: not stated."""

    program: str | None = None
    """What printed the number: `llama-bench`, `llama-server`, …"""
    task: str | None = None
    prompt_tokens: Positive | None = None
    gen_tokens: Positive | None = None
    depth_tokens: Count | None = None
    """What the context holds before the measurement starts."""
    streams: Positive | None = None
    """Requests in flight at once; rates are then their sum."""
    speculative: bool | None = None

    gpu: Key | None = None
    """A key of `gpus.toml` or of the set's own `gpus`."""
    gpu_count: Positive | None = None
    engine: str | None = None
    quant: str | None = None
    weights: str | None = None
    """Where the file comes from: a `weights` word of the matrix, `hub` for published ones."""
    cache_type_k: str | None = None
    cache_type_v: str | None = None
    flash_attn: bool | None = None
    batch_size: Positive | None = None
    ubatch_size: Positive | None = None
    ctx_size: Positive | None = None
    offload: str | None = None
    """`full`, or how much of the model ran on the CPU."""

    engine_version: str | None = None
    build_flags: str | None = None
    flags: str | None = None
    """Of the program, where no key of ours says it."""
    file: str | None = None
    file_sha256: str | None = None
    power_cap_w: Annotated[float, Meta(gt=0)] | None = None
    driver: str | None = None
    os: str | None = None
    host: str | None = None
    """Hardware beside the GPU."""
    measured_on: Date | None = None
    repetitions: Positive | None = None
    slots: Positive | None = None
    """llama-server's `--parallel`."""
    client: str | None = None
    chat_template: str | None = None
    thinking: bool | None = None
    context_shift: bool | None = None
    correctness: str | None = None
    """By which criterion a turn of an agent counts as correct."""
    temp: float | None = None
    top_k: Count | None = None
    top_p: float | None = None
    min_p: float | None = None


FIELDS: tuple[str, ...] = Conditions.__struct_fields__
SUBJECT = FIELDS[: FIELDS.index("gpu")]
"""What a number is a number of: where these differ, two numbers are two things."""
CLASS = FIELDS[FIELDS.index("gpu") : FIELDS.index("engine_version")]
"""Where these differ, two numbers of one thing cannot be held against each other."""


def merge_conditions(*layers: Conditions) -> Conditions:
    """The later layer speaks where it says anything."""
    whole = Conditions()
    for layer in layers:
        whole = msgspec.structs.replace(whole, **dict(stated_fields(layer)))
    return whole


def stated_fields(conditions: Conditions) -> tuple[tuple[str, bool | float | str], ...]:
    return tuple(
        (key, value)
        for key, value in msgspec.structs.asdict(conditions).items()
        if value is not None
    )


def without(conditions: Conditions, *fields: str) -> Conditions:
    return msgspec.structs.replace(conditions, **dict.fromkeys(fields))


def covers(general: Conditions, special: Conditions) -> bool:
    """Whether `special` says all that `general` says, and the same."""
    return set(stated_fields(general)) <= set(stated_fields(special))
