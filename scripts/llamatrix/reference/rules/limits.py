"""Speeds within the hardware's limits, sizes within the quantisation's, parts in wholes."""

import itertools
from collections import defaultdict
from collections.abc import Iterator

from llamatrix.provision.weights.tensor_types import least_bits_per_weight
from llamatrix.reference.conditions import CLASS
from llamatrix.reference.quantity import RATES, Quantity
from llamatrix.reference.reference_set import Claim
from llamatrix.reference.roofline import NoRoofline, roofline
from llamatrix.reference.rules.rule import (
    MIN_SHARE_ON_CARD,
    ClaimIndex,
    Figure,
    Finding,
    Severity,
    along,
    compatible,
    on_gpu,
    single,
)

_MAX_EXTRA_BITS = 2.0
"""Bits per weight that scales and heavier layers add at most."""


def speed_limits(index: ClaimIndex) -> Iterator[Finding]:
    """No speed exceeds its roofline, or the plain limit where the shape is unknown."""
    for figure in index.figures(*RATES):
        claim = figure.first
        bound = roofline(index, claim)
        if isinstance(bound, NoRoofline):
            yield from _plain_limit(index, figure)
        elif claim.interval.low > bound.limit:
            yield Finding(
                rule="speed<=hardware",
                severity=Severity.ODD if bound.unsure else Severity.IMPOSSIBLE,
                claims=figure.ids,
                says=f"{claim.model}: {claim.text} exceeds the {bound.peak}",
                arithmetic=(
                    f"{bound.arithmetic}; printed {claim.figure}, "
                    f"{bound.fraction:.2f} times the limit"
                ),
                hint=bound.unsure,
            )


def _plain_limit(index: ClaimIndex, figure: Figure) -> Iterator[Finding]:
    """Bandwidth ÷ the active parameters' share of the printed file size."""
    claim, gpu = figure.first, index.gpu(figure.first)
    size = index.file_size(claim)
    alone = single(claim) and on_gpu(claim)
    if claim.quantity is not Quantity.GENERATION_RATE or not (gpu and size and alone):
        return
    active = _params(index, claim.model, Quantity.ACTIVE_PARAMS)
    total = _params(index, claim.model, Quantity.TOTAL_PARAMS)
    if not active or not total:
        return
    share = min(1.0, active.interval.low / total.interval.high)
    bandwidth = gpu.bandwidth_gb_s * 1e9 * (claim.conditions.gpu_count or 1)
    read_bytes = MIN_SHARE_ON_CARD * share * size.interval.low
    if read_bytes > 0 and claim.interval.low > bandwidth / read_bytes:
        yield Finding(
            rule="speed<=hardware",
            severity=Severity.ODD if gpu.unsure else Severity.IMPOSSIBLE,
            claims=(*figure.ids, size.id),
            says=f"{claim.model}: {claim.text} exceeds the memory bandwidth",
            arithmetic=(
                f"{bandwidth / 1e9:,.0f} GB/s / ({MIN_SHARE_ON_CARD} x {share:.3f} active x "
                f"{size.text}) = {bandwidth / read_bytes:,.1f} tokens/s; printed "
                f"{claim.figure}"
            ),
            hint=gpu.unsure,
        )


def _params(index: ClaimIndex, model: str, quantity: Quantity) -> Claim | None:
    claims = (claim for claim in index.of(quantity) if claim.model == model)
    return next(claims, None)


def weight_sizes(index: ClaimIndex) -> Iterator[Finding]:
    """A file's bits per weight are near those in its quantisation's name."""
    for figure in index.figures(Quantity.MODEL_SIZE):
        claim = figure.first
        bits = least_bits_per_weight(claim.conditions.quant)
        for params in index.of(Quantity.TOTAL_PARAMS):
            if (
                bits is None
                or params.model != claim.model
                or not compatible(params.conditions, claim.conditions, ("file",))
            ):
                continue
            actual = claim.interval.times(8, 8).over(params.interval)
            if actual.high < bits or actual.low > bits + _MAX_EXTRA_BITS:
                yield Finding(
                    rule="size/parameters=bits",
                    severity=Severity.ODD,
                    claims=(*figure.ids, params.id),
                    says=(
                        f"{claim.model}: {claim.text} does not match "
                        f"{claim.conditions.quant} with {params.text} of parameters"
                    ),
                    arithmetic=(
                        f"8 x {claim.text} / {params.text} = {actual.low:.2f} bits per "
                        f"weight, expected {bits:g} to {bits + _MAX_EXTRA_BITS:g}"
                    ),
                )
            break


