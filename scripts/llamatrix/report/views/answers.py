"""The three questions that the page answers first, each as one card."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

from llamatrix.reference.verdict import ComparisonVerdict
from llamatrix.report.render.html import Card, Mood
from llamatrix.report.set_comparison import SetComparison
from llamatrix.report.views.choose import Choices
from llamatrix.report.views.regressions import (
    NOT_PROVABLE,
    UNPAIRED,
    ComparedCell,
    ComparedTask,
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
    tasks: Sequence[ComparedTask] = (),
) -> tuple[Card, Card, Card]:
    """Answer from the ranking, from pairs and pins, and from comparisons with sets."""
    return _which(found), _slower(compared, tasks, pins), _reproduced(sets, sets_href)


def _which(found: Choices) -> Card:
    question = found.question
    asked = f"for {question.card} and {question.context_tokens:,} tokens of context"
    first = next(
        (choice for choice in found.ranked if choice.speed or choice.correct), None
    )
    if first is None or found.fits(first) is False:
        answer, mood = "None fits" if first else "Not known yet", Mood.OPEN
        lines = ["`invoke bench` measures speeds, `invoke agent` pass rates"]
    else:
        answer, mood = first.name, Mood.GOOD
        amounts = (
            ("", first.speed, " tokens/s"),
            ("correct ", first.correct.amount if first.correct else None, ""),
            ("context ", first.context, " tokens"),
        )
        lines = [
            f"{before}{amount.text}{after}, {amount.source.grade.words}"
            for before, amount, after in amounts
            if amount
        ]
    return Card(
        id="which",
        question="Which model?",
        answer=answer,
        mood=mood,
        lines=(asked, *lines),
        href="#ranking",
    )


def _slower(
    compared: Sequence[Regression],
    tasks: Sequence[ComparedTask],
    pins: Sequence[History],
) -> Card:
    cells = [
        (cell.judged.verdict, _cell_text(one.arms_text, cell))
        for one in compared
        if not one.identical
        for cell in one.cells
    ]
    cells += [
        (
            task.judged.verdict,
            f"{task.arms_text}, {task.model} {task.task}: {task.passes_text}",
        )
        for task in tasks
        if "(A/A)" not in task.arms_text
    ]
    if cells:
        worst = most_severe([verdict for verdict, _ in cells])
        answer, mood = _SLOWER[worst]
        lines = [*_worst_cells(cells, worst)]
    elif pins:
        answer, mood = "Not provable", Mood.OPEN
        arms = dict.fromkeys(
            f"{before.pin} → {after.pin}"
            for history in pins
            for before, after in pairwise(history.points)
        )
        points = [point for history in pins for point in history.points]
        single = any(len(point.means) == 1 for point in points)
        why = NOT_PROVABLE if single else UNPAIRED
        lines = [f"{arm}: {why}" for arm in list(arms)[:_LINES]]
    else:
        answer, mood = "Nothing to compare yet", Mood.OPEN
        lines = ["`invoke regress --baseline A --candidate B` compares two versions"]
    return Card(
        id="slower",
        question="Did it get slower?",
        answer=answer,
        mood=mood,
        lines=tuple(lines),
        href="#slower-section" if cells or pins else "",
    )


def _cell_text(arms_text: str, cell: ComparedCell) -> str:
    ratio = f": ratio {cell.ratio_text}" if cell.ratio_text else ""
    return f"{arms_text}, {cell.model} {cell.test}{ratio}"


def _worst_cells(cells: Sequence[tuple[Verdict, str]], worst: Verdict) -> Iterator[str]:
    """Name the cells with the worst verdict, then count the others."""
    named = [text for verdict, text in cells if verdict is worst]
    yield from named[:_LINES]
    counts = Counter(verdict for verdict, _ in cells)
    del counts[worst]
    rest = [f"{number} {verdict}" for verdict, number in counts.items()]
    if len(named) > _LINES:
        rest.insert(0, f"{len(named) - _LINES} more {worst}")
    if rest:
        yield f"and {', '.join(rest)}"


def _reproduced(sets: Sequence[SetComparison], href: str) -> Card:
    measured = [each for compared in sets for each in compared.result.measured]
    counts = Counter(comparison.verdict for comparison in measured)
    reproduced = counts[ComparisonVerdict.REPRODUCED]
    differs = counts[ComparisonVerdict.DIFFERS]
    few = counts[ComparisonVerdict.TOO_FEW_TRIALS]
    mood = Mood.OPEN
    if differs:
        answer, mood = "Differs", Mood.BAD
        lines = [f"{differs} of {differs + reproduced} comparable numbers differ"]
    elif reproduced:
        answer, mood = "Reproduced", Mood.GOOD
        lines = [f"all {reproduced} comparable numbers"]
    elif few:
        answer = "Too few trials"
        lines = [f"{few} numbers"]
    elif sets:
        answer = "Not comparable"
        reasons = Counter(comparison.reason for comparison in measured)
        lines = [f"because {reason}" for reason, _ in reasons.most_common(_LINES - 1)]
    else:
        answer = "Nothing to compare yet"
        lines = ["no published number is of a model that was measured"]
    names = ", ".join(dict.fromkeys(compared.published.name for compared in sets))
    return Card(
        id="reproduced",
        question="Does it reproduce?",
        answer=answer,
        mood=mood,
        lines=(*lines, *([names] if names else [])),
        href=href,
    )
