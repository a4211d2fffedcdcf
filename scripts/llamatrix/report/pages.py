"""Writes the derived pages beside the records; `invoke table` makes them all anew."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from llamatrix.errors import ReportError
from llamatrix.records.opinion_record import OpinionRecord
from llamatrix.records.store import DamagedLine
from llamatrix.report.bandwidth_file import read_bandwidth
from llamatrix.report.damaged import damaged_text
from llamatrix.report.evidence import NO_TRIALS, Evidence, TrialEvidence
from llamatrix.report.html.build import build_page
from llamatrix.report.html.render import render
from llamatrix.report.published import Published
from llamatrix.report.speed import Group
from llamatrix.report.speed_tables import page, tables
from llamatrix.report.tables import csv_text
from llamatrix.report.tidy import tidy_csv, tidy_json
from llamatrix.report.trial_page import trial_page, trial_tables
from llamatrix.report.trial_tidy import agent_csv, agent_json
from llamatrix.report.trials import TrialGroup


def write_pages(
    groups: Sequence[Group],
    reports: Path,
    *,
    evidence: Evidence,
    sets: Sequence[Published] = (),
    trials: Sequence[TrialGroup] = (),
    trial_evidence: TrialEvidence = NO_TRIALS,
    opinions: Sequence[OpinionRecord] = (),
    damaged: Sequence[DamagedLine] = (),
) -> list[Path]:
    """`index.html`, and of what there is, speeds or trials, `.md`, `.csv` and `.json`.

    Each table is a CSV file besides. The two evidences say where each record stands
    below `reports`; the page holds speeds against `sets`. Opinions stand in `agent.md`
    alone, `damaged` lines on every page.
    """
    bandwidths = {
        group.host_slug: read_bandwidth(reports, group.host_slug) for group in groups
    }
    whole = build_page(
        *(groups, evidence, sets, bandwidths),
        trials=trials,
        trial_evidence=trial_evidence,
        damaged=damaged,
    )
    texts = {"index.html": render(whole)}
    if groups:
        texts |= {
            "speed.md": page(groups) + damaged_text(damaged),
            "speed.csv": tidy_csv(groups),
            "speed.json": tidy_json(groups),
            **dict(_speed_files(groups)),
        }
    if trials:
        texts |= {
            "agent.md": trial_page(trials, opinions) + damaged_text(damaged),
            "agent.csv": agent_csv(trials),
            "agent.json": agent_json(trials),
            **dict(_trial_files(trials)),
        }
    written = []
    for name, text in texts.items():
        path = reports / name
        try:
            reports.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        except OSError as error:
            raise ReportError(f"{path}: cannot be written: {error.strerror}") from error
        written.append(path)
    return written


def _speed_files(groups: Sequence[Group]) -> Iterator[tuple[str, str]]:
    for group in groups:
        label = f"{group.host_slug}-{group.sweep}-{group.weights}"
        for table in tables(group):
            name = f"{_slug(table.title)}-{label}-{group.pin}-{group.build}.csv"
            yield name, csv_text(table.header, table.rows)


def _trial_files(trials: Sequence[TrialGroup]) -> Iterator[tuple[str, str]]:
    for group in trials:
        for table in trial_tables(group):
            name = f"agent-{_slug(table.title)}-{group.setup.name}.csv"
            yield name, csv_text(table.header, table.rows)


def _slug(title: str) -> str:
    """The words of a title, without what stands in brackets behind them."""
    return "-".join(re.findall(r"[a-z0-9.]+", title.split(" (", maxsplit=1)[0].lower()))
