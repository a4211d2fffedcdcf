"""`invoke context`: the largest context of a model here, searched once and kept."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec

from llamatrix import __version__
from llamatrix.commands.bench import provide_parts
from llamatrix.commands.context.case import Case, case_of
from llamatrix.commands.context.room import Room, ceiling_in, room_here
from llamatrix.commands.flags import Contexting
from llamatrix.commands.launching import launch_of
from llamatrix.errors import BenchError, MeasureError
from llamatrix.exclusive import exclusive
from llamatrix.host import this_host
from llamatrix.measure.context.fill import FillBounds
from llamatrix.measure.context.result import SearchResult, StopReason, usable_context
from llamatrix.measure.context.search import Search, SearchSettings
from llamatrix.progress import say
from llamatrix.provision.build import Built
from llamatrix.provision.weights.provide import Weights
from llamatrix.records.context_record import CONTEXT, ContextRecord
from llamatrix.records.store import Store
from llamatrix.report.context_page import context_page, write_context_page
from llamatrix.units import bytes_text


def context(flags: Contexting) -> str:
    """Search, or find what was searched; write the page, return this model's part."""
    case = case_of(flags)
    store = Store(reports=case.project.reports, kind=CONTEXT)
    record = None if flags.again else _recorded(case, store)
    if record is None:
        store.require_room(this_host().slug)
        record = _searched(case, store)
    else:
        say(f"{case.known.id}: reused from records; `--again` searches anew")
    path = write_context_page(store.read_all(), case.project.reports)
    if path:
        say(f"written: {path.relative_to(case.project.root)}")
    if not record.result.steps:
        raise MeasureError(
            f"{case.known.id}: no context was filled:\n{context_page([record])}"
        )
    return _as_json(record) if flags.json else context_page([record])


def _recorded(case: Case, store: Store[ContextRecord]) -> ContextRecord | None:
    """The last settled answer to the same question, under the same digest."""
    found = store.read(host_slug=this_host().slug, record_id=case.known.id)
    same = [
        one for one in found if one.settled and one.cell.digest == case.known.digest
    ]
    return same[-1] if same else None


def _searched(case: Case, store: Store[ContextRecord]) -> ContextRecord:
    """What was measured is kept, however it ends."""
    parts = provide_parts(case.cell, case.project, weights_dir=case.weights_dir)
    launch = launch_of(
        case.cell, case.project, profile=case.profile, weights_dir=case.weights_dir
    )
    shape = case.shape(parts.weights.path)
    with exclusive(case.project.cache / "measuring.lock", purpose="measuring"):
        room = room_here(case.asked.vram_bytes, on_card=case.on_card)
        _say_room(room)
        search = Search(
            SearchSettings(
                launch=replace(launch, server=case.server),
                shape=shape,
                use=case.use,
                ceiling=ceiling_in(
                    *(room, shape, case.use, case.asked.max_tokens),
                    case.cell.model.name,
                ),
                bounds=FillBounds(
                    min_speed_ratio=case.asked.min_speed_ratio,
                    deadline=time.monotonic() + case.budget_s,
                    max_bytes=room.budget_bytes if room.limited else None,
                ),
                on_card=case.on_card,
                recall_skipped=case.why_no_recall,
                log=case.project.logs / f"{case.known.id.replace('/', '-')}.log",
            ),
            say=say,
        )
        made = partial(_record, case, built=parts.built, weights=parts.weights)
        try:
            record = made(search.result(search.run()), search.argv)
        except (KeyboardInterrupt, BenchError) as error:
            stopped = isinstance(error, KeyboardInterrupt) and search.attempts
            if search.steps or stopped:
                store.append(made(search.result(StopReason.INTERRUPTED), search.argv))
            raise
        store.append(record)
    return record


def _say_room(room: Room) -> None:
    say(f"{room.name}: {bytes_text(room.budget_bytes)} to use")
    if room.others_bytes:
        say(f"others hold {bytes_text(room.others_bytes)} of it: less fits than alone")


def _record(
    case: Case,
    found: SearchResult,
    argv: tuple[str, ...],
    *,
    built: Built,
    weights: Weights,
) -> ContextRecord:
    return ContextRecord(
        cell=case.known,
        limits=case.asked,
        result=found,
        model=case.cell.model,
        server=case.server,
        argv=tuple(Path(word).name if word[:1] == "/" else word for word in argv),
        measured_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        locked=case.cell.locked,
        build=built.manifest,
        weights=weights.facts,
        host=this_host(),
        made_by=f"llamatrix {__version__}",
    )


def _as_json(record: ContextRecord) -> str:
    answer = usable_context(
        record.result, min_speed_ratio=record.limits.min_speed_ratio
    )
    told = {
        "largest_context_tokens": answer.step.tokens if answer.step else None,
        "limit": answer.limit,
        "beyond_tokens": answer.beyond_tokens,
        "record": record,
    }
    return msgspec.json.format(msgspec.json.encode(told), indent=2).decode() + "\n"
