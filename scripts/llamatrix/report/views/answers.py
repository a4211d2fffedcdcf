"""The three questions that the page answers first, each as one card."""

from collections import Counter
from collections.abc import Iterator, Sequence

from llamatrix.reference.verdict import ComparisonVerdict
from llamatrix.report.render.html import Card, Mood
from llamatrix.report.set_comparison import SetComparison
from llamatrix.report.views.choose import Amount, Choices
from llamatrix.report.views.regressions import (
    NOT_PROVABLE,
    UNPAIRED,
    History,
    Regression,
)
from llamatrix.stats.verdict import Verdict, most_severe

_LINES = 3
"""Of a card, below its answer."""
_SLOWER = {
    Verdict.SLOWER: ("Yes: SLOWER", Mood.BAD),
    Verdict.BROKEN: ("Yes: BROKEN", Mood.BAD),
    Verdict.INCONCLUSIVE: ("Not known: INCONCLUSIVE", Mood.OPEN),
    Verdict.FASTER: ("No: FASTER", Mood.GOOD),
    Verdict.SAME: ("No: SAME", Mood.GOOD),
}


def answers(
    found: Choices,
    compared: Sequence[Regression],
    pins: Sequence[History],
    sets: Sequence[SetComparison],
    *,
    sets_href: str,
) -> tuple[Card, Card, Card]:
    """Answer from the ranking, from pairs and pins, and from comparisons with sets."""
    return _which(found), _slower(compared, pins), _reproduced(sets, sets_href)


def _which(found: Choices) -> Card:
    question = found.question
    asked = f"for {question.card} and {question.context_tokens:,} tokens of context"
    first = next(
        (choice for choice in found.ranked if choice.speed or choice.correct), None
    )
    if first is None or found.fits(first) is False:
        return Card(
            id="which",
            question="Which model?",
            answer="None fits" if first else "Not known yet",
            mood=Mood.OPEN,
            lines=(asked, "`invoke bench` measures speeds, `invoke agent` pass rates"),
            href="#ranking",
        )
    amounts = (
        ("", first.speed, " tokens/s"),
        ("correct ", first.correct.amount if first.correct else None, ""),
        ("context ", first.context, " tokens"),
    )
    lines = (
        f"{before}{amount.text}{after}, {_grade(amount)}"
        for before, amount, after in amounts
        if amount
    )
    return Card(
        id="which",
        question="Which model?",
        answer=first.name,
        mood=Mood.GOOD,
        lines=(asked, *lines),
        href="#ranking",
    )


def _grade(amount: Amount) -> str:
    return amount.source.grade.words


def _slower(compared: Sequence[Regression], pins: Sequence[History]) -> Card:
    pairs = [regression for regression in compared if not regression.identical]
    if pairs:
        verdicts = [
            cell.judged.verdict for regression in pairs for cell in regression.cells
        ]
        worst = most_severe(verdicts)
        answer, mood = _SLOWER[worst]
        lines = tuple(_worst_cells(pairs, worst))
    elif pins:
        answer, mood = "Not provable", Mood.OPEN
        lines = tuple(_unpaired_lines(pins))
    else:
        answer, mood = "Nothing to compare yet", Mood.OPEN
        lines = ("`invoke regress --baseline A --candidate B` compares two versions",)
    return Card(
        id="slower",
        question="Did it get slower?",
        answer=answer,
        mood=mood,
        lines=lines,
        href="#slower-section" if pairs or pins else "",
    )


def _worst_cells(pairs: Sequence[Regression], worst: Verdict) -> Iterator[str]:
    """Name the cells with the worst verdict, then count the others."""
    cells = [
        (regression, cell)
        for regression in pairs
        for cell in regression.cells
        if cell.judged.verdict is worst
    ]
    for regression, cell in cells[:_LINES]:
        ratio = f": ratio {cell.ratio_text}" if cell.ratio_text else ""
        yield f"{regression.arms_text}, {cell.model} {cell.test}{ratio}"
    others = Counter(
        str(cell.judged.verdict)
        for regression in pairs
        for cell in regression.cells
        if cell.judged.verdict is not worst
    )
    rest = [f"{number} more {worst}" for number in [len(cells) - _LINES] if number > 0]
    rest += [f"{number} {verdict}" for verdict, number in others.items()]
    if rest:
        yield f"and {', '.join(rest)}"


def _unpaired_lines(pins: Sequence[History]) -> Iterator[str]:
    arms = dict.fromkeys(
        f"{before.pin} → {after.pin}"
        for history in pins
        for before, after in zip(history.points, history.points[1:], strict=False)
    )
    single = any(len(point.means) == 1 for history in pins for point in history.points)
    for arm in list(arms)[:_LINES]:
        yield f"{arm}: {NOT_PROVABLE if single else UNPAIRED}"


def _reproduced(sets: Sequence[SetComparison], href: str) -> Card:
    counts = Counter(
        comparison.verdict
        for compared in sets
        for comparison in compared.result.measured
    )
    reproduced = counts[ComparisonVerdict.REPRODUCED]
    differs = counts[ComparisonVerdict.DIFFERS]
    few = counts[ComparisonVerdict.TOO_FEW_TRIALS]
    names = ", ".join(dict.fromkeys(compared.published.name for compared in sets))
    if differs:
        answer, mood = "Differs", Mood.BAD
        lines = [f"{differs} of {differs + reproduced} comparable numbers differ"]
    elif reproduced:
        answer, mood = "Reproduced", Mood.GOOD
        lines = [f"all {reproduced} comparable numbers"]
    elif few:
        answer, mood = "Too few trials", Mood.OPEN
        lines = [f"{few} numbers"]
    elif sets:
        answer, mood = "Not comparable", Mood.OPEN
        reasons = Counter(
            comparison.reason
            for compared in sets
            for comparison in compared.result.measured
        )
        lines = [f"because {reason}" for reason, _ in reasons.most_common(_LINES - 1)]
    else:
        answer, mood = "Nothing to compare yet", Mood.OPEN
        lines = ["no published number is of a model that was measured"]
    return Card(
        id="reproduced",
        question="Does it reproduce?",
        answer=answer,
        mood=mood,
        lines=(*lines, *([names] if names else [])),
        href=href,
    )
