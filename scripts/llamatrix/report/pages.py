"""Writes the derived pages beside the records; `invoke table` makes them all anew."""

from collections.abc import Sequence
from pathlib import Path

from llamatrix.errors import ReportError
from llamatrix.report.bandwidth_file import read_bandwidth
from llamatrix.report.evidence import Evidence
from llamatrix.report.html.build import build_page
from llamatrix.report.html.render import render
from llamatrix.report.published import Published
from llamatrix.report.speed import Group
from llamatrix.report.speed_tables import page, tables
from llamatrix.report.tables import csv_text
from llamatrix.report.tidy import tidy_csv, tidy_json


def write_pages(
    groups: Sequence[Group],
    reports: Path,
    *,
    evidence: Evidence,
    sets: Sequence[Published] = (),
) -> list[Path]:
    """`index.html`, `speed.md`, the samples as CSV and JSON, each table as CSV.

    `evidence` says where each record stands below `reports`; the page holds it
    against `sets`.
    """
    bandwidths = {
        group.host_slug: read_bandwidth(reports, group.host_slug) for group in groups
    }
    texts = {
        "index.html": render(build_page(groups, evidence, sets, bandwidths)),
        "speed.md": page(groups),
        "speed.csv": tidy_csv(groups),
        "speed.json": tidy_json(groups),
    }
    for group in groups:
        label = f"{group.host_slug}-{group.sweep}-{group.weights}"
        for table in tables(group):
            name = table.title.split(" (")[0].lower().replace(" ", "-")
            file = f"{name}-{label}-{group.pin}-{group.build}.csv"
            texts[file] = csv_text(table.header, table.rows)
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
