"""Tokens ÷ time = rate, within what the printed digits allow."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from llamatrix.reference.quantity import (
    Interval,
    Quantity,
    base_interval,
    decimals,
    printed_interval,
)
from llamatrix.reference.reference_set import Claim
from llamatrix.reference.rules.rule import ClaimIndex, Figure, Finding, Severity

SWAPPED_DIGITS = "two digits swapped"
WRONG_DIGIT = "one digit wrong"


@dataclass(frozen=True, kw_only=True, slots=True)
class Misprint:
    claim: Claim
    kind: str
    rank: int
    """Small for slips that need little: few readings of a figure, so few chances."""
    value: float
    """What would have been meant."""

    @property
    def text(self) -> str:
        meant = f"{self.value:,.{decimals(self.claim.step)}f}"
        return f"{self.kind}: {self.claim.figure} {self.claim.unit} may mean {meant}"


def misprints(claim: Claim, fits: Callable[[Interval], bool]) -> tuple[Misprint, ...]:
    """All single slips that make the claim fit, the simplest kind of each value."""
    found: dict[float, Misprint] = {}
    if claim.ends:
        return ()
    for rank, kind, text in slips_of(f"{claim.value:.{decimals(claim.step)}f}"):
        value = float(text)
        if value in found or value <= 0:
            continue
        printed = printed_interval(value, step=claim.step, rounding=claim.rounding)
        if fits(base_interval(printed, claim.unit)):
            found[value] = Misprint(claim=claim, kind=kind, rank=rank, value=value)
    return tuple(found.values())


def simplest(found: tuple[Misprint, ...]) -> tuple[Misprint, ...]:
    """Those of the lowest rank."""
    best = min((one.rank for one in found), default=0)
    return tuple(one for one in found if one.rank == best)


def slips_of(text: str) -> Iterator[tuple[int, str, str]]:
    """Rank, kind and the text that would have been meant."""
    digits = [place for place, sign in enumerate(text) if sign.isdigit()]
    for place in digits:
        rest = text[:place] + text[place + 1 :]
        if rest.strip(".") and not rest.startswith("."):
            yield 0, "one digit too many", rest
    for one, other in itertools.pairwise(digits):
        signs = list(text)
        signs[one], signs[other] = signs[other], signs[one]
        yield 1, SWAPPED_DIGITS, "".join(signs)
    for power in (-2, -1, 1, 2):
        yield 2, "point misplaced", f"{float(text) * 10**power:.12g}"
    for place in digits:
        for digit in "0123456789":
            yield 3, WRONG_DIGIT, text[:place] + digit + text[place + 1 :]
    for place in range(len(text) + 1):
        for digit in "0123456789":
            yield 4, "one digit missing", text[:place] + digit + text[place:]


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


def totals(ledger: ClaimIndex) -> Iterator[Finding]:
    for quantities in _TOTALS:
        for occasion in ledger.occasions(*quantities):
            for tokens, time, rate in itertools.product(
                *(occasion[quantity] for quantity in quantities)
            ):
                found = _Totals(tokens=tokens, time=time, rate=rate)
                if not found.fits():
                    yield _total_finding(ledger, found)


def _total_finding(ledger: ClaimIndex, found: _Totals) -> Finding:
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


def _peer(ledger: ClaimIndex, found: _Totals) -> Iterator[str]:
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


_LEAST = 10_000
"""Shorter numbers are a digit away from a power of two too often by chance."""
_MARGIN = 10
"""65,535 and 65,530 are a power of two less a margin, not a slip."""
_POWERS = tuple(2**power for power in range(14, 24))
_DOUBLINGS = (1, 2, 4, 8)
_KINDS = {WRONG_DIGIT, SWAPPED_DIGITS}
_AXES = ("prompt_tokens", "depth_tokens")


def slips(ledger: ClaimIndex) -> Iterator[Finding]:
    """One finding for each such number, with the claims that are of that context.

    A server's context is in the conditions of all that it served: those claims are
    named only where no other is.
    """
    measured: dict[int, list[str]] = defaultdict(list)
    served: dict[int, list[str]] = defaultdict(list)
    for claim in ledger.claims:
        for tokens in _contexts(claim):
            measured[tokens].append(claim.id)
        if claim.conditions.ctx_size:
            served[claim.conditions.ctx_size].append(claim.id)
    for tokens, ids in {**served, **measured}.items():
        if slip := slip_of(tokens):
            yield _finding(tokens, slip, ids)


def _finding(tokens: int, slip: tuple[int, int], ids: Sequence[str]) -> Finding:
    meant, times = slip
    once, power = tokens // times, meant // times
    double = f"{tokens:,} = {times} x {once:,}, and " if times > 1 else ""
    return Finding(
        rule="slip of a power of two",
        severity=Severity.ODD,
        claims=tuple(dict.fromkeys(ids)),
        says=f"a context of {tokens:,} tokens looks like a slip of {meant:,}",
        arithmetic=(
            f"{double}{once:,} is a digit away from {power:,} = 2^{power.bit_length() - 1}"
        ),
        hint="if the setting itself has the slip, it was measured so",
    )


def slip_of(tokens: int) -> tuple[int, int] | None:
    """What was meant, and how many times the slip was doubled; None where it is none."""
    for times in _DOUBLINGS:
        once, rest = divmod(tokens, times)
        if rest or once < _LEAST:
            continue
        for power in _POWERS:
            if abs(once - power) >= _MARGIN and str(power) in _variants(once):
                return power * times, times
    return None


def _contexts(claim: Claim) -> Iterator[int]:
    if claim.quantity is Quantity.MAX_CONTEXT and claim.step == 1:
        yield int(claim.value)
    for axis in _AXES:
        tokens = getattr(claim.conditions, axis)
        if tokens is not None:
            yield tokens


def _variants(tokens: int) -> set[str]:
    """With one digit changed or two neighbours swapped.

    A digit more or less is no slip to look for: 163,840 is 160 x 1024.
    """
    return {text for _, kind, text in slips_of(str(tokens)) if kind in _KINDS}
