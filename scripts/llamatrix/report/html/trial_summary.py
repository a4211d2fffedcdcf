"""The agent's part of the page's summary: who did what, and how often it was right."""

from collections.abc import Iterator, Sequence

from llamatrix.report.evidence import TrialEvidence
from llamatrix.report.html.group_section import record_id
from llamatrix.report.html.trial_section import trials_id
from llamatrix.report.html.view import Cell, Column, Table
from llamatrix.report.trial_amounts import GENERATION, count_text, turn_text
from llamatrix.report.trial_own_tables import interval_text
from llamatrix.report.trial_tables import caveat, shown_name
from llamatrix.report.trials import TrialGroup, prompt_title
from llamatrix.stats.pass_rates import wilson


def trial_summary(
    groups: Sequence[TrialGroup], evidence: TrialEvidence
) -> tuple[Table, ...]:
    """None without trials."""
    rows = tuple(row for group in groups for row in _rows(group, evidence))
    if not rows:
        return ()
    return (
        Table(
            id="summary-agent",
            caption="Agent",
            columns=(
                *(Column(text="Model"), Column(text="Prompt"), Column(text="Setup")),
                *(Column(text="Passed"), Column(text="95 % interval (Wilson)")),
                Column(text="Correct on turn"),
                Column(text="Generation, tokens/s", number=True),
                *(Column(text="Trials"), Column(text="To be known", wide=True)),
                Column(text="Host class"),
            ),
            rows=rows,
        ),
    )


def _rows(group: TrialGroup, evidence: TrialEvidence) -> Iterator[tuple[Cell, ...]]:
    setup = group.setup
    where = f"{setup.agent}, {setup.pin} / {setup.build}"
    for (model, task), trials in group.trials.items():
        link = f"#{record_id(evidence.of(trials.records[0]))}"
        passes = trials.passes
        yield (
            Cell(text=shown_name(group, model)),
            Cell(text=prompt_title(task)),
            Cell(text=where, href=f"#{trials_id(group)}"),
            Cell(
                text=f"{passes.passed}/{passes.trials}" if passes else "none scored",
                sort=passes.rate if passes else None,
                href=link,
            ),
            Cell(text=interval_text(wilson(passes)) if passes else "n/a"),
            Cell(text=turn_text(trials)),
            Cell(text=GENERATION.cell(trials), href=link),
            Cell(text=count_text(trials)),
            Cell(text=caveat(group)),
            Cell(text=setup.host_slug),
        )
