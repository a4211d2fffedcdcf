"""Tokens ÷ time = rate, within what the printed digits allow."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from llamatrix.reference.finding import Finding, Severity
from llamatrix.reference.ledger import Figure, Ledger
from llamatrix.reference.misprint import Misprint, misprints, simplest
from llamatrix.reference.quantity import Interval, Quantity

_TOTALS = (
    (Quantity.PROMPT_TOKENS, Quantity.PROMPT_TIME, Quantity.PREFILL_RATE),
    (Quantity.GENERATED_TOKENS, Quantity.GENERATION_TIME, Quantity.GENERATION_RATE),
)
_AVERAGING = 1.05
"""A mean of several requests' rates may miss the rate of their sums by so much."""
_PEER = 1.2
_SHOWN = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class _Totals:
    tokens: Figure
    time: Figure
    rate: Figure

    @property
    def figures(self) -> tuple[Figure, ...]:
        return self.tokens, self.time, self.rate

    def fits(
        self,
        *,
        tokens: Interval | None = None,
        time: Interval | None = None,
        rate: Interval | None = None,
    ) -> bool:
        implied = (tokens or self.tokens.first.interval).over(
            time or self.time.first.interval
        )
        return implied.meets(rate or self.rate.first.interval)

    @property
    def implied(self) -> Interval:
        return self.tokens.first.interval.over(self.time.first.interval)

    @property
    def gap(self) -> float:
        """Factor between the nearest ends of what follows and what is printed."""
        printed = self.rate.first.interval
        return max(self.implied.low / printed.high, printed.low / self.implied.high)

    @property
    def misprints(self) -> tuple[Misprint, ...]:
        return simplest(
            (
                *misprints(self.tokens.first, lambda one: self.fits(tokens=one)),
                *misprints(self.time.first, lambda one: self.fits(time=one)),
                *misprints(self.rate.first, lambda one: self.fits(rate=one)),
            )
        )


def totals(ledger: Ledger) -> Iterator[Finding]:
    for quantities in _TOTALS:
        for occasion in ledger.occasions(*quantities):
            for tokens, time, rate in itertools.product(
                *(occasion[quantity] for quantity in quantities)
            ):
                found = _Totals(tokens=tokens, time=time, rate=rate)
                if not found.fits():
                    yield _finding(ledger, found)


def _finding(ledger: Ledger, found: _Totals) -> Finding:
    tokens, time, rate = (figure.first for figure in found.figures)
    slips = found.misprints
    blamed = {slip.claim.id for slip in slips}
    return Finding(
        rule="tokens/time=rate",
        severity=(
            Severity.IMPOSSIBLE if found.gap > _AVERAGING else Severity.INCONSISTENT
        ),
        claims=tuple(one for figure in found.figures for one in figure.ids),
        says=f"{tokens.text} in {time.text} is not {rate.text}",
        arithmetic=(
            f"{tokens.figure} / {time.figure} = {tokens.value / time.value:,.4g}, with "
            f"rounding {found.implied.low:,.5g} to {found.implied.high:,.5g}; printed "
            f"{rate.figure}, so {rate.interval.low:,.5g} to {rate.interval.high:,.5g}: "
            f"a factor of {found.gap:.3g} apart"
        ),
        hint="; ".join(
            [*_peer(ledger, found), *(_meant(found, slip) for slip in slips[:_SHOWN])]
        ),
        suspect=blamed.pop() if len(blamed) == 1 else None,
    )


def _meant(found: _Totals, slip: Misprint) -> str:
    """The slip, and the sum as it would then stand."""
    tokens, time = (
        slip.value if slip.claim is figure.first else figure.first.value
        for figure in (found.tokens, found.time)
    )
    return f"{slip.text}, for {tokens:,.10g} / {time:,.10g} = {tokens / time:,.4g}"


def _peer(ledger: Ledger, found: _Totals) -> Iterator[str]:
    """The same model's rate on another occasion, where it takes a side."""
    rate = found.rate.first
    implied = found.tokens.first.value / found.time.first.value
    for peer in ledger.of(rate.quantity):
        if (
            peer.model != rate.model
            or peer.conditions == rate.conditions
            or peer.conditions.program != rate.conditions.program
        ):
            continue
        printed_near = _near(peer.value, rate.value)
        if printed_near != _near(peer.value, implied):
            side = "printed" if printed_near else "calculated"
            yield f"{peer.id} ({peer.figure}) speaks for the {side} rate"
            return


def _near(one: float, other: float) -> bool:
    return max(one, other) <= _PEER * min(one, other)
