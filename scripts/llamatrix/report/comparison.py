"""A comparison as `invoke verdict` states it: JSON for programs, lines for people."""

import json

from llamatrix.stats.intervals import Interval
from llamatrix.stats.sequential import (
    PairedComparison,
)
from llamatrix.stats.verdict import Verdict


def verdict_json(comparison: PairedComparison) -> str:
    """One object, unrounded. Only the value of `verdict` is one of the five words."""
    found = comparison.estimate
    cycle = comparison.per_cycle
    document: dict[str, object] = {
        "verdict": comparison.verdict.value,
        "exit_code": comparison.verdict.exit_code,
        "unit": comparison.unit.value,
        "higher_is_better": comparison.unit.higher_is_better,
        "ratio": found and found.ratio,
        "interval": _ends(comparison.interval),
        "level": comparison.level,
        "half_width": comparison.interval and comparison.interval.half_width,
        "smallest_effect": comparison.smallest_effect(),
        "smallest_detectable": comparison.smallest_detectable(),
        "margin": comparison.rule.margin,
        "alpha": comparison.rule.alpha,
        "p_value": found and found.p_value,
        "sd_log": found and found.sd_log,
        "pairs": len(comparison.used),
        "pairs_used": list(comparison.used),
        "pairs_left_out": [
            {"pair": one.pair, "reason": one.reason} for one in comparison.left_out
        ],
        "per_cycle": cycle
        and {
            "ratio": cycle.ratio,
            "interval": _ends(cycle.interval(comparison.rule.alpha)),
        },
        "notes": list(comparison.notes),
    }
    return json.dumps(document, indent=2, allow_nan=False)


def verdict_text(comparison: PairedComparison) -> str:
    """The verdict and its ratio first, then the reasons to doubt it."""
    lines = [_headline(comparison)]
    if comparison.interval and (detectable := detectable_text(comparison)):
        half = 100 * comparison.interval.half_width
        lines.append(f"half width {half:.2g} %; {detectable}")
    if comparison.per_cycle:
        lines.append(f"per clock cycle: ratio {comparison.per_cycle.ratio:.4f}")
    lines += [f"pair {one.pair} left out: {one.reason}" for one in comparison.left_out]
    lines += [f"note: {note}" for note in comparison.notes]
    return "\n  ".join(lines) + "\n"


def detectable_text(comparison: PairedComparison, *, cells: int = 1) -> str:
    """Say what so many pairs could have seen; empty where that is not known."""
    told = comparison.smallest_detectable(cells=cells)
    effect = comparison.smallest_effect(cells=cells)
    if told is None or effect is None:
        return ""
    return (
        f"smallest loss it could have seen: {100 * told:.2g} % told from none, "
        f"{100 * effect:.2g} % called {Verdict.SLOWER}, each in 4 of 5 such runs; margin "
        f"{100 * comparison.rule.margin:.3g} %"
    )


def interval_text(interval: Interval | None, level: float) -> str:
    """Write ` [0.9417, 0.9583] at 95 %`, or nothing."""
    if interval is None:
        return ""
    return f" [{interval.low:.4f}, {interval.high:.4f}] at {100 * level:.3g} %"


def pairs_text(comparison: PairedComparison) -> str:
    count = len(comparison.used)
    return f"{count} pair{'' if count == 1 else 's'}"


def _headline(comparison: PairedComparison) -> str:
    if comparison.estimate is None:
        return str(comparison.verdict)
    direction = "higher" if comparison.unit.higher_is_better else "lower"
    ends = interval_text(comparison.interval, comparison.level)
    return (
        f"{comparison.verdict}  speed ratio {comparison.estimate.ratio:.4f}{ends}, "
        f"{pairs_text(comparison)} of {comparison.unit} ({direction} is better)"
    )


def _ends(interval: Interval | None) -> list[float] | None:
    return [interval.low, interval.high] if interval else None
