"""What bandwidth and arithmetic do not allow."""

import itertools
from collections import defaultdict
from collections.abc import Iterator

from llamatrix.provision.weights.tensor_types import least_bits_per_weight
from llamatrix.reference.conditions import CLASS
from llamatrix.reference.quantity import RATES, Quantity
from llamatrix.reference.reference_set import Claim
from llamatrix.reference.roofline import NoRoofline, roofline
from llamatrix.reference.rules.rule import (
    ON_CARD,
    ClaimIndex,
    Figure,
    Finding,
    Severity,
    along,
    compatible,
    on_gpu,
    single,
)

_BITS_ABOVE = 2.0
"""Scales and heavier layers add so many bits to a weight at most."""


def speed_limits(ledger: ClaimIndex) -> Iterator[Finding]:
    """No speed above its roofline; without hyper-parameters, above the plain file's."""
    for figure in ledger.figures(*RATES):
        claim = figure.first
        bound = roofline(ledger, claim)
        if isinstance(bound, NoRoofline):
            yield from _plain_limit(ledger, figure)
        elif claim.interval.low > bound.limit:
            yield Finding(
                rule="speed<=hardware",
                severity=Severity.ODD if bound.unsure else Severity.IMPOSSIBLE,
                claims=figure.ids,
                says=f"{claim.model}: {claim.text} is above the {bound.peak}",
                arithmetic=(
                    f"{bound.arithmetic}; printed {claim.figure}, "
                    f"{bound.fraction:.2f} of it"
                ),
                hint=bound.unsure,
            )


def _plain_limit(ledger: ClaimIndex, figure: Figure) -> Iterator[Finding]:
    """Bandwidth ÷ the active parameters' share of the printed file size."""
    claim, gpu = figure.first, ledger.gpu(figure.first)
    size = ledger.file_size(claim)
    if (
        claim.quantity is not Quantity.GENERATION_RATE
        or gpu is None
        or size is None
        or not (single(claim) and on_gpu(claim))
    ):
        return
    active = _params(ledger, claim.model, Quantity.ACTIVE_PARAMS)
    total = _params(ledger, claim.model, Quantity.TOTAL_PARAMS)
    share = min(1.0, active[0] / total[1]) if active and total else None
    if share is None:
        return
    bandwidth = gpu.bandwidth_gb_s * 1e9 * (claim.conditions.gpu_count or 1)
    read = ON_CARD * share * size.interval.low
    if read > 0 and claim.interval.low > bandwidth / read:
        yield Finding(
            rule="speed<=hardware",
            severity=Severity.ODD if gpu.unsure else Severity.IMPOSSIBLE,
            claims=(*figure.ids, size.id),
            says=f"{claim.model}: {claim.text} is above the memory bandwidth",
            arithmetic=(
                f"{bandwidth / 1e9:,.0f} GB/s / ({ON_CARD} x {share:.3f} active x "
                f"{size.text}) = {bandwidth / read:,.1f} tokens/s; printed {claim.figure}"
            ),
            hint=gpu.unsure,
        )


def _params(
    ledger: ClaimIndex, model: str, quantity: Quantity
) -> tuple[float, float] | None:
    for claim in ledger.of(quantity):
        if claim.model == model:
            return claim.interval.low, claim.interval.high
    return None


def weight_sizes(ledger: ClaimIndex) -> Iterator[Finding]:
    """A file's bits per weight are near those in its quantisation's name."""
    for figure in ledger.figures(Quantity.MODEL_SIZE):
        claim = figure.first
        bits = least_bits_per_weight(claim.conditions.quant)
        for params in ledger.of(Quantity.TOTAL_PARAMS):
            if (
                bits is None
                or params.model != claim.model
                or not compatible(params.conditions, claim.conditions, ("file",))
            ):
                continue
            found = claim.interval.times(8, 8).over(params.interval)
            if found.high < bits or found.low > bits + _BITS_ABOVE:
                yield Finding(
                    rule="size/parameters=bits",
                    severity=Severity.ODD,
                    claims=(*figure.ids, params.id),
                    says=(
                        f"{claim.model}: {claim.text} are not the size of "
                        f"{claim.conditions.quant} at {params.text} of parameters"
                    ),
                    arithmetic=(
                        f"8 x {claim.text} / {params.text} = {found.low:.2f} bits a "
                        f"weight, expected {bits:g} to {bits + _BITS_ABOVE:g}"
                    ),
                )
            break


