"""`invoke llm-judge`: ask a model to rate the work of recorded trials."""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import urlsplit

from llamatrix import __version__
from llamatrix.clock import utc_now
from llamatrix.commands.flags import JudgeFlags
from llamatrix.commands.report_view import finished_trials, load_view
from llamatrix.config.load import is_address
from llamatrix.errors import BenchError, MatrixError
from llamatrix.progress import say
from llamatrix.records.judge_record import (
    JUDGE,
    JudgeRecord,
    JudgeRequest,
    judge_cell,
    trial_name,
)
from llamatrix.records.store import Store
from llamatrix.records.trial_record import TrialRecord
from llamatrix.redaction import Redaction
from llamatrix.report.render.markdown import markdown
from llamatrix.report.views.quality import judge_tables
from llamatrix.trials.checks.task import load_task, read_prompt
from llamatrix.trials.llm_judge import (
    Given,
    JudgeReply,
    ask_judge,
    judge_question,
    rubric,
    rubric_sha256,
)
from llamatrix.web import Site, site

_SECRET_NAMES = ("KEY", "TOKEN", "SECRET", "PASSWORD")
"""Ends of the names of variables whose values are never sent."""


def llm_judge(flags: JudgeFlags) -> str:
    """Ask for each finished trial once, keep each answer, return the tables."""
    view = load_view()
    chosen = finished_trials(view, profile=flags.profile, cells=flags.cells)
    secret = _key(flags.key_env, os.environ)
    secrets = {
        value
        for name, value in os.environ.items()
        if name.upper().endswith(_SECRET_NAMES)
    }
    redaction = Redaction(secrets=tuple(sorted({secret, *secrets} - {""})))
    store = Store(reports=view.project.reports, kind=JUDGE)
    with _endpoint(flags.url, secret) as place:
        for record in chosen:
            _one(record, flags, view.project.records, store, place, redaction)
    say("`invoke table` writes them into agent.md, apart from pass and fail")
    given = [
        record for record in store.read_all() if record.request.model == flags.model
    ]
    tables = (
        markdown(table) for group in view.trials for table in judge_tables(group, given)
    )
    return "\n".join(tables)


def _one(
    record: TrialRecord,
    flags: JudgeFlags,
    records: Path,
    store: Store[JudgeRecord],
    place: Site,
    redaction: Redaction,
) -> None:
    label = f"{record.cell.id} #{record.trial}"
    workspace = _workspace(record, records)
    if workspace is None:
        say(f"{label}: skipped, its workspace is no longer there")
        return
    try:
        task = read_prompt(load_task(record.cell.task))
    except BenchError as error:
        say(f"{label}: skipped: {error}")
        return
    made = judge_question(
        flags.model,
        task=task,
        workspace=workspace,
        tdd=record.result.tdd,
        redaction=redaction,
    )
    request = JudgeRequest(
        model=made.request.model,
        rubric=rubric().version,
        rubric_sha256=rubric_sha256(),
        prompt_sha256=made.sha256,
        characters=made.characters,
        cut=made.cut,
    )
    cell = judge_cell(record, request)
    known = store.read(host_slug=record.host.slug, record_id=cell.id)
    if not flags.again and any(record.cell.digest == cell.digest for record in known):
        say(f"{label}: asked before; `--again` asks again")
        return
    say(f"{label}: asking {flags.model}, {made.characters} characters")
    reached = ask_judge(place, made, redaction)
    store.append(
        JudgeRecord(
            cell=cell,
            trial=trial_name(record),
            request=request,
            answer=reached.answer,
            answered_by=reached.answered_by,
            calls=reached.calls,
            seconds=reached.seconds,
            measured_at=utc_now(),
            host=record.host,
            made_by=f"llamatrix {__version__}",
        )
    )
    say(f"{label}: {_words(reached)}")


def _workspace(record: TrialRecord, records: Path) -> Path | None:
    """As the last turn left it; turns that gave no files have none."""
    if record.served is None:
        return None
    folder = records / record.host.slug / record.served.trajectory
    turns = range(len(record.result.turns), 0, -1)
    folders = (folder / f"turn-{number}" / "workspace" for number in turns)
    return next((path for path in folders if path.is_dir()), None)


def _endpoint(url: str, secret: str) -> AbstractContextManager[Site]:
    """`http://host:port` is taken for `http://host:port/v1`."""
    if not is_address(url):
        raise MatrixError(
            f"--url {url.rpartition('@')[2]}: not an address like http://127.0.0.1:8080 or "
            "https://host/v1; a key is named in `--key-env`"
        )
    base = url.rstrip("/")
    return site(base if urlsplit(url).path.strip("/") else f"{base}/v1", bearer=secret)


def _key(name: str, environ: Mapping[str, str]) -> str:
    if not name:
        return ""
    if not environ.get(name):
        raise MatrixError(f"--key-env {name}: this variable is not set; export it")
    return environ[name]


def _words(reached: JudgeReply) -> str:
    match reached.answer:
        case Given(grades=grades):
            scores = ", ".join(f"{key} {grade.score}" for key, grade in grades.items())
            return f"rated: {scores}"
        case other:
            return f"no rating: {type(other).__name__.lower()}"
