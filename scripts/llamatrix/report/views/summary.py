"""What a command ends with: what was measured, the answers in a line each, the page."""

import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from llamatrix.config.cell import SpeedTest
from llamatrix.measure.context.result import usable_context
from llamatrix.records.context_record import ContextRecord
from llamatrix.report.formats import speed_text, whole
from llamatrix.report.speed import Group
from llamatrix.report.table import plain
from llamatrix.report.trials import TrialGroup
from llamatrix.report.views.context import newest

WIDTH = 100
_ROWS = 6
"""Of contexts; the tables have all of them."""
_SPEED_LINES = 7
"""Of speeds, likewise."""
_LABEL = 20
_USUAL_PROMPT = 512


class Answer(Protocol):
    """To one of the questions that the page answers first."""

    @property
    def question(self) -> str: ...
    @property
    def answer(self) -> str: ...
    @property
    def mood(self) -> str: ...
    @property
    def lines(self) -> Sequence[str]: ...


Paint = Callable[[str, str], str]
"""Colours a text by a mood: good, bad or open."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    groups: Sequence[Group]
    trials: Sequence[TrialGroup]
    contexts: Sequence[ContextRecord]
    others: int
    """Records of servers and endpoints, which have pages of their own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    label: str
    text: str
    words: tuple[tuple[str, str], ...] = ()
    """Parts of the text with their moods."""


def summary_text(
    measured: Measured,
    answers: Sequence[Answer],
    *,
    page: str,
    paint: Paint,
    width: int = WIDTH,
) -> str:
    """About fifteen lines that fit the width; the page's path comes last."""
    entries = [
        *_labelled("Tokens/s", _speeds(measured.groups, width)),
        *_labelled("Trials", _trials(measured.trials)),
        *_labelled("Largest context", _contexts(measured.contexts)),
    ]
    if measured.others:
        text = f"{measured.others} tests, on pages of their own"
        entries.append(_Entry(label="Servers", text=text))
    for answer in answers:
        text = plain("; ".join([answer.answer, *answer.lines[:1]]))
        words = ((answer.answer, str(answer.mood)),)
        entries.append(_Entry(label=answer.question, text=text, words=words))
    entries += [
        _Entry(label="All tables", text="--full prints them"),
        _Entry(label="Page", text=page),
    ]
    lines = []
    for entry in entries:
        for place, wrapped in enumerate(_wrapped(entry.text, width)):
            shown = wrapped
            for word, mood in dict.fromkeys(entry.words):
                shown = shown.replace(word, paint(word, mood))
            label = "" if place else entry.label
            lines.append(f"{label:<{_indent(width)}}{shown}\n")
    return "".join(lines)


def _labelled(label: str, entries: Iterable[_Entry]) -> Iterator[_Entry]:
    for place, entry in enumerate(entries):
        yield replace(entry, label="" if place else label)


def _indent(width: int) -> int:
    return min(_LABEL, width // 3)


def _wrapped(text: str, width: int) -> list[str]:
    """Return the lines behind a label; colours are added later, and change no width."""
    return textwrap.wrap(
        text,
        width=width - _indent(width),
        break_on_hyphens=False,
        break_long_words=False,
    )


def _speeds(groups: Sequence[Group], width: int) -> Iterator[_Entry]:
    rows = [(group, model) for group in groups for model in group.models]
    lines = 0
    for place, (group, model) in enumerate(rows):
        tests = [test for name, test in group.results if name == model]
        results = {test.name: group.results[model, test] for test in _headline(tests)}
        speeds = ", ".join(
            f"{name} {'no number' if result.mean is None else speed_text(result.mean)}"
            for name, result in results.items()
        )
        marks = dict.fromkeys(mark for one in results.values() for mark in one.marks)
        where = f"{group.sweep}, {group.pin_text}/{group.build}"
        tail = "; ".join([where, *marks])
        text = f"{group.shown_name(model)}: {speeds}; {tail}"
        lines += len(_wrapped(text, width))
        if lines > _SPEED_LINES:
            more = f"and {len(rows) - place} more models, pins and sweeps"
            yield _Entry(label="", text=more)
            return
        yield _Entry(label="", text=text)


def _headline(tests: Sequence[SpeedTest]) -> Iterator[SpeedTest]:
    """The usual prompt, else the shortest; then the shortest generation; no depth."""
    flat = [test for test in tests if not test.n_depth and test.concurrency == 1]
    prompts = [test for test in flat if test.n_prompt]
    prompts.sort(key=lambda test: (test.n_prompt != _USUAL_PROMPT, test.n_prompt))
    generations = [test for test in flat if test.n_gen]
    generations.sort(key=lambda test: test.n_gen)
    yield from (*prompts[:1], *generations[:1])


def _trials(groups: Sequence[TrialGroup]) -> Iterator[_Entry]:
    for group in groups:
        words = []
        by_model: dict[str, list[str]] = {}
        for (model, task), trials in group.trials.items():
            word = trials.lost
            if passes := trials.passes:
                word = f"{passes.passed} of {passes.trials} correct"
                words.append((word, "good" if passes.passed else "bad"))
            by_model.setdefault(model, []).append(f"{task} {word}")
        caveat = f", {group.caveat.partition(':')[0]}" if group.caveat else ""
        for model, parts in by_model.items():
            text = f"{model}, {group.setup.program}{caveat}: {', '.join(parts)}"
            yield _Entry(label="", text=text, words=tuple(words))


def _contexts(records: Sequence[ContextRecord]) -> Iterator[_Entry]:
    for record in newest(records)[:_ROWS]:
        least = record.limits.min_speed_ratio
        usable = usable_context(record.result, min_speed_ratio=least)
        tokens = f"{whole(usable.step.tokens)} tokens" if usable.step else "none"
        text = f"{record.cell.model_name}: {tokens}, ended by {usable.limit}"
        yield _Entry(label="", text=text)
