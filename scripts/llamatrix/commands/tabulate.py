"""Rewrite all pages from the records, and return the requested tables."""

import os
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from llamatrix import terminal
from llamatrix.commands.flags import TableFlags
from llamatrix.commands.pending import Pending
from llamatrix.commands.report_view import (
    View,
    belongs,
    draft_belongs,
    load_view,
    published_sets,
    trials_belong,
)
from llamatrix.config.expand import select_profile
from llamatrix.errors import ReportError
from llamatrix.host import this_host
from llamatrix.progress import say
from llamatrix.project import Project
from llamatrix.records.context_record import CONTEXT
from llamatrix.records.endpoint_record import ENDPOINT, EndpointRecord
from llamatrix.records.hand_run import BY_HAND
from llamatrix.records.judge_record import JUDGE, trial_name
from llamatrix.records.speed_record import SERVE_SPEED, SpeedRecord
from llamatrix.records.store import Store
from llamatrix.report.inputs import RecordIndex
from llamatrix.report.pages import PageInputs, cards_of, damaged_text, write_pages
from llamatrix.report.speed import Group
from llamatrix.report.trials import TrialGroup
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

    Needs no GPU, no network and no build: records and matrix are enough. With `out`
    pages and records of what is shown are copied there, to be shipped or compared. Of
    the records of another folder no page is written but in `out`.
    """
    profile, out, records = flags.profile or None, flags.out, flags.records
    view = load_view(records)
    if profile:
        select_profile(view.matrix, profile)
    contexts = view.contexts
    others = view.groups or view.trials or view.drafts or view.endpoints
    if not (others or contexts or view.searches):
        unreadable = "".join(f"\n  {line.reason}" for line in view.damaged)
        raise ReportError(
            f"{view.project.records}: no {'readable ' if unreadable else ''}records yet; "
            f"`invoke all` measures and writes them{unreadable}"
        )
    written = [] if records else _write_all(view)
    if not others:
        _say_written(written, view.project)
        if out:
            _export_contexts(
                {context.host.slug for context in contexts}, view, Path(out)
            )
        if not flags.full:
            return _summary((), (), (), (), view)
        known = context_page(newest(contexts)) if contexts else ""
        return known + bisect_page(view.searches) + damaged_text(view.damaged)
    shown = [
        group
        for group in view.groups
        if profile is None or belongs(group, view.matrix, profile)
    ]
    trials = [
        trial
        for trial in view.trials
        if profile is None or trials_belong(trial, view.matrix, profile)
    ]
    drafts = [
        one
        for one in view.drafts
        if profile is None or draft_belongs(one, view.matrix, profile)
    ]
    endpoints = [
        one
        for one in view.endpoints
        if profile is None
        or one.cell.endpoint in view.matrix.profiles[profile].endpoints
    ]
    if not (shown or trials or drafts or endpoints):
        raise ReportError(f"no records of profile {profile!r} yet; run `invoke all`")
    _say_written(written, view.project)
    if out:
        _export(shown, trials, endpoints, drafts, view, Path(out))
        _export_drafts(drafts, view, Path(out))
    if not flags.full:
        return _summary(shown, trials, drafts, endpoints, view)
    searches = "" if profile else bisect_page(view.searches)
    return _text(shown, trials, drafts, endpoints, view) + searches


def tables_of(pending: Pending, *, host_slugs: Collection[str] = ()) -> str:
    """The tables of what was just measured or reused, on this class of host by default."""
    return _of(pending, host_slugs, _text)


def summary_of(pending: Pending, *, host_slugs: Collection[str] = ()) -> str:
    """About fifteen lines on the same."""
    return _of(pending, host_slugs, _summary)


def _of(pending: Pending, host_slugs: Collection[str], show: Callable[..., str]) -> str:
    view = load_view(context=pending.context)
    _say_written(_write_all(view), view.project)
    digests = {status.digest for status in pending.speed}
    trials = {status.cell.id for status in pending.trials}
    endpoints = {status.cell.id for status in pending.endpoints}
    slugs = host_slugs or {this_host().slug}
    return show(
        [
            group
            for group in view.groups
            if group.host_slug in slugs
            and any(record.cell.digest in digests for record in group.records)
        ],
        [
            group
            for group in view.trials
            if group.setup.host_slug in slugs
            and any(record.cell.id in trials for record in group.records)
        ],
        [
            record
            for record in view.drafts
            if record.host.slug in slugs and record.cell.digest in digests
        ],
        [
            one
            for one in view.endpoints
            if one.host.slug in slugs and one.cell.id in endpoints
        ],
        view,
    )


def _text(
    shown: Sequence[Group],
    trials: Sequence[TrialGroup],
    drafts: Sequence[SpeedRecord],
    endpoints: Sequence[EndpointRecord],
    view: View,
) -> str:
    """Speed, drafts, the agent, endpoints; nothing of what there is none of."""
    parts = [
        page(shown) if shown else "",
        draft_page(drafts, current=view.current),
        trial_page(trials, view.judge_records),
    ]
    if endpoints:
        parts.append(endpoints_page(newest_endpoints(endpoints)))
    return "\n".join(part for part in parts if part) + damaged_text(view.damaged)


def _summary(
    shown: Sequence[Group],
    trials: Sequence[TrialGroup],
    drafts: Sequence[SpeedRecord],
    endpoints: Sequence[EndpointRecord],
    view: View,
) -> str:
    slugs = {group.host_slug for group in shown}
    slugs |= {group.setup.host_slug for group in trials}
    measured = Measured(
        groups=shown,
        trials=trials,
        contexts=[one for one in view.contexts if not slugs or one.host.slug in slugs],
        others=len(drafts) + len(endpoints),
    )
    reports = view.project.reports
    page = next((path for path in _PAGES if (reports / path).exists()), _PAGES[0])
    inputs = replace(_inputs(view), groups=shown, trials=trials)
    text = summary_text(
        measured,
        cards_of(inputs),
        page=os.path.relpath(reports / page),
        paint=terminal.paint,
        width=min(terminal.size(), WIDTH),
    )
    return text + damaged_text(view.damaged)


def _write_all(view: View) -> list[Path]:
    """What there are records for: speeds and trials, and the page of contexts."""
    written = []
    if view.groups or view.trials or view.drafts or view.contexts or view.searches:
        inputs = replace(
            _inputs(view),
            groups=view.groups,
            trials=view.trials,
            searches=view.searches,
            damaged=view.damaged,
        )
        written += write_pages(inputs, view.project.reports)
    reports = view.project.reports
    for path in (
        write_draft_page(view.drafts, reports, current=view.current),
        write_context_page(view.contexts, reports),
        write_endpoints_page(view.endpoints, reports),
    ):
        written += [path] if path else []
    return written


def _inputs(view: View) -> PageInputs:
    """Return all but the groups, which a command may choose."""
    return PageInputs(
        groups=(),
        index=view.index,
        models={key: model.name for key, model in view.matrix.models.items()},
        sets=published_sets(view.project, view.matrix),
        trial_index=view.trial_index,
        judge_records=view.judge_records,
        contexts=view.context_index,
        served=view.served,
        runs=view.runs,
        current=view.current,
    )


def _export(
    shown: Sequence[Group],
    trials: Sequence[TrialGroup],
    endpoints: Sequence[EndpointRecord],
    drafts: Sequence[SpeedRecord],
    view: View,
    folder: Path,
) -> None:
    _copy_records(shown, trials, view, folder)
    write_endpoints_page(endpoints, folder)
    store = Store(reports=view.project.reports, kind=ENDPOINT)
    for file in sorted(
        {store.file_of(one.host.slug, one.cell.id) for one in endpoints}
    ):
        _copy_new(file, folder / file.relative_to(view.project.reports))
    slugs = {group.host_slug for group in shown}
    slugs |= {group.setup.host_slug for group in trials}
    slugs |= {record.host.slug for record in drafts}
    runs = tuple(run for run in view.runs if run.host.slug in slugs)
    if shown or trials or drafts:
        contexts = view.context_index.lines
        inputs = replace(
            _inputs(view),
            groups=shown,
            trials=trials,
            contexts=RecordIndex(
                line for line in contexts if line.record.host.slug in slugs
            ),
            served=view.served.only({view.served.of(one).sha256 for one in drafts}),
            runs=runs,
        )
        write_pages(inputs, folder)
    reports = view.project.reports
    for name in sorted({file_of_pairs(run) for run in runs}):
        _copy_new(reports / name, folder / name)
    _export_contexts(slugs, view, folder)
    say(f"copied to {folder}: the pages and their records")


def _export_contexts(hosts: set[str], view: View, folder: Path) -> None:
    """Those of these hosts."""
    project = view.project
    store = Store(reports=project.reports, kind=CONTEXT)
    contexts = [context for context in view.contexts if context.host.slug in hosts]
    write_context_page(contexts, folder)
    for source in sorted(
        {store.file_of(record.host.slug, record.cell.id) for record in contexts}
    ):
        _copy_new(source, folder / source.relative_to(project.reports))


def _export_drafts(records: Sequence[SpeedRecord], view: View, folder: Path) -> None:
    write_draft_page(records, folder, current=view.current)
    reports = view.project.reports
    store = Store(reports=reports, kind=SERVE_SPEED)
    for source in sorted(
        {store.file_of(one.host.slug, one.cell.id) for one in records}
    ):
        _copy_new(source, folder / source.relative_to(reports))


def _copy_records(
    shown: Sequence[Group], trials: Sequence[TrialGroup], view: View, folder: Path
) -> None:
    """The lines that the pages are made of; a trial's trajectory stays where it is."""
    files = {view.index.of(record).file for group in shown for record in group.records}
    files |= {
        view.trial_index.of(record).file for group in trials for record in group.records
    }
    by_hand = Store(reports=view.project.reports, kind=BY_HAND)
    files |= {
        by_hand.file_of(run.host.slug, run.cell)
        .relative_to(view.project.reports)
        .as_posix()
        for group in shown
        for run in group.by_hand
    }
    hosts = {group.host_slug for group in shown}
    measured = {f"records/{slug}/bandwidth.json" for slug in hosts}
    spoken_of = {trial_name(record) for group in trials for record in group.records}
    ratings = Store(reports=view.project.reports, kind=JUDGE)
    measured |= {
        ratings.file_of(rating.host.slug, rating.cell.id)
        .relative_to(view.project.reports)
        .as_posix()
        for rating in view.judge_records
        if rating.trial in spoken_of
    }
    for name in sorted(files | measured):
        _copy_new(view.project.reports / name, folder / name)


def _copy_new(source: Path, target: Path) -> None:
    if source.exists() and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _say_written(written: Sequence[Path], project: Project) -> None:
    if not written:
        return
    names = [path.relative_to(project.reports).as_posix() for path in written]
    folder = project.reports.relative_to(project.root)
    beside = f" and {len(names) - 1} files beside it" if names[1:] else ""
    say(f"written: {folder}/{names[0]}{beside}")
