"""What bandwidth and arithmetic do not allow."""

from collections.abc import Iterator

from llamatrix.provision.weight_types import least_bits_per_weight
from llamatrix.reference.finding import Finding, Severity
from llamatrix.reference.ledger import (
    ON_CARD,
    Figure,
    Ledger,
    compatible,
    on_gpu,
    single,
)
from llamatrix.reference.quantity import RATES, Quantity
from llamatrix.reference.roofline import NoRoofline, roofline

_BITS_ABOVE = 2.0
"""Scales and heavier layers add so many bits to a weight at most."""


def speed_limits(ledger: Ledger) -> Iterator[Finding]:
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


def _plain_limit(ledger: Ledger, figure: Figure) -> Iterator[Finding]:
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
    ledger: Ledger, model: str, quantity: Quantity
) -> tuple[float, float] | None:
    for claim in ledger.of(quantity):
        if claim.model == model:
            return claim.interval.low, claim.interval.high
    return None


def weight_sizes(ledger: Ledger) -> Iterator[Finding]:
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
