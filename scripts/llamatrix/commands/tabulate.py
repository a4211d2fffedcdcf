"""Rewrite all pages from the records, and return the requested tables."""

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from llamatrix import terminal
from llamatrix.commands.flags import TableFlags
from llamatrix.commands.pending import Pending
from llamatrix.commands.report_view import load_view
from llamatrix.config.expand import select_profile
from llamatrix.errors import ReportError
from llamatrix.host import this_host
from llamatrix.progress import say
from llamatrix.project import Project
from llamatrix.records.judge_record import trial_name
from llamatrix.records.store import R
from llamatrix.report.pages import (
    Evidence,
    damaged_text,
    evidence_of,
    write_pages,
)
from llamatrix.report.view import View, read_view
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
    evidence = evidence_of(view)
    written = [] if flags.records else _write_all(view, evidence)
    shown = view.of_profile(profile) if profile and view.has_results else view
    if view.has_results and not shown.has_results:
        raise ReportError(f"no records of profile {profile!r} yet; run `invoke all`")
    _say_written(written, view.project)
    if flags.out:
        evidence = _export(shown, Path(flags.out))
    if not flags.full:
        return _summary(shown, evidence)
    searches = "" if profile and view.has_results else bisect_page(view.searches)
    return _text(shown) + searches


def tables_of(pending: Pending, *, host_slugs: Collection[str] = ()) -> str:
    """The tables of what was just measured or reused, on this class of host by default."""
    return _text(_view_of(pending, host_slugs)[0])


def summary_of(pending: Pending, *, host_slugs: Collection[str] = ()) -> str:
    """About fifteen lines on the same."""
    return _summary(*_view_of(pending, host_slugs))


def _view_of(pending: Pending, host_slugs: Collection[str]) -> tuple[View, Evidence]:
    """Rewrite every page; return what was measured or reused, and the page's evidence."""
    context = pending.context
    view = read_view(context.project, context.matrix, context.lock)
    evidence = evidence_of(view)
    _say_written(_write_all(view, evidence), view.project)
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
    return shown, evidence


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


def _summary(view: View, evidence: Evidence) -> str:
    """What the view holds, and the answers of the page."""
    slugs = view.host_slugs
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
        evidence.cards,
        page=os.path.relpath(reports / page),
        paint=terminal.paint,
        width=min(terminal.size(), WIDTH),
    )
    return text + damaged_text(view.damaged)


def _write_all(view: View, evidence: Evidence) -> list[Path]:
    """Write what there are records for: speeds and trials, and the page of contexts."""
    reports, written = view.project.reports, []
    if view.groups or view.trials or view.drafts or view.contexts or view.searches:
        written += write_pages(view, evidence, reports)
    return [*written, *_write_other_pages(view, reports)]


def _write_other_pages(view: View, folder: Path) -> list[Path]:
    pages = (
        write_draft_page(view.drafts, folder, current=view.current),
        write_context_page(view.contexts, folder),
        write_endpoints_page(view.endpoints, folder),
    )
    return [page for page in pages if page]


def _export(view: View, folder: Path) -> Evidence:
    """Copy the pages of what is shown, and the lines that they are made of.

    Return what the pages say. A trial's trajectory stays where it is.
    """
    slugs = view.host_slugs | {record.host.slug for record in view.drafts}
    if not view.has_results:
        slugs = {record.host.slug for record in view.contexts}
    view = replace(
        view,
        contexts=tuple(one for one in view.contexts if one.host.slug in slugs),
        runs=tuple(run for run in view.runs if run.host.slug in slugs),
        compared_trials=tuple(
            one for one in view.compared_trials if one.host.slug in slugs
        ),
        searches=(),
        damaged=(),
    )
    evidence = evidence_of(view)
    if view.groups or view.trials or view.drafts:
        write_pages(view, evidence, folder)
    _write_other_pages(view, folder)
    reports = view.project.reports
    for name in _files(view):
        source, target = reports / name, folder / name
        new = source.read_bytes() if source.exists() else b""
        old = target.read_bytes() if target.exists() else b""
        if target.suffix == ".jsonl" and not new.startswith(old):
            say(f"{target}: has other records than {source}; left as it is")
        elif new and new != old:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(new)
    say(f"copied to {folder}: the pages and their records")
    return evidence


def _files(view: View) -> set[str]:
    """Return the files of all that is shown, relative to the reports."""

    def of(records: Iterable[R]) -> set[str]:
        return {view.index.of(record).file for record in records}

    trials = [record for group in view.trials for record in group.records]
    rated = {trial_name(record) for record in trials}
    return {
        *of(record for group in view.groups for record in group.records),
        *of(run for group in view.groups for run in group.by_hand),
        *of(trials),
        *of(one for one in view.judge_records if one.trial in rated),
        *(*of(view.endpoints), *of(view.drafts), *of(view.contexts)),
        *(f"records/{group.host_slug}/bandwidth.json" for group in view.groups),
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
