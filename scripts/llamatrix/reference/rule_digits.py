"""Contexts that look like a slip of a digit in a power of two."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from llamatrix.reference.finding import Finding, Severity
from llamatrix.reference.ledger import Ledger
from llamatrix.reference.misprint import SWAPPED_DIGITS, WRONG_DIGIT, slips_of
from llamatrix.reference.quantity import Quantity
from llamatrix.reference.reference_set import Claim

_LEAST = 10_000
"""Shorter numbers are a digit away from a power of two too often by chance."""
_MARGIN = 10
"""65,535 and 65,530 are a power of two less a margin, not a slip."""
_POWERS = tuple(2**power for power in range(14, 24))
_DOUBLINGS = (1, 2, 4, 8)
_KINDS = {WRONG_DIGIT, SWAPPED_DIGITS}
_AXES = ("prompt_tokens", "depth_tokens")


def slips(ledger: Ledger) -> Iterator[Finding]:
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
