"""One group of trials as a section of the page: plots, tables, and every record."""

import re
import statistics
from collections.abc import Iterator, Sequence

from llamatrix.config.matrix import WeightsKind
from llamatrix.records.trial_record import TrialRecord
from llamatrix.report.evidence import TrialEvidence
from llamatrix.report.html.group_section import record_id
from llamatrix.report.html.plots import Words
from llamatrix.report.html.trial_plots import (
    PARTS,
    Anatomy,
    anatomy_plot,
    curve_plot,
)
from llamatrix.report.html.view import Cell, Column, Figure, Section, Table
from llamatrix.report.speed_tables import KIND_NOTES
from llamatrix.report.tables import Table as Written
from llamatrix.report.trial_amounts import outcome_text, tools_and_agent_s
from llamatrix.report.trial_own_tables import own_tables
from llamatrix.report.trial_page import (
    group_words,
    measured_text,
    server_text,
    speaker_text,
)
from llamatrix.report.trial_tables import caveat, published_tables, shown_name
from llamatrix.report.trial_troubles import trouble_tables
from llamatrix.report.trials import TrialGroup, prompt_short, prompt_title
from llamatrix.stats.pass_rates import turn_curve
from llamatrix.trials.trial_result import TurnResult

_OPEN = 2
"""Of our own tables those are shown at once: the pass rate and the curve."""
_WIDE = {"Reason", "Remedy", "Last reason", "Difference", "Text", "Failed"}


def trials_id(group: TrialGroup) -> str:
    return f"a-{group.setup.name}"


def trial_section(group: TrialGroup, evidence: TrialEvidence) -> Section:
    key = trials_id(group)
    open_ones = (*published_tables(group), *own_tables(group)[:_OPEN])
    folded = (*own_tables(group)[_OPEN:], *trouble_tables(group))
    return Section(
        id=key,
        title=f"Agent: {group_words(group)}",
        warning=_warning(group),
        facts=_facts(group),
        figures=(*_anatomy(group, key), *_curves(group, key)),
        tables=(
            *(_shown(one, group, evidence, folded=False) for one in open_ones),
            *(_shown(one, group, evidence, folded=True) for one in folded),
            _records(group, key, evidence),
        ),
    )


def _warning(group: TrialGroup) -> str:
    tiny = group.setup.weights is WeightsKind.TINY
    notes = (caveat(group), f"measured with {KIND_NOTES[WeightsKind.TINY]}" * tiny)
    said = "; ".join(note for note in notes if note)
    return f"{said[0].upper()}{said[1:]}." if said else ""


def _facts(group: TrialGroup) -> tuple[tuple[str, str], ...]:
    record, setup = group.records[0], group.setup
    return (
        ("speaks", speaker_text(group)),
        ("host class", f"{setup.host_slug}: {record.host.summary}"),
        ("engine", f"llama.cpp {record.build.commit}"),
        ("agent", f"OpenCode {setup.opencode}, Context7 {setup.context7}"),
        ("network", str(setup.network)),
        ("weights", KIND_NOTES[setup.weights]),
        ("measured", measured_text(group)),
        ("server", server_text(group).strip("`")),
    )


def _anatomy(group: TrialGroup, key: str) -> Iterator[Figure]:
    rows = [
        Anatomy(
            row=f"{model}, {prompt_short(task)}, turn {number}",
            parts=_parts([one[number - 1] for one in several if len(one) >= number]),
        )
        for (model, task), trials in group.trials.items()
        if (several := [one.result.turns for one in trials.finished])
        for number in range(1, max(len(turns) for turns in several) + 1)
    ]
    if not rows:
        return
    told = "; ".join(
        f"{row.row}: "
        + ", ".join(f"{part} {s:.1f}" for part, s in zip(PARTS, row.parts, strict=True))
        for row in rows
    )
    words = Words(
        id=f"{key}-anatomy-plot",
        title=f"Where the time of a turn went, {group_words(group)}",
        description=f"In seconds. {told}.",
    )
    yield Figure(
        id=f"{words.id}-figure",
        caption=(
            "Time of each turn by what it was spent on: means over the trials that had "
            f"this turn. {_called(group)}"
        ),
        svg=anatomy_plot(rows, words),
    )


def _parts(turns: Sequence[TurnResult]) -> tuple[float, float, float, float]:
    return (
        statistics.fmean(turn.totals.prompt_s for turn in turns),
        statistics.fmean(turn.totals.generation_s for turn in turns),
        statistics.fmean(tools_and_agent_s(turn) for turn in turns),
        statistics.fmean(turn.judged_s for turn in turns),
    )


