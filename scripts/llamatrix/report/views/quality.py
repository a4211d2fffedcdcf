"""The published Code Quality table from static findings: counts, no grades, no judge."""

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from llamatrix.records.judge_record import JudgeRecord, TrialName, trial_name
from llamatrix.report.formats import number_text
from llamatrix.report.table import Cell, Column, Table
from llamatrix.report.trials import TrialGroup, Trials, prompt_short, prompt_title
from llamatrix.trials.checks.quality import Aspect, Quality
from llamatrix.trials.llm_judge import Declined, Given, Refused, Unparseable, rubric


def quality_table(group: TrialGroup, task: str) -> Table:
    cells = [group.trials.get((model, task)) for model in group.models]
    return Table(
        group.caption(f"Code Quality: {prompt_title(task)}"),
        (
            "Aspect",
            *(Column(group.shown_name(model), wide=True) for model in group.models),
        ),
        [
            (name, *(_cell(text(trials), trials) for trials in cells))
            for name, text in _ASPECTS.items()
        ],
    )


def tdd_cell(trials: Trials | None) -> Cell:
    return _cell(_tdd_text(trials), trials)


def _cell(text: str, trials: Trials | None) -> Cell:
    return Cell(value=text, records=trials.finished if trials else ())


def quality_cell(trials: Trials | None) -> Cell:
    """`findings 3, critical 1`; of several trials medians."""
    if word := _why_none(trials):
        return Cell(value=None, missing=word)
    flaws = [quality.flaws for quality in _qualities(trials)]
    critical = [
        sum(flaw.aspect is Aspect.CRITICAL for flaw in several) for several in flaws
    ]
    text = f"findings {_median(map(len, flaws))}, critical {_median(critical)}"
    return _cell(text, trials)


def _tdd_text(trials: Trials | None) -> str:
    """How many trials went red, then green, and which of the three steps were made."""
    if trials is None or not trials.finished:
        return _why_none(trials)
    orders = [order.result.tdd for order in trials.finished if order.result.tdd]
    if not orders:
        return "n/a"
    steps = (
        (sum(order.test_first for order in orders), "test first"),
        (sum(order.failed_before for order in orders), "failed before"),
        (sum(order.passed_after for order in orders), "passed after"),
    )
    followed = sum(order.followed for order in orders)
    if len(orders) == 1:
        made = ", ".join(word for count, word in steps if count) or "none of its steps"
        return "followed" if followed else f"not followed: {made}"
    parts = ", ".join(f"{word} {count}" for count, word in steps)
    return f"followed in {followed} of {len(orders)} ({parts})"


def _aspect(
    aspect: Aspect, counts: Callable[[Sequence[Quality]], str]
) -> Callable[[Trials | None], str]:
    def text(trials: Trials | None) -> str:
        if word := _why_none(trials):
            return word
        qualities = _qualities(trials)
        parts = (counts(qualities), _rules(qualities, aspect))
        return "; ".join(filter(None, parts))

    return text


def _rules(qualities: Sequence[Quality], aspect: Aspect) -> str:
    """Each rule with how often; of several trials in how many of them."""
    per_trial = [
        Counter(flaw.rule for flaw in quality.flaws if flaw.aspect is aspect)
        for quality in qualities
    ]
    if len(qualities) == 1:
        parts = [f"{rule} ×{n}" for rule, n in sorted(per_trial[0].items())]
    else:
        within = Counter(rule for rules in per_trial for rule in rules)
        parts = [
            f"{rule} in {n} of {len(qualities)}" for rule, n in sorted(within.items())
        ]
    return ", ".join(parts) or "no finding"


def _structure(qualities: Sequence[Quality]) -> str:
    parts = (
        ("script", "scripts", [quality.scripts for quality in qualities]),
        ("test file", "test files", [quality.test_files for quality in qualities]),
        ("function", "functions", [quality.functions for quality in qualities]),
        ("class", "classes", [quality.classes for quality in qualities]),
        ("line", "lines", [quality.code_lines for quality in qualities]),
    )
    return ", ".join(
        f"{middle} {singular if middle == '1' else plural}"
        for singular, plural, counts in parts
        for middle in [_median(counts)]
    )


def _guarded(qualities: Sequence[Quality]) -> str:
    guarded = sum(quality.guarded_api_calls for quality in qualities)
    return f"{guarded} of {sum(quality.api_calls for quality in qualities)} API calls guarded"


