"""Which slip of a digit would make a figure fit."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from llamatrix.reference.quantity import (
    Interval,
    base_interval,
    decimals,
    printed_interval,
)
from llamatrix.reference.reference_set import Claim

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
