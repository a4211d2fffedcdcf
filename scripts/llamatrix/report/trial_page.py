"""The agent page: what a reader must know before a number, then the tables."""

from collections.abc import Iterable, Sequence

from llamatrix.records.opinion_record import OpinionRecord
from llamatrix.report.opinion_table import opinion_tables
from llamatrix.report.speed_tables import KIND_NOTES
from llamatrix.report.tables import Table
from llamatrix.report.trial_amounts import served_argv
from llamatrix.report.trial_own_tables import own_tables
from llamatrix.report.trial_tables import SCRIPTED, caveat, published_tables
from llamatrix.report.trial_troubles import trouble_tables
from llamatrix.report.trials import TrialGroup


def trial_tables(group: TrialGroup) -> tuple[Table, ...]:
    """In the published order, then ours, then what went wrong."""
    return (*published_tables(group), *own_tables(group), *trouble_tables(group))


def trial_page(
    groups: Iterable[TrialGroup], opinions: Sequence[OpinionRecord] = ()
) -> str:
    """All groups as one Markdown page, empty without any; same groups, same bytes.

    What models think of a group's work stands behind all that was measured.
    """
    parts = ["# Agent\n"]
    for group in groups:
        parts.append(trial_heading(group) + "\n")
        tables = (*trial_tables(group), *opinion_tables(group, opinions))
        parts += [table.markdown() for table in tables]
    return "\n".join(parts) if len(parts) > 1 else ""


def group_words(group: TrialGroup) -> str:
    setup = group.setup
    parts = (
        *(f"{setup.agent} setup", f"OpenCode {setup.opencode}", f"{setup.network}"),
        *(f"pin {setup.pin}", f"{setup.build} build", f"{setup.weights} weights"),
    )
    end = (caveat(group),) if caveat(group) else ()
    return ", ".join((*parts, *end))


def measured_text(group: TrialGroup) -> str:
    days = sorted({one.measured_at[:10] for one in group.records})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def speaker_text(group: TrialGroup) -> str:
    """Who answered OpenCode."""
    if not group.setup.scripted:
        return "the model itself"
    names = sorted({one.cell.script for one in group.records if one.cell.script})
    return f"{SCRIPTED}; transcripts: {', '.join(names)}"


def server_text(group: TrialGroup) -> str:
    """The first that was started; others differ in their model's own flags."""
    found = (" ".join(served_argv(one)) for one in group.records)
    first = next((line for line in found if line), "")
    return f"`{first}`" if first else "none was started"


def trial_heading(group: TrialGroup) -> str:
    record, setup = group.records[0], group.setup
    where = f"`records/{setup.host_slug}/agent/`"
    uv = ", ".join(sorted({one.uv for one in group.records}))
    compiler = f"{setup.build} build by {record.build.compiler}"
    programs = f"OpenCode {setup.opencode}, Context7 {setup.context7}, uv {uv}"
    lines = [
        f"## Agent: {group_words(group)}",
        "",
        f"- speaks: {speaker_text(group)}",
        f"- engine: llama.cpp {record.build.commit[:9]} ({compiler})",
        f"- agent: {programs}, network {setup.network}",
        f"- weights: {KIND_NOTES[setup.weights]}",
        f"- host: {record.host.summary}",
        f"- measured: {measured_text(group)}, {len(group.records)} trials in {where}",
        f"- server: {server_text(group)}",
    ]
    return "\n".join(lines)
