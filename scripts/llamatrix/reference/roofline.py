"""The hardware's limit for a speed, and the fraction of it that was reached.

Generation: memory bandwidth ÷ bytes read for one token. Prefill: matrix peak ÷ operations
for one prompt token. Both limits are generous: unknown parts (a cache type, a depth, the
exact file) count as nothing, so that only a wrong number can exceed them.
"""

from collections.abc import Mapping

from msgspec import Struct

from llamatrix.provision.weights.fit import CACHE_BYTES
from llamatrix.provision.weights.tensor_types import least_bits_per_weight
from llamatrix.reference.conditions import Conditions
from llamatrix.reference.gpu import Gpu
from llamatrix.reference.model_work import ModelWork, claim_work
from llamatrix.reference.quantity import Quantity
from llamatrix.reference.reference_set import Claim, ReferenceSet
from llamatrix.reference.rules.rule import ClaimIndex, on_gpu, single


class Roofline(Struct, frozen=True, kw_only=True):
    claim: str
    limit: float
    """In tokens per second."""
    fraction: float
    """The printed figure ÷ the limit."""
    peak: str
    """The figure of the data sheet that sets the limit."""
    shares: dict[str, float]
    """The fraction of each peak; which one kernels use is unknown."""
    arithmetic: str
    floor: bool = False
    """The file size is unknown: limit and fraction rest on the smallest possible size."""
    unsure: str = ""
    """Doubts about the figures behind the limit."""


class NoRoofline(Struct, frozen=True, kw_only=True):
    claim: str
    reason: str


def rooflines(
    reference_set: ReferenceSet, gpus: Mapping[str, Gpu]
) -> tuple[Roofline | NoRoofline, ...]:
    index = ClaimIndex(
        claims=reference_set.claims(), gpus={**gpus, **reference_set.gpus}
    )
    speeds = index.of(Quantity.PREFILL_RATE, Quantity.GENERATION_RATE)
    return tuple(roofline(index, claim) for claim in speeds)


def roofline(index: ClaimIndex, claim: Claim) -> Roofline | NoRoofline:
    gpu, work = index.gpu(claim), claim_work(claim)
    reason = _missing(claim, gpu, work)
    if gpu is None or work is None or reason:
        return NoRoofline(claim=claim.id, reason=reason)
    if claim.quantity is Quantity.PREFILL_RATE and claim.conditions.ubatch_size != 1:
        return _prefill(claim, gpu, work)
    size = index.file_size(claim)
    bits = least_bits_per_weight(claim.conditions.quant)
    if size:
        file_bytes = size.interval.low
    elif bits:
        file_bytes = work.total_params * bits / 8
    else:
        return NoRoofline(
            claim=claim.id, reason="neither file size nor bits per weight are known"
        )
    return _generation(claim, gpu, work, file_bytes=file_bytes, floor=size is None)


def generation_limit(
    work: ModelWork,
    *,
    bandwidth: float,
    file_bytes: float | None = None,
    depth_tokens: float = 0,
    cache_element_bytes: float = 0,
) -> float:
    """Tokens per second at a bandwidth in bytes per second, promised or measured.

    `file_bytes` scales the weights' share where the file is not the one `work` is of.
    """
    weights = work.read_bytes * (file_bytes or work.tensor_bytes) / work.tensor_bytes
    cache = work.cache_bytes(depth_tokens, element_bytes=cache_element_bytes)
    return bandwidth / (weights + cache + work.state_bytes)


def depth_of(conditions: Conditions) -> float:
    """Tokens before one that comes singly, on average over the run, as far as known.

    A prompt comes singly where the micro-batch holds one token.
    """
    singly = conditions.gen_tokens or 0
    if conditions.ubatch_size == 1:
        singly = max(singly, conditions.prompt_tokens or 0)
    return (conditions.depth_tokens or 0) + singly / 2


def cache_element_bytes(conditions: Conditions) -> float:
    """Mean of keys and values; an unknown type counts nothing."""
    kinds = (conditions.cache_type_k, conditions.cache_type_v)
    return sum(CACHE_BYTES.get(kind or "", 0.0) for kind in kinds) / len(kinds)


def _missing(claim: Claim, gpu: Gpu | None, work: ModelWork | None) -> str:
    if not single(claim):
        return "no limit is known for several streams or speculative decoding"
    if not on_gpu(claim):
        return f"not on the GPU alone: {claim.conditions.offload}"
    if gpu is None:
        named = claim.conditions.gpu
        return f"no data sheet of GPU {named}" if named else "GPU not stated"
    if work is None:
        return f"the shape of {claim.model} is neither in the matrix nor in the set"
    return ""


def _unsure(claim: Claim, gpu: Gpu) -> str:
    """What a limit rests on that nobody has shown."""
    parts = [gpu.unsure] if gpu.unsure else []
    if claim.proxy_for and claim.shape is None:
        parts.append(f"by the shape of {claim.proxy_for}, named in proxy_for")
    return "; ".join(parts)


def _generation(
    claim: Claim, gpu: Gpu, work: ModelWork, *, file_bytes: float, floor: bool
) -> Roofline:
    bandwidth = gpu.bandwidth_gb_s * 1e9 * (claim.conditions.gpu_count or 1)
    limit = generation_limit(
        work,
        bandwidth=bandwidth,
        file_bytes=file_bytes,
        depth_tokens=depth_of(claim.conditions),
        cache_element_bytes=cache_element_bytes(claim.conditions),
    )
    fraction = claim.value / limit
    return Roofline(
        claim=claim.id,
        limit=limit,
        fraction=fraction,
        peak="memory bandwidth",
        shares={"memory bandwidth": fraction},
        arithmetic=(
            f"{bandwidth / 1e9:,.0f} GB/s / {bandwidth / limit / 1e9:.2f} GB per token = "
            f"{limit:,.1f} tokens/s"
        ),
        floor=floor,
        unsure=_unsure(claim, gpu),
    )


def _prefill(claim: Claim, gpu: Gpu, work: ModelWork) -> Roofline:
    operations = work.prompt_operations(claim.conditions.prompt_tokens or 1)
    count = claim.conditions.gpu_count or 1
    limits = {name: count * peak / operations for name, peak in gpu.peaks}
    name, limit = max(limits.items(), key=lambda item: item[1])
    return Roofline(
        claim=claim.id,
        limit=limit,
        fraction=claim.value / limit,
        peak=f"matrix peak, {name}",
        shares={key: claim.value / value for key, value in limits.items()},
        arithmetic=(
            f"{limit * operations / 1e12:,.1f} T operations/s ({name}) / "
            f"{operations / 1e9:,.2f} G per token = {limit:,.0f} tokens/s"
        ),
        unsure=_unsure(claim, gpu),
    )