_PARTS = (
    (Quantity.CORRECT_TURN, Quantity.API_CALLS, Severity.IMPOSSIBLE),
    (Quantity.REASONING_TOKENS, Quantity.GENERATED_TOKENS, Severity.IMPOSSIBLE),
    (Quantity.TASKS_SOLVED, Quantity.TASKS_TOTAL, Severity.IMPOSSIBLE),
    (Quantity.ACTIVE_PARAMS, Quantity.TOTAL_PARAMS, Severity.IMPOSSIBLE),
    # One answer may ask for several tools at once.
    (Quantity.TOOL_CALLS, Quantity.API_CALLS, Severity.ODD),
)
_AXES = ("prompt_tokens", "depth_tokens", "ctx_size")
_RISE = 0.01
"""A rate may rise by so much with a longer context before it is noted."""
_AGENT = 1.02
"""An agent's rate may exceed the benchmark's by so much before it is noted."""


def parts(ledger: ClaimIndex) -> Iterator[Finding]:
    """A part is not more than its whole; every turn takes at least one call."""
    for part_of, whole_of, severity in _PARTS:
        for occasion in ledger.occasions(part_of, whole_of):
            for part, whole in itertools.product(occasion[part_of], occasion[whole_of]):
                one, two = part.first, whole.first
                if one.interval.low > two.interval.high:
                    yield Finding(
                        rule="part<=whole",
                        severity=severity,
                        claims=(*part.ids, *whole.ids),
                        says=f"{one.model}: more {one.quantity} than {two.quantity}",
                        arithmetic=f"{one.text} > {two.text}",
                    )


def rising_rates(ledger: ClaimIndex) -> Iterator[Finding]:
    """More context is more work for each token: rates should fall, or stay."""
    for axis in _AXES:
        series: dict[object, list[Claim]] = defaultdict(list)
        for claim in ledger.of(*RATES):
            if getattr(claim.conditions, axis) is not None:
                series[along(claim, axis)].append(claim)
        for claims in series.values():
            pairs = [
                (later.interval.low / earlier.interval.high - 1, earlier, later)
                for earlier, later in itertools.permutations(claims, 2)
                if _at(earlier, axis) < _at(later, axis)
            ]
            if not pairs:
                continue
            rise, earlier, later = max(pairs, key=lambda pair: pair[0])
            if rise > _RISE:
                yield _rise(axis, earlier, later)


def _rise(axis: str, earlier: Claim, later: Claim) -> Finding:
    micro_batch = earlier.conditions.ubatch_size
    short = axis == "prompt_tokens" and micro_batch is not None
    return Finding(
        rule="rates fall with context",
        severity=Severity.ODD,
        claims=(earlier.id, later.id),
        says=(
            f"{earlier.model}: {earlier.quantity} rises with {axis} from "
            f"{_at(earlier, axis):,} to {_at(later, axis):,}"
        ),
        arithmetic=(
            f"{later.figure} / {earlier.figure} = {later.value / earlier.value:.4f}, "
            f"more than {1 + _RISE}"
        ),
        hint=(
            "the shorter prompt is a single micro-batch, where fixed costs weigh most"
            if short and _at(earlier, axis) <= (micro_batch or 0)
            else ""
        ),
    )


def agent_above_benchmark(ledger: ClaimIndex) -> Iterator[Finding]:
    """Serving an agent cannot be faster than llama-bench's best of the same files."""
    fields = [field for field in CLASS if field != "ctx_size"]
    bench = [
        claim
        for claim in ledger.of(*RATES)
        if claim.conditions.program == "llama-bench" and single(claim)
    ]
    for figure in ledger.figures(*RATES):
        claim = figure.first
        if claim.conditions.program in {None, "llama-bench"} or not single(claim):
            continue
        peers = [
            one
            for one in bench
            if (one.model, one.quantity) == (claim.model, claim.quantity)
            and compatible(one.conditions, claim.conditions, fields)
        ]
        best = max(peers, key=lambda one: one.interval.high, default=None)
        if best and claim.interval.low > _AGENT * best.interval.high:
            yield Finding(
                rule="agent<=benchmark",
                severity=Severity.INCONSISTENT,
                claims=(*figure.ids, best.id),
                says=(
                    f"{claim.model}: {claim.quantity} while serving is above the "
                    "best that llama-bench shows"
                ),
                arithmetic=(
                    f"{claim.figure} / {best.figure} = {claim.value / best.value:.3f}, "
                    f"more than {_AGENT}"
                ),
            )


def _at(claim: Claim, axis: str) -> int:
    return int(getattr(claim.conditions, axis))
