"""The pairs of all cases, look by look, until every word stands or the budget ends."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from llamatrix.commands.regress.paired import Paired
from llamatrix.progress import Meter, meter, say
from llamatrix.stats.pairs import Samples, sort_pairs
from llamatrix.stats.sequential import (
    ENOUGH_FAILURES,
    Judgement,
    SequentialTest,
    judge_cases,
)
from llamatrix.units import duration_text

_IN_A_ROW = 6
"""Disturbed pairs after which a case waits no longer for a quiet machine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Conducted:
    judged: Judgement
    notes: Mapping[str, tuple[str, ...]]
    """By case: why it got no more pairs, where it is not settled."""


def conduct(
    cases: Sequence[Paired],
    *,
    margins: Mapping[str, float],
    sequential: SequentialTest,
    deadline: float,
    clock: Callable[[], float] = time.monotonic,
) -> Conducted:
    """Run pairs; each is on disk before the next, so that any end is a good end.

    Cases take turns look by look: all reach the first before one gets to its second.
    A pair is begun only where it is expected to end before the deadline.
    """
    stopped: dict[str, str] = {}
    total = len({one.session for one in cases}) * sequential.looks[-1]
    with meter("pairs", total=total) as progress:
        while True:
            judged = judge_cases(
                {
                    one.id: Samples(unit=one.metric.unit, pairs=one.pairs)
                    for one in cases
                },
                margins=margins,
                sequential=sequential,
            )
            wanted = {
                one.id: count
                for one in cases
                if (count := judged.next_pairs[one.id]) is not None
                and one.id not in stopped
            }
            if not wanted:
                break
            target = min(wanted.values())
            for one in cases:
                if wanted.get(one.id) == target:
                    reason = _reach(one, target, deadline, clock, progress)
                    if reason:
                        stopped[one.id] = reason
                        say(f"{one.id}: {reason}")
    notes: dict[str, tuple[str, ...]] = {
        case: (f"{reason}; its next look needs {judged.next_pairs[case]} pairs",)
        for case, reason in stopped.items()
    }
    return Conducted(judged=judged, notes=notes)


def _reach(
    one: Paired,
    target: int,
    deadline: float,
    clock: Callable[[], float],
    progress: Meter,
) -> str:
    """Run pairs until so many are complete; why that was not reached, or empty."""
    in_a_row = 0
    while (complete := sum(pair.complete for pair in one.pairs)) < target:
        pairs = one.pairs
        if in_a_row == _IN_A_ROW:
            return (
                f"{_IN_A_ROW} pairs in a row were disturbed, the last by "
                f"{pairs[-1].disturbed}; stop other work, or raise --max-background-load"
            )
        failed = [pair for pair in pairs if not (pair.disturbed or pair.complete)]
        if len(failed) >= ENOUGH_FAILURES and not complete:
            return ""
        if complete and len(failed) > complete:
            return f"{len(failed)} of {len(pairs)} pairs failed"
        if clock() + 2 * one.process_s > deadline:
            return f"the budget ended after {complete} complete pairs"
        one.run_pair()
        in_a_row = in_a_row + 1 if one.pairs[-1].disturbed else 0
        _tell(one, progress)
    return ""


def _tell(one: Paired, progress: Meter) -> None:
    pair = one.pairs[-1]
    if pair.disturbed:
        say(f"{one.id}: pair {pair.number} is repeated: {pair.disturbed}")
    elif not pair.complete:
        parts = sort_pairs([pair])
        say(f"{one.id}: pair {pair.number}: {parts.left_out[0].reason}")
    else:
        took = duration_text(2 * one.process_s)
        progress.advance(note=f"{one.id} ({took} a pair)")
