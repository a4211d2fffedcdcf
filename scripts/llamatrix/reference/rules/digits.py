"""Misprints: totals that do not match their rate, and near misses of powers of two."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
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

_SWAPPED_DIGITS = "two digits swapped"
_WRONG_DIGIT = "one digit wrong"


@dataclass(frozen=True, kw_only=True, slots=True)
class Misprint:
    claim: Claim
    kind: str
    rank: int
    """Low for kinds with few readings of a figure, and so few chance matches."""
    value: float
    """The value that was meant."""

    @property
    def text(self) -> str:
        meant = f"{self.value:,.{decimals(self.claim.step)}f}"
        return f"{self.kind}: {self.claim.figure} {self.claim.unit} may mean {meant}"


def misprints(claim: Claim, fits: Callable[[Interval], bool]) -> tuple[Misprint, ...]:
    """Return the single misprints that make the claim fit, one per value."""
    by_value: dict[float, Misprint] = {}
    if claim.ends:
        return ()
    for rank, kind, text in single_misprints(f"{claim.value:.{decimals(claim.step)}f}"):
        value = float(text)
        if value in by_value or value <= 0:
            continue
        printed = printed_interval(value, step=claim.step, rounding=claim.rounding)
        if fits(base_interval(printed, claim.unit)):
            by_value[value] = Misprint(claim=claim, kind=kind, rank=rank, value=value)
    return tuple(by_value.values())


def simplest(candidates: tuple[Misprint, ...]) -> tuple[Misprint, ...]:
    rank = min((misprint.rank for misprint in candidates), default=0)
    return tuple(misprint for misprint in candidates if misprint.rank == rank)


def single_misprints(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield rank, kind and the text that may have been meant."""
    digits = [place for place, sign in enumerate(text) if sign.isdigit()]
    for place in digits:
        rest = text[:place] + text[place + 1 :]
        if rest.strip(".") and not rest.startswith("."):
            yield 0, "one digit too many", rest
    for left, right in itertools.pairwise(digits):
        signs = list(text)
        signs[left], signs[right] = signs[right], signs[left]
        yield 1, _SWAPPED_DIGITS, "".join(signs)
    for power in (-2, -1, 1, 2):
        yield 2, "point misplaced", f"{float(text) * 10**power:.12g}"
    for place in digits:
        for digit in "0123456789":
            yield 3, _WRONG_DIGIT, text[:place] + digit + text[place + 1 :]
    for place in range(len(text) + 1):
        for digit in "0123456789":
            yield 4, "one digit missing", text[:place] + digit + text[place:]


_TOTALS = (
    (Quantity.PROMPT_TOKENS, Quantity.PROMPT_TIME, Quantity.PREFILL_RATE),
    (Quantity.GENERATED_TOKENS, Quantity.GENERATION_TIME, Quantity.GENERATION_RATE),
)
_MAX_AVERAGING_GAP = 1.05
"""Factor between the mean of several requests' rates and the rate of their sums."""
_PEER_FACTOR = 1.2
_SHOWN_MISPRINTS = 3


def totals(index: ClaimIndex) -> Iterator[Finding]:
    """Tokens ÷ time is the rate, within the printed digits."""
    for quantities in _TOTALS:
        for occasion in index.occasions(*quantities):
            for tokens, time, rate in itertools.product(
                *(occasion[quantity] for quantity in quantities)
            ):
                implied = tokens.first.interval.over(time.first.interval)
                if not implied.meets(rate.first.interval):
                    yield _total_finding(index, tokens, time, rate)


