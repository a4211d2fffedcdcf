"""A comparison as `invoke verdict` states it: JSON for programs, lines for people."""

import json
from pathlib import Path

from llamatrix.errors import ReportError
from llamatrix.verdict.estimate import Interval
from llamatrix.verdict.judge import Comparison, judge
from llamatrix.verdict.looks import Looks, judge_at_looks
from llamatrix.verdict.samples import read_samples
from llamatrix.verdict.word import Word


def verdict_of_file(
    path: Path, *, margin: float | None = None, looks: Looks | None = None
) -> Comparison:
    """Judge a file of samples: all of it once, or at planned looks.

    Whoever looks at a growing file more than once has to name the looks.
    """
    if margin is not None and not 0 < margin < 1:
        raise ReportError(
            f"margin: {margin!r}: write the loss that matters as a fraction between "
            "0 and 1, for example 0.02 for 2 %"
        )
    samples = read_samples(path)
    if looks is None:
        found = judge(samples.pairs, unit=samples.unit, margin=margin)
    else:
        found = judge_at_looks(
            samples.pairs, unit=samples.unit, margin=margin, looks=looks
        ).comparison
    return found.with_notes(*samples.notes)


def verdict_json(comparison: Comparison) -> str:
    """One object, unrounded. Only the value of `verdict` is one of the five words."""
    found = comparison.estimate
    cycle = comparison.per_cycle
    document: dict[str, object] = {
        "verdict": comparison.word.value,
        "exit_code": comparison.word.exit_code,
        "unit": comparison.unit.value,
        "higher_is_better": comparison.unit.higher_is_better,
        "ratio": found and found.ratio,
        "interval_95": _ends(comparison.interval_95),
        "half_width_95": comparison.interval_95 and comparison.interval_95.half_width,
        "smallest_effect": comparison.smallest_effect,
        "margin": comparison.rule.margin,
        "alpha": comparison.rule.alpha,
        "deciding_interval": _ends(comparison.deciding_interval),
        "p_value": found and found.p_value,
        "sd_log": found and found.sd_log,
        "pairs": len(comparison.used),
        "pairs_used": list(comparison.used),
        "pairs_left_out": [
            {"pair": one.pair, "reason": one.reason} for one in comparison.left_out
        ],
        "per_cycle": cycle
        and {"ratio": cycle.ratio, "interval_95": _ends(cycle.interval())},
        "notes": list(comparison.notes),
    }
    return json.dumps(document, indent=2, allow_nan=False)


def verdict_text(comparison: Comparison) -> str:
    """The word and its ratio first, then what would make one doubt it."""
    lines = [_headline(comparison)]
    effect = comparison.smallest_effect
    if comparison.interval_95 and effect is not None:
        half = 100 * comparison.interval_95.half_width
        lines.append(
            f"half width {half:.2g} %; smallest loss that 4 of 5 such runs would call "
            f"{Word.SLOWER}: {100 * effect:.2g} %; margin "
            f"{100 * comparison.rule.margin:.3g} %"
        )
    if comparison.per_cycle:
        lines.append(f"per clock cycle: ratio {comparison.per_cycle.ratio:.4f}")
    lines += [f"pair {one.pair} left out: {one.reason}" for one in comparison.left_out]
    lines += [f"note: {note}" for note in comparison.notes]
    return "\n  ".join(lines) + "\n"


def _headline(comparison: Comparison) -> str:
    if comparison.estimate is None:
        return str(comparison.word)
    direction = "higher" if comparison.unit.higher_is_better else "lower"
    interval = comparison.interval_95
    ends = f" [{interval.low:.4f}, {interval.high:.4f}] at 95 %" if interval else ""
    return (
        f"{comparison.word}  speed ratio {comparison.estimate.ratio:.4f}{ends}, "
        f"{len(comparison.used)} pairs of {comparison.unit} ({direction} is better)"
    )


def _ends(interval: Interval | None) -> list[float] | None:
    return [interval.low, interval.high] if interval else None
