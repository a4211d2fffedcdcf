"""What the reporting commands work on: the project's records or another folder's."""

import dataclasses
from pathlib import Path

from llamatrix.config.context import choose_profile
from llamatrix.config.expand import select_cells
from llamatrix.config.load import load_matrix
from llamatrix.config.lock import load_lock
from llamatrix.config.matrix import Matrix
from llamatrix.errors import BenchError, MeasureError, ReportError
from llamatrix.host import this_host
from llamatrix.progress import say
from llamatrix.project import Project, find_project
from llamatrix.records.trial_record import TrialRecord
from llamatrix.reference.gpu import load_gpus
from llamatrix.reference.reference_set import find_set
from llamatrix.report.inputs import Published, load_published
from llamatrix.report.view import View, read_view


def project_with(records: str) -> Project:
    """The project, with the records of another folder where one is named.

    `records` is a folder that holds `records/`, such as `reports/examples/h200`, or that
    folder `records` itself; empty for the project's own.
    """
    project = find_project()
    if not records:
        return project
    folder = Path(records)
    if folder.name == "records" and not (folder / "records").is_dir():
        folder = folder.parent
    if not (folder / "records").is_dir():
        raise ReportError(
            f"--records {records}: no folder `records` in it; name one that `invoke table "
            "--out` wrote, such as reports/examples/h200"
        )
    return dataclasses.replace(project, other_reports=folder.resolve())


def load_view(records: str = "") -> View:
    """Needs no GPU, no network and no build: matrix and records are enough."""
    project = project_with(records)
    try:
        lock = load_lock(project.lock_file)
    except BenchError:
        lock = None
    return read_view(project, load_matrix(project.matrix_file), lock)


def chosen_view(view: View, profile: str, host: str) -> View:
    """Return a profile's results of one host; ReportError says what there is instead.

    Without a profile it is the one that fits this machine, without a host this one. Of
    records of another folder it is every profile, and their host where there is one.
    """
    known = view.host_slugs
    if not known:
        raise ReportError(
            f"{view.project.records}: no records yet; `invoke all` measures and writes "
            "them"
        )
    other = view.project.other_reports is not None
    slug = host or (min(known) if other and len(known) == 1 else this_host().slug)
    if slug not in known:
        hosts = ", ".join(sorted(known))
        raise ReportError(f"no records of host {slug}; --host takes one of: {hosts}")
    view = view.of_host(slug)
    if other and not profile:
        return view
    choice = choose_profile(profile or None)
    chosen = view.of_profile(choice.profile)
    say(f"profile {choice.profile} ({choice.reason}), host {slug}")
    if not chosen.groups and not chosen.trials:
        run = f"run `invoke all --profile {choice.profile}`"
        raise ReportError(
            f"no records of profile {choice.profile!r} on {slug} yet; "
            f"{'leave --profile out' if other else run}"
        )
    return chosen


def finished_trials(view: View, *, profile: str, cells: str) -> tuple[TrialRecord, ...]:
    """The trials that a model ended, chosen by profile and `--cells`, in table order.

    MeasureError where none is recorded, MatrixError where the glob matches none of them.
    """
    records = [
        record
        for group in (view.of_profile(profile) if profile else view).trials
        for trials in group.trials.values()
        for record in trials.finished
    ]
    if not records:
        of = f" of profile {profile!r}" if profile else ""
        raise MeasureError(
            f"{view.project.records}: no finished trial{of} is recorded; `invoke agent` "
            "makes some, `invoke plan` shows the cells"
        )
    return select_cells(records, cells, ids=lambda record: (record.cell.id,))


def published_set(name: str, project: Project, matrix: Matrix) -> Published:
    """A set by its name or by the path of any file of that form."""
    path = find_set(name, project.published)
    return load_published(path, models=matrix.models, gpus=load_gpus())
