"""Opinions of models on finished work: tables of their own, apart from all others."""

import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import assert_never

from llamatrix.records.judge_record import JudgeRecord, TrialName, trial_name
from llamatrix.report.formats import number_text
from llamatrix.report.table import Column, Table
from llamatrix.report.trials import TrialGroup, prompt_short
from llamatrix.trials.llm_judge import Declined, Given, Refused, Unparseable, rubric

_Key = tuple[str, TrialName]


def opinion_tables(
    group: TrialGroup, opinions: Iterable[JudgeRecord]
) -> tuple[Table, ...]:
    """One for each model that was asked and each rubric; of each trial its last word."""
    latest: dict[tuple[str, str], dict[_Key, JudgeRecord]] = {}
    for one in sorted(opinions, key=lambda one: one.measured_at):
        asked = latest.setdefault((one.request.model, one.request.rubric_sha256), {})
        asked[one.host.slug, one.trial] = one
    found = (
        _table(group, model, sha256, latest[model, sha256])
        for model, sha256 in sorted(latest)
    )
    return tuple(table for table in found if table is not None)


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
    columns = [key for key, found in cells.items() if found]
    if not columns:
        return None
    first = cells[columns[0]][0]
    return Table(
        caption=group.caption(
            f"Opinion of {model} (not part of pass or fail)",
            f"rubric {first.request.rubric}, {sha256[:12]}",
        ),
        columns=(
            "Aspect",
            *(
                Column(f"{group.shown_name(name)} ({prompt_short(task)})", wide=True)
                for name, task in columns
            ),
        ),
        rows=tuple(_rows([cells[key] for key in columns])),
    )


def _rows(columns: Sequence[Sequence[JudgeRecord]]) -> Iterator[tuple[str, ...]]:
    """The aspects as they were graded; those of an older rubric keep their keys."""
    known = rubric().aspects
    keys = dict.fromkeys(
        key for column in columns for grades in _grades(column) for key in grades.grades
    )
    for key in keys:
        title = known[key].title if key in known else key
        yield (title, *(_score_text(column, key) for column in columns))
    yield ("Trials", *(_count_text(column) for column in columns))


def _grades(column: Sequence[JudgeRecord]) -> list[Given]:
    return [one.opinion for one in column if isinstance(one.opinion, Given)]


def _score_text(column: Sequence[JudgeRecord], key: str) -> str:
    """`4 of 5: why`; of several trials the median and the range, without words."""
    found = [one.grades[key] for one in _grades(column) if key in one.grades]
    if not found:
        return "none"
    if len(found) == 1:
        return f"{found[0].score} of 5: {found[0].sentence}"
    scores = [one.score for one in found]
    middle = number_text(statistics.median(scores))
    return f"{middle} of 5 ({min(scores)} to {max(scores)})"


def _count_text(column: Sequence[JudgeRecord]) -> str:
    words = [_lack(one) for one in column]
    lacks = [f"{words.count(word)} {word}" for word in dict.fromkeys(words) if word]
    return ", ".join([str(len(_grades(column))), *lacks])


def _lack(record: JudgeRecord) -> str:
    match record.opinion:
        case Given():
            return ""
        case Refused():
            return "refused"
        case Unparseable():
            return "unreadable"
        case Declined():
            return "declined by the endpoint"
        case _:
            assert_never(record.opinion)
