"""Rewrite all pages from the records, and return the requested tables."""

import os
import shutil
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from llamatrix import terminal
from llamatrix.commands.flags import TableFlags
from llamatrix.commands.pending import Pending
from llamatrix.commands.report_view import (
    View,
    load_view,
    published_sets,
    view_of,
)
from llamatrix.config.expand import select_profile
from llamatrix.errors import ReportError
from llamatrix.host import this_host
from llamatrix.progress import say
from llamatrix.project import Project
from llamatrix.records.context_record import CONTEXT
from llamatrix.records.endpoint_record import ENDPOINT
from llamatrix.records.hand_run import BY_HAND
from llamatrix.records.judge_record import JUDGE, trial_name
from llamatrix.records.speed_record import SERVE_SPEED
from llamatrix.records.store import R, RecordKind, Store
from llamatrix.report.inputs import RecordIndex
from llamatrix.report.pages import PageInputs, damaged_text, write_pages
from llamatrix.report.views.bisect import bisect_page
from llamatrix.report.views.context import context_page, newest, write_context_page
from llamatrix.report.views.drafts import draft_page, write_draft_page
from llamatrix.report.views.endpoints import (
    endpoints_page,
    newest_endpoints,
    write_endpoints_page,
)
from llamatrix.report.views.regressions import file_of_pairs
from llamatrix.report.views.speed import page
from llamatrix.report.views.summary import WIDTH, Measured, summary_text
from llamatrix.report.views.trials import trial_page

_PAGES = ("index.html", "serve-speed.md", "endpoints.md", "context.md", "bisect.md")


def tabulate(flags: TableFlags) -> str:
    """Rewrite every page; return a summary, or the text of all tables.

    Needs no GPU, no network and no build: records and matrix are enough. With `--out`
    pages and records of what is shown are copied there, to be shipped or compared. Of
    the records of another folder no page is written but in `--out`.
    """
    profile = flags.profile
    view = load_view(flags.records)
    if profile:
        select_profile(view.matrix, profile)
    if not (view.has_results or view.contexts or view.searches):
        unreadable = "".join(f"\n  {line.reason}" for line in view.damaged)
        raise ReportError(
            f"{view.project.records}: no {'readable ' if unreadable else ''}records yet; "
            f"`invoke all` measures and writes them{unreadable}"
        )
    inputs = _inputs(view)
    written = [] if flags.records else _write_all(view, inputs)
    shown = view.of_profile(profile) if profile and view.has_results else view
    if view.has_results and not shown.has_results:
        raise ReportError(f"no records of profile {profile!r} yet; run `invoke all`")
    _say_written(written, view.project)
    if flags.out:
        inputs = _export(shown, Path(flags.out))
    if not flags.full:
        return _summary(shown, inputs)
    searches = "" if profile and view.has_results else bisect_page(view.searches)
    return _text(shown) + searches


def tables_of(pending: Pending, *, host_slugs: Collection[str] = ()) -> str:
    """The tables of what was just measured or reused, on this class of host by default."""
    return _text(_view_of(pending, host_slugs)[0])


def summary_of(pending: Pending, *, host_slugs: Collection[str] = ()) -> str:
    """About fifteen lines on the same."""
    return _summary(*_view_of(pending, host_slugs))


def _view_of(pending: Pending, host_slugs: Collection[str]) -> tuple[View, PageInputs]:
    """Rewrite every page; return what was measured or reused, and the page's inputs."""
    view = view_of(pending.context)
    inputs = _inputs(view)
    _say_written(_write_all(view, inputs), view.project)
    digests = {status.digest for status in pending.speed}
    trials = {status.cell.id for status in pending.trials}
    endpoints = {status.cell.id for status in pending.endpoints}
    slugs = host_slugs or {this_host().slug}
    shown = view.only(
        group=lambda group: (
            group.host_slug in slugs
            and any(record.cell.digest in digests for record in group.records)
        ),
        trial=lambda group: (
            group.setup.host_slug in slugs
            and any(record.cell.id in trials for record in group.records)
        ),
        draft=lambda record: (
            record.host.slug in slugs and record.cell.digest in digests
        ),
        endpoint=lambda record: (
            record.host.slug in slugs and record.cell.id in endpoints
        ),
    )
    return shown, inputs


def _text(view: View) -> str:
    """Speed, drafts, the agent, endpoints, else contexts; nothing of what there is none of."""
    parts = [
        page(view.groups) if view.groups else "",
        draft_page(view.drafts, current=view.current),
        trial_page(view.trials, view.judge_records),
    ]
    if view.endpoints:
        parts.append(endpoints_page(newest_endpoints(view.endpoints)))
    if view.contexts and not view.has_results:
        parts.append(context_page(newest(view.contexts)))
    return "\n".join(part for part in parts if part) + damaged_text(view.damaged)