_PARTS = (
    (Quantity.CORRECT_TURN, Quantity.API_CALLS, Severity.IMPOSSIBLE),
    (Quantity.REASONING_TOKENS, Quantity.GENERATED_TOKENS, Severity.IMPOSSIBLE),
    (Quantity.TASKS_SOLVED, Quantity.TASKS_TOTAL, Severity.IMPOSSIBLE),
    (Quantity.ACTIVE_PARAMS, Quantity.TOTAL_PARAMS, Severity.IMPOSSIBLE),
    # one answer may call several tools at once
    (Quantity.TOOL_CALLS, Quantity.API_CALLS, Severity.ODD),
)
_AXES = ("prompt_tokens", "depth_tokens", "ctx_size")
_MAX_RISE = 0.01
"""Of a rate with a longer context."""
_MAX_AGENT_RATIO = 1.02
"""Of an agent's rate to the benchmark's."""


def parts(index: ClaimIndex) -> Iterator[Finding]:
    """A part is at most its whole; every turn takes at least one call."""
    for part_quantity, whole_quantity, severity in _PARTS:
        for occasion in index.occasions(part_quantity, whole_quantity):
            for part_figure, whole_figure in itertools.product(
                occasion[part_quantity], occasion[whole_quantity]
            ):
                part, whole = part_figure.first, whole_figure.first
                if part.interval.low > whole.interval.high:
                    yield Finding(
                        rule="part<=whole",
                        severity=severity,
                        claims=(*part_figure.ids, *whole_figure.ids),
                        says=f"{part.model}: more {part.quantity} than {whole.quantity}",
                        arithmetic=f"{part.text} > {whole.text}",
                    )


def rising_rates(index: ClaimIndex) -> Iterator[Finding]:
    """Rates do not rise with the context, since every token takes more work."""
    for axis in _AXES:
        series: dict[object, list[Claim]] = defaultdict(list)
        for claim in index.of(*RATES):
            if getattr(claim.conditions, axis) is not None:
                series[along(claim, axis)].append(claim)
        for claims in series.values():
            pairs = [
                (longer.interval.low / shorter.interval.high - 1, shorter, longer)
                for shorter, longer in itertools.permutations(claims, 2)
                if _tokens(shorter, axis) < _tokens(longer, axis)
            ]
            rise, shorter, longer = max(
                pairs, key=lambda pair: pair[0], default=(0.0, claims[0], claims[0])
            )
            if rise > _MAX_RISE:
                yield _rise(axis, shorter, longer)


def _rise(axis: str, shorter: Claim, longer: Claim) -> Finding:
    micro_batch = shorter.conditions.ubatch_size or 0
    is_micro_batch = axis == "prompt_tokens" and _tokens(shorter, axis) <= micro_batch
    return Finding(
        rule="rates fall with context",
        severity=Severity.ODD,
        claims=(shorter.id, longer.id),
        says=(
            f"{shorter.model}: {shorter.quantity} rises with {axis} from "
            f"{_tokens(shorter, axis):,} to {_tokens(longer, axis):,}"
        ),
        arithmetic=(
            f"{longer.figure} / {shorter.figure} = {longer.value / shorter.value:.4f}, "
            f"more than {1 + _MAX_RISE}"
        ),
        hint=(
            "the shorter prompt is a single micro-batch, where fixed costs weigh most"
            if is_micro_batch
            else ""
        ),
    )


def agent_above_benchmark(index: ClaimIndex) -> Iterator[Finding]:
    """Serving an agent is not faster than llama-bench with the same files."""
    fields = [field for field in CLASS if field != "ctx_size"]
    bench = [
        claim
        for claim in index.of(*RATES)
        if claim.conditions.program == "llama-bench" and single(claim)
    ]
    for figure in index.figures(*RATES):
        claim = figure.first
        if claim.conditions.program in {None, "llama-bench"} or not single(claim):
            continue
        peers = [
            peer
            for peer in bench
            if (peer.model, peer.quantity) == (claim.model, claim.quantity)
            and compatible(peer.conditions, claim.conditions, fields)
        ]
        best = max(peers, key=lambda peer: peer.interval.high, default=None)
        if best and claim.interval.low > _MAX_AGENT_RATIO * best.interval.high:
            yield Finding(
                rule="agent<=benchmark",
                severity=Severity.INCONSISTENT,
                claims=(*figure.ids, best.id),
                says=(
                    f"{claim.model}: {claim.quantity} while serving exceeds the best "
                    "result of llama-bench"
                ),
                arithmetic=(
                    f"{claim.figure} / {best.figure} = {claim.value / best.value:.3f}, "
                    f"more than {_MAX_AGENT_RATIO}"
                ),
            )


def _tokens(claim: Claim, axis: str) -> int:
    return int(getattr(claim.conditions, axis))