def _curves(group: TrialGroup, key: str) -> Iterator[Figure]:
    """One for each prompt, the models side by side."""
    for task in group.tasks:
        curves = {
            shown_name(group, model): turn_curve(
                trials.turns, max_turns=trials.max_turns
            )
            for (model, other), trials in group.trials.items()
            if other == task and trials.turns
        }
        if not curves:
            continue
        told = "; ".join(
            f"{model}: "
            + ", ".join(
                f"turn {one.turn} {one.share:.2f} "
                f"({one.band.low:.2f} to {one.band.high:.2f})"
                for one in curve.points
            )
            + f", {curve.censored} of {curve.trials} trials never"
            for model, curve in curves.items()
        )
        words = Words(
            id=f"{key}-curve-{task}-plot",
            title=f"Correct by turn, {prompt_title(task)}, {group_words(group)}",
            description=f"Share of scored trials, with its interval. {told}.",
        )
        yield Figure(
            id=f"{words.id}-figure",
            caption=(
                f"{prompt_title(task)}: share of trials correct by each turn, with its "
                f"95 % Wilson band. {_called(group)}"
            ),
            svg=curve_plot(curves, words),
        )


def _called(group: TrialGroup) -> str:
    said = caveat(group)
    return f"{said[0].upper()}{said[1:]}." if said else ""


def _shown(
    table: Written, group: TrialGroup, evidence: TrialEvidence, *, folded: bool
) -> Table:
    """A written table with every number leading to the first record behind it."""
    slug = "-".join(re.findall(r"[a-z0-9.]+", table.title.split(" (")[0].lower()))

    def cell(row: tuple[str, ...], column: int) -> Cell:
        text = row[column]
        numbers = re.fullmatch(r"([\d,]+(\.\d+)?)( ?(s|GiB))?", text)
        number = float(numbers[1].replace(",", "")) if numbers else None
        if column not in table.right and table.header[0] != "Aspect":
            return Cell(text=text)
        record = _behind(group, table, row, column)
        href = f"#{record_id(evidence.of(record))}" if record else ""
        return Cell(text=text, sort=number, href=href if column else "")

    return Table(
        id=f"{trials_id(group)}-{slug}",
        caption=table.title,
        columns=tuple(
            Column(text=text, number=number in table.right, wide=text in _WIDE)
            for number, text in enumerate(table.header)
        ),
        rows=tuple(
            tuple(cell(row, column) for column in range(len(row))) for row in table.rows
        ),
        folded=folded,
    )


def _behind(
    group: TrialGroup, table: Written, row: tuple[str, ...], column: int
) -> TrialRecord | None:
    """The first record of what the cell is about, as row, heading and title tell it."""
    title = table.title.split(" (")[0]
    said = [text.split(" (")[0] for text in (row[0], table.header[column])]
    said.append(title.removeprefix("Results: "))
    model = next((one for one in said if one in group.models), "")
    told = (*row[1:2], table.header[column], title)
    task = next((one for text in told for one in group.tasks if _names(text, one)), "")
    trial = row[2] if table.header[2:3] == ("Trial",) else ""
    found = [
        record
        for record in group.of_model(model)
        if task in {"", record.cell.task} and trial in {"", str(record.trial)}
    ]
    return found[0] if found else None


def _names(text: str, task: str) -> bool:
    return text.endswith(prompt_title(task)) or f"({prompt_short(task)})" in text


def _weights(record: TrialRecord) -> Cell:
    if record.served is None:
        return Cell(text="n/a")
    facts = record.served.weights
    return Cell(text=facts.sha256[:16], hint=facts.file)


def _records(group: TrialGroup, key: str, evidence: TrialEvidence) -> Table:
    """The end of every link: each record with its file, line and digest."""
    rows = []
    for record in group.records:
        line = evidence.of(record)
        rows.append(
            (
                Cell(text=record.cell.model_name, id=record_id(line)),
                Cell(text=prompt_title(record.cell.task)),
                Cell(text=str(record.trial), sort=record.trial),
                Cell(text=outcome_text(record.result.outcome)),
                Cell(text=record.cell.script or "the model"),
                Cell(text=record.measured_at[:19].replace("T", " ")),
                Cell(text=f"{line.file}, line {line.number}", href=line.file),
                Cell(text=line.sha256[:16], hint=f"sha256 {line.sha256}"),
                _weights(record),
            )
        )
    return Table(
        id=f"{key}-records",
        caption=f"Records of trials ({len(rows)})",
        columns=(
            *(Column(text="Model"), Column(text="Prompt")),
            *(Column(text="Trial", number=True), Column(text="Correct on turn")),
            *(Column(text="Speaks"), Column(text="Measured (UTC)")),
            *(Column(text="File"), Column(text="sha256 of the line")),
            Column(text="sha256 of the weights"),
        ),
        rows=tuple(rows),
        folded=True,
    )
