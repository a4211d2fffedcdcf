"""`invoke verdict`: what may be claimed of a file of paired samples."""

from pathlib import Path

from llamatrix.commands.flags import VerdictFlags
from llamatrix.errors import ReportError
from llamatrix.report.comparison import verdict_json, verdict_text
from llamatrix.stats.pairs import read_samples
from llamatrix.stats.sequential import (
    PairedComparison,
    SequentialTest,
    judge,
    judge_cases,
    parse_looks,
)


def verdict(flags: VerdictFlags) -> int:
    comparison = verdict_of_file(
        Path(flags.file),
        margin=parse_margin(flags.margin),
        sequential=parse_looks(flags.looks) if flags.looks else None,
    )
    show = verdict_json if flags.json else verdict_text
    print(show(comparison).rstrip())
    return comparison.verdict.exit_code


def verdict_of_file(
    path: Path, *, margin: float | None = None, sequential: SequentialTest | None = None
) -> PairedComparison:
    """Judge a file of samples: all of it once, or at the planned looks.

    Whoever judges a growing file more than once has to name the looks.
    """
    samples = read_samples(path)
    if sequential is None:
        judgement = judge(
            samples.pairs,
            unit=samples.unit,
            margin=margin,
            rounding_log=samples.rounding_log,
        )
        return judgement.with_notes(*samples.notes)
    margins = {path.name: samples.unit.margin if margin is None else margin}
    (cell,) = judge_cases(
        {path.name: samples}, margins=margins, sequential=sequential
    ).cells
    notes = samples.notes
    if sequential.alpha_per_look < sequential.alpha:
        together = 100 * (1 - sequential.alpha)
        note = (
            f"the intervals of all {len(sequential.looks)} planned looks hold together in "
            f"{together:.3g} % of such comparisons"
        )
        notes = (note, *notes)
    return cell.comparison.with_notes(*notes)


def parse_margin(text: str) -> float | None:
    """Read `0.02`, or `2%`; None for an empty text, which takes the default."""
    if not text:
        return None
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = 0.0
    margin = number / 100 if text.endswith("%") else number
    if not 0 < margin < 1:
        raise ReportError(
            f"margin: {text!r}: write the loss that matters as a fraction between 0 "
            "and 1, for example 0.02 for 2 %"
        )
    return margin
