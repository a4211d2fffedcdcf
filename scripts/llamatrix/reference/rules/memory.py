"""Weights, cache and state fit into the printed memory and onto the card.

Sizes follow `provision/weights/fit.py`, without graph, scratch and CUDA's own memory. What
is not stated counts at its minimum, so that only a wrong figure is reported.
"""

from collections.abc import Iterator

from llamatrix.provision.weights.fit import (
    CACHE_BYTES,
    AttentionLayers,
    MemorySettings,
    MemoryShape,
    card_weight_bytes,
    known_shape,
    memory_need,
)
from llamatrix.provision.weights.synthetic.models import MODELS
from llamatrix.provision.weights.tensor_types import least_bits_per_weight
from llamatrix.reference.conditions import FIELDS
from llamatrix.reference.model_work import known_work
from llamatrix.reference.quantity import Quantity
from llamatrix.reference.reference_set import Claim, Relation
from llamatrix.reference.rules.rule import (
    MIN_SHARE_ON_CARD,
    ClaimIndex,
    Figure,
    Finding,
    Severity,
    compatible,
    on_gpu,
)

_SMALLEST_CACHE = min(CACHE_BYTES, key=lambda name: CACHE_BYTES[name])
_MIN_ROOM = 0.1
"""A context that could grow by this share is not the largest that fits."""
_GIB = 2**30


def memory(index: ClaimIndex) -> Iterator[Finding]:
    """VRAM in use is at most the card's and at least the model file's size."""
    for figure in index.figures(Quantity.VRAM):
        claim, gpu = figure.first, index.gpu(figure.first)
        count, used = claim.conditions.gpu_count or 1, claim.interval
        if gpu and used.low > count * gpu.memory_bytes:
            yield Finding(
                rule="VRAM<=card",
                severity=Severity.ODD if gpu.unsure else Severity.IMPOSSIBLE,
                claims=figure.ids,
                says=f"{claim.model}: {claim.text} of VRAM does not fit on {gpu.name}",
                arithmetic=f"{claim.text} > {count} x {gpu.memory_gib:g} GiB",
                hint=gpu.unsure,
            )
        size = index.file_size(claim) if on_gpu(claim) else None
        if size and used.high < MIN_SHARE_ON_CARD * size.interval.low:
            yield Finding(
                rule="VRAM>=model",
                severity=Severity.IMPOSSIBLE,
                claims=(*figure.ids, size.id),
                says=(
                    f"{claim.model}: {claim.text} of VRAM is too small for a file of "
                    f"{size.text}"
                ),
                arithmetic=f"{claim.text} < {MIN_SHARE_ON_CARD} x {size.text}",
                hint=_offload_hint(claim),
            )


def contexts(index: ClaimIndex) -> Iterator[Finding]:
    """A context fits beside the weights: into the printed VRAM, and onto the card."""
    max_contexts = index.figures(Quantity.MAX_CONTEXT)
    for figure in index.figures(Quantity.VRAM):
        claim = figure.first
        sizes = {
            int(context.first.interval.low): context.ids
            for context in max_contexts
            if _alike(context.first, claim)
        }
        if claim.conditions.ctx_size:
            sizes.setdefault(claim.conditions.ctx_size, ())
        for tokens, ids in sizes.items():
            need = _least_need(index, claim, tokens) if on_gpu(claim) else None
            if need and claim.interval.high < sum(need):
                yield Finding(
                    rule="VRAM>=weights+context",
                    severity=_severity(claim),
                    claims=(*figure.ids, *ids),
                    says=(
                        f"{claim.model}: {claim.text} of VRAM is too small for the "
                        f"weights and {tokens:,} tokens of context"
                    ),
                    arithmetic=f"at least {_need_text(need)}; {claim.text} is less",
                    hint=_hint(claim, tokens),
                )
    for figure in max_contexts:
        claim, gpu = figure.first, index.gpu(figure.first)
        tokens = int(claim.interval.low)
        need = _least_need(index, claim, tokens) if gpu and on_gpu(claim) else None
        count = claim.conditions.gpu_count or 1
        if gpu and need and sum(need) > count * gpu.memory_bytes:
            yield Finding(
                rule="context<=card",
                severity=Severity.ODD if gpu.unsure else _severity(claim),
                claims=figure.ids,
                says=(
                    f"{claim.model}: the weights and {tokens:,} tokens of context do not "
                    f"fit on {gpu.name}"
                ),
                arithmetic=(
                    f"at least {_need_text(need)}; {count} x {gpu.memory_gib:g} GiB"
                ),
                hint="; ".join(filter(None, (_hint(claim, tokens), gpu.unsure))),
            )


def largest_that_fits(index: ClaimIndex) -> Iterator[Finding]:
    """Where a source calls a context the largest that fits, 10 % more does not fit."""
    sentences = [
        statement.says
        for statement in index.statements
        if statement.is_ is Relation.LARGEST_THAT_FITS
    ]
    for figure in index.figures(Quantity.MAX_CONTEXT) if sentences else ():
        claim, gpu = figure.first, index.gpu(figure.first)
        peers = [
            vram for vram in index.figures(Quantity.VRAM) if _alike(claim, vram.first)
        ]
        if gpu and peers and on_gpu(claim):
            total_bytes = (claim.conditions.gpu_count or 1) * gpu.memory_bytes
            left = total_bytes - peers[0].first.interval.high
            yield from _room_left(figure, peers[0], left, gpu.name, sentences[0])