def _summary(view: View, inputs: PageInputs) -> str:
    """What the view holds, and the answers of the page with these inputs."""
    slugs = {group.host_slug for group in view.groups}
    slugs |= {group.setup.host_slug for group in view.trials}
    measured = Measured(
        groups=view.groups,
        trials=view.trials,
        contexts=[one for one in view.contexts if not slugs or one.host.slug in slugs],
        others=len(view.drafts) + len(view.endpoints),
    )
    reports = view.project.reports
    page = next((path for path in _PAGES if (reports / path).exists()), _PAGES[0])
    text = summary_text(
        measured,
        inputs.evidence.cards,
        page=os.path.relpath(reports / page),
        paint=terminal.paint,
        width=min(terminal.size(), WIDTH),
    )
    return text + damaged_text(view.damaged)


def _write_all(view: View, inputs: PageInputs) -> list[Path]:
    """Write what there are records for: speeds and trials, and the page of contexts."""
    reports, written = view.project.reports, []
    if view.groups or view.trials or view.drafts or view.contexts or view.searches:
        written += write_pages(inputs, reports)
    return [*written, *_write_other_pages(view, reports)]


def _write_other_pages(view: View, folder: Path) -> list[Path]:
    pages = (
        write_draft_page(view.drafts, folder, current=view.current),
        write_context_page(view.contexts, folder),
        write_endpoints_page(view.endpoints, folder),
    )
    return [page for page in pages if page]


def _inputs(view: View) -> PageInputs:
    return PageInputs(
        groups=view.groups,
        index=view.index,
        models={key: model.name for key, model in view.matrix.models.items()},
        sets=published_sets(view.project, view.matrix),
        trials=view.trials,
        trial_index=view.trial_index,
        judge_records=view.judge_records,
        contexts=view.context_index,
        served=view.served,
        runs=view.runs,
        compared_trials=view.compared_trials,
        searches=view.searches,
        current=view.current,
        damaged=view.damaged,
    )


def _export(view: View, folder: Path) -> PageInputs:
    """Copy the pages of what is shown, and the lines that they are made of.

    Return what the pages were made of. A trial's trajectory stays where it is.
    """
    slugs = {group.host_slug for group in view.groups}
    slugs |= {group.setup.host_slug for group in view.trials}
    slugs |= {record.host.slug for record in view.drafts}
    if not view.has_results:
        slugs = {record.host.slug for record in view.contexts}
    lines = view.context_index.lines
    view = replace(
        view,
        context_index=RecordIndex(
            line for line in lines if line.record.host.slug in slugs
        ),
        runs=tuple(run for run in view.runs if run.host.slug in slugs),
        compared_trials=tuple(
            one for one in view.compared_trials if one.host.slug in slugs
        ),
        searches=(),
        damaged=(),
    )
    inputs = _inputs(view)
    if view.groups or view.trials or view.drafts:
        write_pages(inputs, folder)
    _write_other_pages(view, folder)
    reports = view.project.reports
    for name in _files(view):
        source, target = reports / name, folder / name
        if source.exists() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    say(f"copied to {folder}: the pages and their records")
    return inputs


def _files(view: View) -> set[str]:
    """Return the files of all that is shown, relative to the reports."""

    def of(kind: RecordKind[R], records: Iterable[R]) -> set[str]:
        store = Store(reports=view.project.reports, kind=kind)
        files = {store.file_of(one.host.slug, one.record_id) for one in records}
        return {path.relative_to(store.reports).as_posix() for path in files}

    trials = [record for group in view.trials for record in group.records]
    rated = {trial_name(record) for record in trials}
    return {
        *(view.index.of(one).file for group in view.groups for one in group.records),
        *(view.trial_index.of(record).file for record in trials),
        *(f"records/{group.host_slug}/bandwidth.json" for group in view.groups),
        *of(BY_HAND, (run for group in view.groups for run in group.by_hand)),
        *of(JUDGE, (one for one in view.judge_records if one.trial in rated)),
        *of(ENDPOINT, view.endpoints),
        *of(SERVE_SPEED, view.drafts),
        *of(CONTEXT, view.contexts),
        *map(file_of_pairs, view.runs if view.has_results else ()),
        *map(file_of_pairs, view.compared_trials),
    }


def _say_written(written: Sequence[Path], project: Project) -> None:
    if not written:
        return
    names = [path.relative_to(project.reports).as_posix() for path in written]
    folder = project.reports.relative_to(project.root)
    beside = f" and {len(names) - 1} files beside it" if names[1:] else ""
    say(f"written: {folder}/{names[0]}{beside}")