def _cleanliness(qualities: Sequence[Quality]) -> str:
    functions = sum(quality.functions for quality in qualities)
    things = functions + sum(quality.classes for quality in qualities)
    paths = sum(quality.uses_pathlib for quality in qualities)
    pathlib = f"pathlib in {paths} of {len(qualities)}"
    if len(qualities) == 1:
        pathlib = "pathlib" if paths else "no pathlib"
    return (
        f"{sum(quality.documented for quality in qualities)} of {things} with a docstring, "
        f"{sum(quality.typed for quality in qualities)} of {functions} functions typed, {pathlib}"
    )


def _median(counts: Iterable[int]) -> str:
    return number_text(statistics.median(counts))


_ASPECTS: dict[str, Callable[[Trials | None], str]] = {
    "Structure": _aspect(Aspect.STRUCTURE, _structure),
    "Error handling": _aspect(Aspect.ERROR_HANDLING, _guarded),
    "TDD order": _tdd_text,
    "Cleanliness": _aspect(Aspect.CLEANLINESS, _cleanliness),
    "Critical issues": _aspect(Aspect.CRITICAL, lambda _: ""),
    "Trials": lambda trials: str(len(_qualities(trials))),
}


def _qualities(trials: Trials | None) -> list[Quality]:
    finished = trials.finished if trials else ()
    return [record.result.quality for record in finished if record.result.quality]


def _why_none(trials: Trials | None) -> str:
    if trials is None:
        return "not measured"
    if not trials.finished:
        return trials.lost
    return "" if _qualities(trials) else "n/a"


_Key = tuple[str, TrialName]


def judge_tables(
    group: TrialGroup, judge_records: Iterable[JudgeRecord]
) -> tuple[Table, ...]:
    """One for each model that was asked and each rubric; of each trial its last word."""
    latest: dict[tuple[str, str], dict[_Key, JudgeRecord]] = {}
    for rating in sorted(judge_records, key=lambda rating: rating.measured_at):
        by_trial = latest.setdefault(
            (rating.request.model, rating.request.rubric_sha256), {}
        )
        by_trial[rating.host.slug, rating.trial] = rating
    tables = (
        _table(group, model, sha256, latest[model, sha256])
        for model, sha256 in sorted(latest)
    )
    return tuple(table for table in tables if table is not None)


def _table(
    group: TrialGroup, model: str, sha256: str, given: dict[_Key, JudgeRecord]
) -> Table | None:
    cells = {
        key: [
            given[name]
            for record in trials.records
            if (name := (record.host.slug, trial_name(record))) in given
        ]
        for key, trials in group.trials.items()
    }
    columns = [key for key, answers in cells.items() if answers]
    if not columns:
        return None
    first = cells[columns[0]][0]
    caption = group.caption(
        f"LLM judge {model} (not part of pass or fail)",
        f"rubric {first.request.rubric}, {sha256[:12]}",
    )
    headings = (
        Column(f"{group.shown_name(name)} ({prompt_short(task)})", wide=True)
        for name, task in columns
    )
    rows = _rows([cells[key] for key in columns])
    return Table(caption, ("Aspect", *headings), [*rows])


def _rows(columns: Sequence[Sequence[JudgeRecord]]) -> Iterator[tuple[str, ...]]:
    """The aspects as they were graded; those of an older rubric keep their keys."""
    known = rubric().aspects
    given = [
        [record.answer for record in column if isinstance(record.answer, Given)]
        for column in columns
    ]
    for key in dict.fromkeys(
        key for some in given for one in some for key in one.grades
    ):
        title = known[key].title if key in known else key
        yield (title, *(_score_text(answers, key) for answers in given))
    yield ("Trials", *map(_count_text, columns))


def _score_text(answers: Sequence[Given], key: str) -> str:
    """`4 of 5: why`; of several trials the median and the range, without words."""
    grades = [answer.grades[key] for answer in answers if key in answer.grades]
    if not grades:
        return "none"
    if len(grades) == 1:
        return f"{grades[0].score} of 5: {grades[0].sentence}"
    scores = [grade.score for grade in grades]
    return f"{_median(scores)} of 5 ({min(scores)} to {max(scores)})"


_LACKS = {
    Refused: "refused",
    Unparseable: "unreadable",
    Declined: "declined by the endpoint",
}


def _count_text(column: Sequence[JudgeRecord]) -> str:
    answers = [record.answer for record in column]
    words = ["" if isinstance(one, Given) else _LACKS[type(one)] for one in answers]
    lacks = [f"{words.count(word)} {word}" for word in dict.fromkeys(words) if word]
    return ", ".join([str(words.count("")), *lacks])
