"""Records to pages: all of them written anew, those asked for shown."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from llamatrix.campaigns.report_view import (
    View,
    belongs,
    load_view,
    published_sets,
)
from llamatrix.campaigns.session import Session
from llamatrix.errors import ReportError
from llamatrix.host import this_host
from llamatrix.plan.expand import select_profile
from llamatrix.progress import say
from llamatrix.project import Project
from llamatrix.report.evidence import Evidence
from llamatrix.report.pages import write_pages
from llamatrix.report.speed import Group
from llamatrix.report.speed_tables import page


def tabulate(profile: str | None, *, out: str | None = None) -> str:
    """Write every page anew; return the text of the tables to show.

    Needs no GPU, no network and no build: records and matrix are enough. With `out`
    pages and records of what is shown are copied there, to be shipped or compared.
    """
    view = load_view()
    if profile:
        select_profile(view.matrix, profile)
    if not view.groups:
        raise ReportError(
            f"{view.project.records}: no records yet; `invoke all` measures and writes "
            "them"
        )
    written = _write_all(view)
    shown = [
        one
        for one in view.groups
        if profile is None or belongs(one, view.matrix, profile)
    ]
    if not shown:
        raise ReportError(f"no records of profile {profile!r} yet; run `invoke all`")
    _say_written(written, view.project)
    if out:
        _export(shown, view, Path(out))
    return page(shown)


def show_session(session: Session) -> str:
    """The tables of what a command has just measured or reused, on this host."""
    view = load_view()
    _say_written(_write_all(view), view.project)
    cells = {item.cell.id for item in session.items}
    slug = this_host().slug
    return page(
        [
            group
            for group in view.groups
            if group.host_slug == slug
            and any(record.cell.id in cells for record in group.records)
        ]
    )


def _write_all(view: View) -> list[Path]:
    return write_pages(
        view.groups,
        view.project.reports,
        evidence=view.evidence,
        sets=published_sets(view.project, view.matrix),
    )


def _export(shown: Sequence[Group], view: View, folder: Path) -> None:
    _copy_records(shown, view.evidence, view.project, folder)
    write_pages(
        shown,
        folder,
        evidence=view.evidence,
        sets=published_sets(view.project, view.matrix),
    )
    say(f"copied to {folder}: the pages and their records")


def _copy_records(
    shown: Sequence[Group], evidence: Evidence, project: Project, folder: Path
) -> None:
    files = {evidence.of(record).file for group in shown for record in group.records}
    hosts = {group.host_slug for group in shown}
    measured = {f"records/{slug}/bandwidth.json" for slug in hosts}
    for name in sorted(files | measured):
        source, target = project.reports / name, folder / name
        if source.exists() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def _say_written(written: Sequence[Path], project: Project) -> None:
    names = [path.relative_to(project.reports).as_posix() for path in written]
    folder = project.reports.relative_to(project.root)
    say(f"written: {folder}/{names[0]} and {len(names) - 1} files beside it")
