"""What the harness adds to a trial: the tap's way, and the time beside the agent's."""

import statistics
from collections.abc import Iterable

from llamatrix.proxy.cost import Cost
from llamatrix.records.trial_record import TrialRecord
from llamatrix.stats.intervals import median_ranks

MOST_S = 2.0
MOST_PER_CALL_S = 0.005
_MS = 1000
_WHAT_IT_IS = """\
  in it: opening the sandbox, files in and out, reading the server's counters, recording,
    and the tap for each call
  not in it: starting and loading the server, the agent and its tools, the checks, and
    reading the finished work (order, quality, tokens)"""


def added_s(cost: Cost) -> list[float]:
    """What each call took longer through the tap than its neighbour without it."""
    pairs = zip(cost.direct_s, cost.tapped_s, strict=True)
    return sorted(tapped - direct for direct, tapped in pairs)


def tap_text(cost: Cost) -> str:
    added = added_s(cost)
    ranks = median_ranks(len(added))
    between = (
        f"[{_MS * added[ranks[0]]:.2f}, {_MS * added[ranks[1]]:.2f}]"
        if ranks
        else "too few pairs for an interval"
    )
    return (
        f"tap: a call takes {_MS * statistics.median(added):.2f} ms longer {between}, "
        f"median of {len(added)} pairs (at most {_MS * MOST_PER_CALL_S:.0f} ms); "
        f"bytes identical: {'yes' if cost.identical else 'no'}"
    )


def trials_text(records: Iterable[TrialRecord], *, host: str, tap_s: float) -> str:
    """Each trial of a host against its own limit, the worst named.

    `tap_s` is the tap's median for one call: the agent waits for it, so it is in
    the agent's time and is added here.
    """
    own = [
        (_most_s(record) - _own_s(record, tap_s), _own_s(record, tap_s), record)
        for record in records
        if record.host.slug == host and record.result.turns
    ]
    if not own:
        return (
            f"harness time per trial: no trial of {host} is recorded; `invoke agent "
            "--profile smoke` makes some, then run this again"
        )
    own.sort(key=lambda trial: trial[0])
    seconds = [own_s for _, own_s, _ in own]
    over = [record for spare_s, _, record in own if spare_s < 0]
    head = (
        f"harness time per trial, {len(own)} trials: median "
        f"{statistics.median(seconds):.2f} s, largest {max(seconds):.2f} s; "
        f"{len(own) - len(over)} of {len(own)} within "
        f"{MOST_S:.0f} s + {_MS * MOST_PER_CALL_S:.0f} ms for each call"
    )
    lines = [f"  over: {_line(record, tap_s)}" for record in over]
    tightest = f"  tightest: {_line(own[0][2], tap_s)}"
    return "\n".join([head, tightest, *lines, _WHAT_IT_IS])


def _own_s(record: TrialRecord, tap_s: float) -> float:
    return record.result.harness_s + record.result.calls * tap_s


def _most_s(record: TrialRecord) -> float:
    return MOST_S + MOST_PER_CALL_S * record.result.calls


def _line(record: TrialRecord, tap_s: float) -> str:
    result = record.result
    return (
        f"{record.cell.id} #{record.trial}: {_own_s(record, tap_s):.2f} s of at most "
        f"{_most_s(record):.2f} s ({len(result.turns)} turns, {result.calls} calls)"
    )