def _total_finding(
    index: ClaimIndex, token_figure: Figure, time_figure: Figure, rate_figure: Figure
) -> Finding:
    figures = (token_figure, time_figure, rate_figure)
    tokens, time, rate = (figure.first for figure in figures)
    implied, printed = tokens.interval.over(time.interval), rate.interval
    gap = max(implied.low / printed.high, printed.low / implied.high)
    likely = simplest(
        (
            *misprints(tokens, lambda meant: meant.over(time.interval).meets(printed)),
            *misprints(time, lambda meant: tokens.interval.over(meant).meets(printed)),
            *misprints(rate, implied.meets),
        )
    )
    suspects = {misprint.claim.id for misprint in likely}
    hints = list(_peer(index, rate, tokens.value / time.value))
    for misprint in likely[:_SHOWN_MISPRINTS]:
        dividend = misprint.value if misprint.claim is tokens else tokens.value
        divisor = misprint.value if misprint.claim is time else time.value
        hints.append(
            f"{misprint.text}, for {dividend:,.10g} / {divisor:,.10g} = "
            f"{dividend / divisor:,.4g}"
        )
    return Finding(
        rule="tokens/time=rate",
        severity=(
            Severity.IMPOSSIBLE if gap > _MAX_AVERAGING_GAP else Severity.INCONSISTENT
        ),
        claims=tuple(claim for figure in figures for claim in figure.ids),
        says=f"{tokens.text} in {time.text} is not {rate.text}",
        arithmetic=(
            f"{tokens.figure} / {time.figure} = {tokens.value / time.value:,.4g}, with "
            f"rounding {implied.low:,.5g} to {implied.high:,.5g}; printed "
            f"{rate.figure}, so {printed.low:,.5g} to {printed.high:,.5g}: "
            f"a factor of {gap:.3g} apart"
        ),
        hint="; ".join(hints),
        suspect=suspects.pop() if len(suspects) == 1 else None,
    )


def _peer(index: ClaimIndex, rate: Claim, implied: float) -> Iterator[str]:
    """Yield a rate of the same model on another occasion that agrees with one side."""

    def near(first: float, second: float) -> bool:
        return max(first, second) <= _PEER_FACTOR * min(first, second)

    for peer in index.of(rate.quantity):
        if (
            peer.model != rate.model
            or peer.conditions == rate.conditions
            or peer.conditions.program != rate.conditions.program
        ):
            continue
        near_printed = near(peer.value, rate.value)
        if near_printed != near(peer.value, implied):
            side = "printed" if near_printed else "calculated"
            yield f"{peer.id} ({peer.figure}) supports the {side} rate"
            return


_MIN_TOKENS = 10_000
"""Shorter numbers are often one digit away from a power of two by chance."""
_MARGIN_TOKENS = 10
"""65,535 and 65,530 are a power of two less a margin, not a misprint."""
_POWERS = tuple(2**power for power in range(14, 24))
_MULTIPLES = (1, 2, 4, 8)
_AXES = ("prompt_tokens", "depth_tokens")


def misprinted_contexts(index: ClaimIndex) -> Iterator[Finding]:
    """A context is not one digit away from a power of two.

    Yields one finding per such number, with the claims measured at that context. The
    server's context is a condition of all that it served: those claims are named only
    where there is no other.
    """
    measured: dict[int, list[str]] = defaultdict(list)
    served: dict[int, list[str]] = defaultdict(list)
    for claim in index.claims:
        sizes = [getattr(claim.conditions, axis) for axis in _AXES]
        if claim.quantity is Quantity.MAX_CONTEXT and claim.step == 1:
            sizes.insert(0, int(claim.value))
        for tokens in sizes:
            if tokens is not None:
                measured[tokens].append(claim.id)
        if claim.conditions.ctx_size:
            served[claim.conditions.ctx_size].append(claim.id)
    for tokens, ids in {**served, **measured}.items():
        if not (misprint := misprinted_power(tokens)):
            continue
        meant, times = misprint
        single, power = tokens // times, meant // times
        multiple = f"{tokens:,} = {times} x {single:,}, and " if times > 1 else ""
        yield Finding(
            rule="misprinted power of two",
            severity=Severity.ODD,
            claims=tuple(dict.fromkeys(ids)),
            says=f"a context of {tokens:,} tokens looks like a misprint of {meant:,}",
            arithmetic=(
                f"{multiple}{single:,} is one digit away from {power:,} = "
                f"2^{power.bit_length() - 1}"
            ),
            hint="if the setting itself contains the typo, the measurement used it",
        )


def misprinted_power(tokens: int) -> tuple[int, int] | None:
    """Return the meant number and its multiple of a power of two; None for no misprint.

    Only a changed digit or two swapped neighbours count: with a digit more or less,
    163,840 = 160 x 1024 would be suspicious.
    """
    for times in _MULTIPLES:
        single, rest = divmod(tokens, times)
        if rest or single < _MIN_TOKENS:
            continue
        readings = {
            text
            for _, kind, text in single_misprints(str(single))
            if kind in (_WRONG_DIGIT, _SWAPPED_DIGITS)
        }
        for power in _POWERS:
            if abs(single - power) >= _MARGIN_TOKENS and str(power) in readings:
                return power * times, times
    return None
