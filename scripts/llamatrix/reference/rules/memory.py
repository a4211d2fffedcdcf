"""What memory does not allow: weights, cache and state, by the form of `provision/weights/fit.py`.

Only what must be there is counted: no graph, no scratch, nothing of CUDA's own. What
nobody says counts at its least, so that only a wrong figure can be caught.
"""

from collections.abc import Iterator
from dataclasses import dataclass

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
from llamatrix.reference.gpu import Gpu
from llamatrix.reference.model_work import known_work
from llamatrix.reference.quantity import Quantity
from llamatrix.reference.reference_set import Claim, Relation
from llamatrix.reference.rules.rule import (
    ON_CARD,
    ClaimIndex,
    Figure,
    Finding,
    Severity,
    compatible,
    on_gpu,
)

_LEAST_CACHE = min(CACHE_BYTES, key=lambda name: CACHE_BYTES[name])
_ROOM = 0.1
"""A context that could be so much larger is not the largest that fits."""
_GIB = 2**30


def memory(ledger: ClaimIndex) -> Iterator[Finding]:
    """What runs on a card is not smaller than its file and not larger than the card."""
    for figure in ledger.figures(Quantity.VRAM):
        claim, gpu = figure.first, ledger.gpu(figure.first)
        conditions = claim.conditions
        count = conditions.gpu_count or 1
        if gpu and claim.interval.low > count * gpu.memory_bytes:
            yield Finding(
                rule="VRAM<=card",
                severity=Severity.ODD if gpu.unsure else Severity.IMPOSSIBLE,
                claims=figure.ids,
                says=f"{claim.model}: {claim.text} of VRAM do not fit on {gpu.name}",
                arithmetic=f"{claim.text} > {count} x {gpu.memory_gib:g} GiB",
                hint=gpu.unsure,
            )
        size = ledger.file_size(claim)
        if size and on_gpu(claim) and claim.interval.high < ON_CARD * size.interval.low:
            yield Finding(
                rule="VRAM>=model",
                severity=Severity.IMPOSSIBLE,
                claims=(*figure.ids, size.id),
                says=f"{claim.model}: {claim.text} of VRAM do not hold {size.text}",
                arithmetic=f"{claim.text} < {ON_CARD} x {size.text}",
                hint=_unless_split(claim),
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Least:
    """What must be on the card at least, in bytes."""

    weights: float
    cache: float
    state: float

    @property
    def total(self) -> float:
        return self.weights + self.cache + self.state

    @property
    def text(self) -> str:
        parts = (
            f"{self.weights / _GIB:.2f} of weights + {self.cache / _GIB:.2f} of cache"
        )
        if self.state:
            parts += f" + {self.state / _GIB:.2f} of state"
        return f"{parts} = {self.total / _GIB:.2f} GiB"


def contexts(ledger: ClaimIndex) -> Iterator[Finding]:
    """A context has room beside the weights: in the VRAM printed, and on the card."""
    asked = ledger.figures(Quantity.MAX_CONTEXT)
    for figure in ledger.figures(Quantity.VRAM):
        claim = figure.first
        fitting = [one for one in asked if _alike(one.first, claim)]
        sizes = {int(one.first.interval.low): one.ids for one in fitting}
        if claim.conditions.ctx_size:
            sizes.setdefault(claim.conditions.ctx_size, ())
        for tokens, ids in sizes.items():
            yield from _too_small(ledger, figure, tokens, ids)
    for figure in asked:
        yield from _beyond_card(ledger, figure)


def largest_that_fits(ledger: ClaimIndex) -> Iterator[Finding]:
    """Where a source says so: a tenth more context would not have room."""
    says = [
        one.says for one in ledger.statements if one.is_ is Relation.LARGEST_THAT_FITS
    ]
    for figure in ledger.figures(Quantity.MAX_CONTEXT) if says else ():
        claim, gpu = figure.first, ledger.gpu(figure.first)
        peers = [
            one for one in ledger.figures(Quantity.VRAM) if _alike(claim, one.first)
        ]
        if gpu and peers and on_gpu(claim):
            yield from _room_left(figure, peers[0], gpu, says[0])


def memory_shape(claim: Claim) -> MemoryShape | None:
    """By the shape that its set gives, else that of the model it is or stands for."""
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


def _alike(one: Claim, other: Claim) -> bool:
    fields = [field for field in FIELDS if field != "ctx_size"]
    return one.model == other.model and compatible(
        one.conditions, other.conditions, fields
    )


def _least(ledger: ClaimIndex, claim: Claim, tokens: int) -> _Least | None:
    """None where the shape, a cache type or the size of the weights is not known."""
    shape = memory_shape(claim)
    kinds = [
        kind or _LEAST_CACHE
        for kind in (claim.conditions.cache_type_k, claim.conditions.cache_type_v)
    ]
    if shape is None or not set(kinds) <= CACHE_BYTES.keys():
        return None
    size = ledger.file_size(claim)
    bits = least_bits_per_weight(claim.conditions.quant)
    if size is not None:
        share = card_weight_bytes(shape) / shape.tensor_bytes
        weights = size.interval.low * (share if claim.shape is None else ON_CARD)
    elif bits is not None:
        weights = ON_CARD * _params(claim) * bits / 8
    else:
        return None
    use = MemorySettings(cache_type_k=kinds[0], cache_type_v=kinds[1])
    needed = memory_need(shape, use, context_tokens=tokens)
    return _Least(weights=weights, cache=needed.cache, state=needed.state)


def _too_small(
    ledger: ClaimIndex, figure: Figure, tokens: int, ids: tuple[str, ...]
) -> Iterator[Finding]:
    claim = figure.first
    least = _least(ledger, claim, tokens) if on_gpu(claim) else None
    if least and claim.interval.high < least.total:
        yield Finding(
            rule="VRAM>=weights+context",
            severity=_severity(claim),
            claims=(*figure.ids, *ids),
            says=(
                f"{claim.model}: {claim.text} of VRAM do not hold the weights and "
                f"{tokens:,} tokens of context"
            ),
            arithmetic=f"at least {least.text}; {claim.text} is less",
            hint=_hint(claim, tokens),
        )


def _beyond_card(ledger: ClaimIndex, figure: Figure) -> Iterator[Finding]:
    claim, gpu = figure.first, ledger.gpu(figure.first)
    tokens = int(claim.interval.low)
    least = _least(ledger, claim, tokens) if gpu and on_gpu(claim) else None
    count = claim.conditions.gpu_count or 1
    if gpu and least and least.total > count * gpu.memory_bytes:
        yield Finding(
            rule="context<=card",
            severity=Severity.ODD if gpu.unsure else _severity(claim),
            claims=figure.ids,
            says=(
                f"{claim.model}: the weights and {tokens:,} tokens of context do not "
                f"fit on {gpu.name}"
            ),
            arithmetic=f"at least {least.text}; {count} x {gpu.memory_gib:g} GiB",
            hint="; ".join(filter(None, (_hint(claim, tokens), gpu.unsure))),
        )


def _room_left(figure: Figure, vram: Figure, gpu: Gpu, says: str) -> Iterator[Finding]:
    """By the printed VRAM: what is left of the card, and how many tokens that holds."""
    claim, used = figure.first, vram.first
    shape = memory_shape(claim)
    kinds = (claim.conditions.cache_type_k, claim.conditions.cache_type_v)
    if shape is None or not set(kinds) <= CACHE_BYTES.keys():
        return
    use = MemorySettings(cache_type_k=str(kinds[0]), cache_type_v=str(kinds[1]))
    tokens = int(claim.interval.high)
    more = int((1 + _ROOM) * tokens)
    if shape.trained_tokens:
        more = min(more, shape.trained_tokens)
    left = (claim.conditions.gpu_count or 1) * gpu.memory_bytes - used.interval.high
    now, then = (
        memory_need(shape, use, context_tokens=one).total for one in (tokens, more)
    )
    if more >= (1 + _ROOM / 2) * tokens and then - now <= left:
        yield Finding(
            rule="largest context that fits",
            severity=Severity.ODD,
            claims=(*figure.ids, *vram.ids),
            says=f"{claim.model}: {tokens:,} tokens are not the largest context that fits",
            arithmetic=(
                f"{more:,} tokens take {(then - now) / _GIB:.2f} GiB more; beside "
                f"{used.text} at least {left / _GIB:.2f} GiB of {gpu.name} are free"
            ),
            hint=f'"{says}": speed may have set the limit, or the figure was chosen',
        )


def _params(claim: Claim) -> float:
    if claim.shape is not None:
        return claim.shape.total_params_b * 1e9
    work = known_work(claim.architecture_key)
    return work.total_params if work else 0.0


def _severity(claim: Claim) -> Severity:
    """By the shape of another model nothing is impossible."""
    by_proxy = claim.proxy_for is not None and claim.shape is None
    return Severity.ODD if by_proxy else Severity.IMPOSSIBLE


def _hint(claim: Claim, tokens: int) -> str:
    shape = memory_shape(claim)
    parts = [_unless_split(claim)] if _unless_split(claim) else []
    if shape and shape.trained_tokens and tokens > shape.trained_tokens:
        parts.append(f"the model is trained for {shape.trained_tokens:,} tokens")
    if claim.proxy_for and claim.shape is None:
        parts.append(f"by the shape of {claim.proxy_for}, named in proxy_for")
    return "; ".join(parts)


def _unless_split(claim: Claim) -> str:
    if claim.conditions.offload is not None:
        return ""
    return "unless part of the model ran on the CPU: then say so in offload"
