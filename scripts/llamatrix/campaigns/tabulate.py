"""Records to pages: all of them written anew, those asked for shown."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from llamatrix.campaigns.session import Session
from llamatrix.errors import BenchError, ReportError
from llamatrix.host import this_host
from llamatrix.plan.expand import expand, select_profile
from llamatrix.plan.load import load_matrix
from llamatrix.plan.lock import Lock, load_lock
from llamatrix.plan.matrix import Matrix
from llamatrix.progress import say
from llamatrix.project import Project, find_project
from llamatrix.record.store import Store
from llamatrix.report.pages import write_pages
from llamatrix.report.speed import Group, groups
from llamatrix.report.speed_tables import page


def tabulate(profile: str | None, *, out: str | None = None) -> str:
    """Write every page anew; return the text of the tables to show.

    Needs no GPU, no network and no build: records and matrix are enough. With `out`
    pages and records of what is shown are copied there, to be shipped or compared.
    """
    project = find_project()
    matrix = load_matrix(project.matrix_file)
    if profile:
        select_profile(matrix, profile)
    found = _groups(project, matrix)
    if not found:
        raise ReportError(
            f"{project.records}: no records yet; `invoke all` measures and writes them"
        )
    written = write_pages(found, project.reports)
    shown = [one for one in found if profile is None or _belongs(one, matrix, profile)]
    if not shown:
        raise ReportError(f"no records of profile {profile!r} yet; run `invoke all`")
    _say_written(written, project)
    if out:
        _export(shown, project, Path(out))
    return page(shown)


def show_session(session: Session) -> str:
    """The tables of what a command has just measured or reused, on this host."""
    project = session.project
    found = _groups(project, session.matrix)
    _say_written(write_pages(found, project.reports), project)
    cells = {item.cell.id for item in session.items}
    slug = this_host().slug
    return page(
        [
            group
            for group in found
            if group.host_slug == slug
            and any(record.cell.id in cells for record in group.records)
        ]
    )


def _groups(project: Project, matrix: Matrix) -> tuple[Group, ...]:
    return groups(
        Store(folder=project.records).read_all(),
        models=tuple(matrix.models),
        current=_current_digests(project, matrix),
    )


def _current_digests(project: Project, matrix: Matrix) -> frozenset[str]:
    """Spec digests of all cells the matrix has now: their records are preferred."""
    try:
        lock: Lock = load_lock(project.lock_file)
    except BenchError:
        return frozenset()
    return frozenset(
        cell.spec_digest
        for name in matrix.profiles
        for cell in expand(matrix, lock, name)
    )


def _belongs(group: Group, matrix: Matrix, name: str) -> bool:
    profile = matrix.profiles[name]
    return (
        group.weights == profile.weights
        and group.pin in profile.pins
        and group.build in profile.builds
        and group.sweep == profile.sweep
    )


def _export(shown: Sequence[Group], project: Project, folder: Path) -> None:
    store = Store(folder=project.records)
    for record in (record for group in shown for record in group.records):
        source = store.file_of(record.host.slug, record.cell.id)
        target = folder / source.relative_to(project.reports)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    write_pages(shown, folder)
    say(f"copied to {folder}: the pages and their records")


def _say_written(written: Sequence[Path], project: Project) -> None:
    names = [str(path.relative_to(project.root)) for path in written]
    say(f"written: {names[0]} and {len(names) - 1} CSV files beside it")