def _room_left(
    figure: Figure, vram: Figure, left: float, gpu_name: str, sentence: str
) -> Iterator[Finding]:
    claim = figure.first
    shape = memory_shape(claim)
    kinds = (claim.conditions.cache_type_k, claim.conditions.cache_type_v)
    if shape is None or not set(kinds) <= CACHE_BYTES.keys():
        return
    use = MemorySettings(cache_type_k=str(kinds[0]), cache_type_v=str(kinds[1]))
    tokens = int(claim.interval.high)
    more = int((1 + _MIN_ROOM) * tokens)
    if shape.trained_tokens:
        more = min(more, shape.trained_tokens)
    now, then = (
        memory_need(shape, use, context_tokens=size).total for size in (tokens, more)
    )
    if more >= (1 + _MIN_ROOM / 2) * tokens and then - now <= left:
        yield Finding(
            rule="largest context that fits",
            severity=Severity.ODD,
            claims=(*figure.ids, *vram.ids),
            says=f"{claim.model}: {tokens:,} tokens are not the largest context that fits",
            arithmetic=(
                f"{more:,} tokens take {(then - now) / _GIB:.2f} GiB more; beside "
                f"{vram.first.text} at least {left / _GIB:.2f} GiB of {gpu_name} are free"
            ),
            hint=(
                f'"{sentence}": speed may have set the limit, or the figure was chosen'
            ),
        )


def memory_shape(claim: Claim) -> MemoryShape | None:
    """Return the shape given by the set, else that of the model or its proxy."""
    if claim.shape is None:
        key = claim.architecture_key
        return known_shape(key) if key in MODELS else None
    if not claim.shape.attention:
        return None
    return MemoryShape(
        architecture="",
        proven=False,
        tensor_bytes=round(claim.shape.total_params_b * 1e9),
        embedding_bytes=0,
        tied_bytes=0,
        attention=tuple(
            AttentionLayers(
                count=kind.layers,
                key_width=kind.kv_heads * kind.head_dim,
                value_width=kind.kv_heads * kind.head_dim,
                window_tokens=kind.window_tokens,
            )
            for kind in claim.shape.attention
        ),
        state_bytes=claim.shape.state_bytes,
        embedding=0,
        vocabulary=0,
        trained_tokens=claim.shape.trained_tokens or 0,
    )


def _alike(first: Claim, second: Claim) -> bool:
    fields = [field for field in FIELDS if field != "ctx_size"]
    return first.model == second.model and compatible(
        first.conditions, second.conditions, fields
    )


def _least_need(
    index: ClaimIndex, claim: Claim, tokens: int
) -> tuple[float, float, float] | None:
    """Return the least bytes of weights, cache and state on the card.

    None where the shape, a cache type or the size of the weights is unknown.
    """
    shape = memory_shape(claim)
    kinds = [
        kind or _SMALLEST_CACHE
        for kind in (claim.conditions.cache_type_k, claim.conditions.cache_type_v)
    ]
    if shape is None or not set(kinds) <= CACHE_BYTES.keys():
        return None
    size = index.file_size(claim)
    bits = least_bits_per_weight(claim.conditions.quant)
    if size is not None:
        share = MIN_SHARE_ON_CARD
        if claim.shape is None:
            share = card_weight_bytes(shape) / shape.tensor_bytes
        weights = share * size.interval.low
    elif bits is not None:
        if claim.shape is not None:
            params = claim.shape.total_params_b * 1e9
        else:
            work = known_work(claim.architecture_key)
            params = work.total_params if work else 0.0
        weights = MIN_SHARE_ON_CARD * params * bits / 8
    else:
        return None
    use = MemorySettings(cache_type_k=kinds[0], cache_type_v=kinds[1])
    need = memory_need(shape, use, context_tokens=tokens)
    return weights, need.cache, need.state


def _need_text(need: tuple[float, float, float]) -> str:
    weights, cache, state = (part / _GIB for part in need)
    parts = f"{weights:.2f} of weights + {cache:.2f} of cache"
    if state:
        parts += f" + {state:.2f} of state"
    return f"{parts} = {sum(need) / _GIB:.2f} GiB"


def _severity(claim: Claim) -> Severity:
    """By the shape of another model nothing is impossible."""
    by_proxy = claim.proxy_for is not None and claim.shape is None
    return Severity.ODD if by_proxy else Severity.IMPOSSIBLE


def _hint(claim: Claim, tokens: int) -> str:
    shape = memory_shape(claim)
    hints = [_offload_hint(claim)]
    if shape and shape.trained_tokens and tokens > shape.trained_tokens:
        hints.append(f"the model is trained for {shape.trained_tokens:,} tokens")
    if claim.proxy_for and claim.shape is None:
        hints.append(f"by the shape of {claim.proxy_for}, named in proxy_for")
    return "; ".join(filter(None, hints))


def _offload_hint(claim: Claim) -> str:
    if claim.conditions.offload is not None:
        return ""
    return "unless part of the model ran on the CPU: then state it in `offload`"
