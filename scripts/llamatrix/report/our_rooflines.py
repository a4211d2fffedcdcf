"""The physical limit of each of our speeds, and the fraction of it reached."""

from collections.abc import Mapping
from dataclasses import replace

from llamatrix.config.cell import SpeedTest
from llamatrix.config.matrix import WeightsKind
from llamatrix.measure.stream import Bandwidth
from llamatrix.reference.conditions import Conditions
from llamatrix.reference.gpu import Gpu
from llamatrix.reference.model_work import known_work
from llamatrix.reference.quantity import Quantity, Rounding, Unit
from llamatrix.reference.reference_set import Claim, Grade, Statistic
from llamatrix.reference.roofline import (
    NoRoofline,
    Roofline,
    cache_element_bytes,
    depth_of,
    generation_limit,
    roofline,
)
from llamatrix.reference.rules.rule import ClaimIndex
from llamatrix.report.our_conditions import NO_GPU, conditions_of
from llamatrix.report.our_numbers import OurModel, our_models
from llamatrix.report.speed import Group, Result

_STEP = 1e-9
"""Ours are not printed, so not rounded."""


def our_rooflines(
    group: Group, gpus: Mapping[str, Gpu], bandwidth: Bandwidth | None
) -> tuple[Roofline | NoRoofline, ...]:
    """For every speed of a group; named `model/test`, for example `gemma4-31b/tg128`.

    A GPU's limits come of its data sheet, a CPU's of the `bandwidth` measured on it.
    """
    return tuple(
        _roofline(group, model, test, gpus, bandwidth)
        for model in our_models(group)
        for test, result in model.results.items()
        if result.mean is not None
    )


def _roofline(
    group: Group,
    model: OurModel,
    test: SpeedTest,
    gpus: Mapping[str, Gpu],
    bandwidth: Bandwidth | None,
) -> Roofline | NoRoofline:
    name, result = f"{model.key}/{test.name}", model.results[test]
    if group.weights is WeightsKind.TINY:
        reason = "tiny weights stay in the cache: memory is no limit"
        return NoRoofline(claim=name, reason=reason)
    conditions = conditions_of(result.records[0], gpus)
    if conditions.gpu == NO_GPU:
        return _on_cpu(name, model.key, result, conditions, bandwidth)
    if conditions.gpu not in gpus:
        return NoRoofline(claim=name, reason=f"{conditions.gpu}: not in gpus.toml")
    speed = Claim(
        id=name,
        model=model.key,
        proxy_for=None,
        table="ours",
        column=test.name,
        quantity=(Quantity.PREFILL_RATE if test.n_prompt else Quantity.GENERATION_RATE),
        unit=Unit.TOKENS_PER_SECOND,
        value=result.mean or 0.0,
        step=_STEP,
        rounding=Rounding.NEAREST,
        statistic=Statistic.MEAN,
        conditions=conditions,
        grade=Grade.A,
    )
    size = replace(
        speed,
        id=f"{model.key}/size",
        quantity=Quantity.MODEL_SIZE,
        unit=Unit.GIB,
        value=(result.rows[0].model_bytes or 0) / 2**30,
    )
    return roofline(ClaimIndex(claims=(speed, size), gpus=gpus), speed)


def _on_cpu(
    name: str,
    model: str,
    result: Result,
    conditions: Conditions,
    bandwidth: Bandwidth | None,
) -> Roofline | NoRoofline:
    if conditions.prompt_tokens is not None:
        return NoRoofline(claim=name, reason="no matrix peak of a CPU is known")
    work = known_work(model)
    if work is None:
        return NoRoofline(claim=name, reason=f"no hyper-parameters of {model}")
    if bandwidth is None:
        reason = "bandwidth not measured; `invoke compare --bandwidth` does"
        return NoRoofline(claim=name, reason=reason)
    limit = generation_limit(
        work,
        bandwidth=bandwidth.best,
        file_bytes=result.rows[0].model_bytes or 0,
        depth_tokens=depth_of(conditions),
        cache_element_bytes=cache_element_bytes(conditions),
    )
    fraction = (result.mean or 0.0) / limit
    read_gb = bandwidth.best / limit / 1e9
    return Roofline(
        claim=name,
        limit=limit,
        fraction=fraction,
        peak="measured memory bandwidth",
        shares={"measured memory bandwidth": fraction},
        arithmetic=(
            f"{bandwidth.best / 1e9:,.1f} GB/s / {read_gb:.2f} GB a token = "
            f"{limit:,.2f} tokens/s"
        ),
    )
