"""Recorded comparisons keep their verdicts: every ledger that we have, judged again.

The golden files were written by the code before `compare/`; whatever judges the ledgers
now must give the same text, Markdown, JSON and JUnit.
"""

import re
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.commands.regress.agent.made import (
    FAILED,
    HUNG,
    MadeAttempts,
    always,
    asked,
    found_by,
    passing,
)
from tests.shipped import CAPTURED, ROOT

from llamatrix.compare.ledger import Ledger, RunT
from llamatrix.compare.run import ArmFacts, TimingComparison, headline_of
from llamatrix.compare.session import Session
from llamatrix.project import Project
from llamatrix.records.pair_records import (
    REPLAY_PAIRS,
    SPEED_PAIRS,
    ReplayRun,
    SpeedRun,
)
from llamatrix.records.store import R, RecordKind, RecordLocation
from llamatrix.report.comparison import (
    comparison_json,
    comparison_junit,
    comparison_markdown,
    comparison_text,
)
from llamatrix.stats.pairs import Arm
from llamatrix.stats.sequential import PLANNED, judge_cases
from llamatrix.stats.verdict import Metric

_REGRESS = CAPTURED / "regress"
_EXAMPLES = ROOT / "reports" / "examples"
SPEED = {
    "h200-aa": sorted(_REGRESS.glob("h200-aa-*.jsonl")),
    "h200-april-current": sorted(_REGRESS.glob("h200-april-current-*.jsonl")),
    "example-cpu": sorted((_EXAMPLES / "cpu" / "regress").rglob("*.jsonl")),
    "example-h200-april-current": sorted(
        (_EXAMPLES / "h200" / "regress").rglob("april..current/*/*.jsonl")
    ),
    "example-h200-current": sorted(
        (_EXAMPLES / "h200" / "regress").rglob("current/*/*.jsonl")
    ),
}


def _lines(path: Path, kind: RecordKind[R]) -> list[R]:
    place = RecordLocation("host", path.stem)
    lines = path.read_bytes().splitlines()
    return [kind.decode(line, where=path.name, place=place) for line in lines]


def _session(lines: Sequence[RunT], metrics: tuple[Metric, ...]) -> Session[RunT]:
    """A session whose pairs are all recorded; it is asked for its cases only."""
    case = lines[0].case
    one = len(metrics) == 1
    subject: Any = SimpleNamespace(
        id=case,
        metrics=metrics,
        case_id=lambda metric: case if one else f"{case}/{metric}",
    )
    ledger = Ledger(
        store=None,  # type: ignore[arg-type]
        runs=list(lines),
        series=1,
        seed=0,
        known=0,
    )
    return Session(
        subject=subject,
        ledger=ledger,
        project=None,  # type: ignore[arg-type]
        watch=None,  # type: ignore[arg-type]
        tolerated_percent=10.0,
    )


def _result(
    sessions: Sequence[Session[SpeedRun]] | Sequence[Session[ReplayRun]],
) -> str:
    cases = [case for session in sessions for case in session.cases]
    lines = [line for session in sessions for line in session.ledger.runs]
    judgement = judge_cases(
        {case.id: case.samples for case in cases},
        margins={case.id: case.metric.margin for case in cases},
    )

    def facts(arm: Arm) -> ArmFacts:
        line = next(line for line in lines if line.arm is arm)
        *_, pin, build = line.cell.split("/")
        server = line.server if isinstance(line, ReplayRun) else ""
        return ArmFacts(
            pin=pin,
            commit=line.locked.commit,
            builds=(build,),
            sweep="" if server else "sweep",
            server=server,
        )

    result = TimingComparison(
        baseline=facts(Arm.BASELINE),
        candidate=facts(Arm.CANDIDATE),
        identical=len({line.cell for line in lines}) == 1,
        profile="recorded",
        host=lines[0].host.summary,
        sequential=PLANNED,
        judgement=judgement,
        headline=headline_of(cases, judgement, PLANNED),
        wall_s=2 * sum(line.seconds for line in lines),
        processes_s=sum(line.seconds for line in lines),
        processes=len(lines),
    )
    return "\n".join(
        [
            *(comparison_text(result), comparison_markdown(result)),
            *(comparison_json(result), "", comparison_junit(result)),
        ]
    )


def _speed_session(path: Path) -> Session[SpeedRun]:
    lines = _lines(path, SPEED_PAIRS)
    metric = Metric.PROMPT if lines[0].test.n_prompt else Metric.GENERATION
    return _session(lines, (metric,))


@pytest.mark.parametrize("name", SPEED)
def test_speed_ledger_keeps_its_verdicts(
    name: str, golden: Callable[[str, str], None]
) -> None:
    golden(f"verdicts/{name}.txt", _result([*map(_speed_session, SPEED[name])]))


@pytest.mark.parametrize("name", SPEED)
def test_speed_ledger_cut_short_keeps_its_verdicts(
    name: str, golden: Callable[[str, str], None]
) -> None:
    """After every number of lines, so that each interim look is seen."""
    cut = []
    for path in SPEED[name]:
        lines = _lines(path, SPEED_PAIRS)
        for count in range(1, len(lines) + 1):
            (case,) = _session(lines[:count], (Metric.PROMPT,)).cases
            found = judge_cases({path.stem: case.samples})
            (cell,) = found.cells
            cut.append(
                f"{lines[0].case} {count} lines: {cell.verdict}, p {cell.adjusted_p}, "
                f"interval {cell.comparison.interval and cell.comparison.interval.low}, "
                f"next {found.next_pairs[path.stem]}, {cell.comparison.notes}"
            )
    golden(f"verdicts/{name}-cut.txt", "\n".join(cut) + "\n")


def test_replay_ledger_keeps_its_verdicts(golden: Callable[[str, str], None]) -> None:
    lines = _lines(_REGRESS / "replay-april-current.jsonl", REPLAY_PAIRS)

    metrics = (Metric.PROMPT, Metric.GENERATION, Metric.FIRST_TOKEN)
    golden("verdicts/replay-april-current.txt", _result([_session(lines, metrics)]))


_AGENTS = {
    "slower": (MadeAttempts(candidate=passing(1, 2)), "httpx-post"),
    "broken": (MadeAttempts(candidate=always(HUNG)), "httpx-post"),
    "none-pass": (MadeAttempts(candidate=always(FAILED)), "httpx-post"),
    "pooled": (
        MadeAttempts(candidate=passing(1, 2, 3), factor={Arm.CANDIDATE: 1.5}),
        "",
    ),
}


_LAST_DIGITS = re.compile(r"(?<=\.\d{12})\d+")
"""Of JSON's numbers: they differ between processors."""


@pytest.mark.parametrize("name", _AGENTS)
def test_recorded_trials_keep_their_verdicts(
    name: str, project: Project, golden: Callable[[str, str], None]
) -> None:
    attempts, tasks = _AGENTS[name]
    found_by(project, attempts, asked(tasks=tasks))
    found = found_by(project, MadeAttempts(), asked(tasks=tasks))
    texts = [comparison_text(found), comparison_markdown(found), comparison_json(found)]
    texts += ["", comparison_junit(found)]
    lines = "\n".join(texts).splitlines()
    kept = [line for line in lines if not ("host" in line.lower() or "wall_s" in line)]
    without_time = [
        " ".join(word for word in line.split(" ") if not word.startswith("time="))
        for line, _ in groupby(kept)
    ]
    text = "\n".join(without_time) + "\n"
    golden(f"verdicts/agent-{name}.txt", _LAST_DIGITS.sub("", text))
