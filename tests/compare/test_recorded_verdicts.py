"""Recorded comparisons keep their verdicts: every ledger that we have, judged again.

The golden files were written by the code before `compare/`; whatever judges the ledgers
now must give the same text, Markdown, JSON and JUnit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

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

from llamatrix.commands.regress.ledger import SPEED_PAIRS, Entry, pairs_of
from llamatrix.commands.regress.pairing import paired
from llamatrix.commands.regress.replay_ledger import REPLAY_PAIRS, ReplayEntry
from llamatrix.commands.regress.together import _headline
from llamatrix.project import Project
from llamatrix.records.store import R, RecordKind, RecordLocation
from llamatrix.report.agent_regress import agent_markdown, agent_text
from llamatrix.report.agent_regress_files import agent_json, agent_junit
from llamatrix.report.regress import (
    ArmFacts,
    Regression,
    Timing,
    regress_markdown,
    regress_text,
)
from llamatrix.report.regress_files import regress_json, regress_junit
from llamatrix.stats.pairs import Arm, Pair, Samples
from llamatrix.stats.sequential import SequentialTest, judge_cases
from llamatrix.stats.verdict import Metric, Unit

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


@dataclass(frozen=True, kw_only=True)
class _Recorded:
    id: str
    session: str
    metric: Metric
    pairs: tuple[Pair, ...]


def _lines(path: Path, kind: RecordKind[R]) -> list[R]:
    place = RecordLocation("host", path.stem)
    lines = path.read_bytes().splitlines()
    return [kind.decode(line, where=path.name, place=place) for line in lines]


def _regression(
    cases: Sequence[_Recorded], lines: Sequence[Entry] | Sequence[ReplayEntry]
) -> Regression:
    judged = judge_cases(
        {one.id: Samples(unit=one.metric.unit, pairs=one.pairs) for one in cases},
        margins={one.id: one.metric.margin for one in cases},
    )

    def facts(arm: Arm) -> ArmFacts:
        line = next(line for line in lines if line.arm is arm)
        *_, pin, build = line.cell.split("/")
        server = line.server if isinstance(line, ReplayEntry) else ""
        return ArmFacts(
            pin=pin,
            commit=line.locked.commit,
            builds=(build,),
            sweep="" if server else "sweep",
            server=server,
        )

    return Regression(
        baseline=facts(Arm.BASELINE),
        candidate=facts(Arm.CANDIDATE),
        identical=len({line.cell for line in lines}) == 1,
        profile="recorded",
        host=lines[0].host.summary,
        sequential=SequentialTest(),
        overall=judged,
        headline=_headline(cases, judged, SequentialTest()),  # type: ignore[arg-type]
        timing=Timing(
            wall_s=2 * sum(line.seconds for line in lines),
            processes_s=sum(line.seconds for line in lines),
            processes=len(lines),
        ),
    )


def _texts(found: Regression) -> str:
    return "\n".join(
        [
            *(regress_text(found), regress_markdown(found)),
            *(regress_json(found), "", regress_junit(found)),
        ]
    )


def _speed(paths: Sequence[Path]) -> Regression:
    ledgers = [_lines(path, SPEED_PAIRS) for path in paths]
    cases = [
        _Recorded(
            id=lines[0].case,
            session=lines[0].case,
            metric=Metric.PROMPT if lines[0].test.n_prompt else Metric.GENERATION,
            pairs=pairs_of(lines, series=1),
        )
        for lines in ledgers
    ]
    return _regression(cases, [line for lines in ledgers for line in lines])


@pytest.mark.parametrize("name", SPEED)
def test_speed_ledger_keeps_its_verdicts(
    name: str, golden: Callable[[str, str], None]
) -> None:
    golden(f"verdicts/{name}.txt", _texts(_speed(SPEED[name])))


@pytest.mark.parametrize("name", SPEED)
def test_speed_ledger_cut_short_keeps_its_verdicts(
    name: str, golden: Callable[[str, str], None]
) -> None:
    """After every number of lines, so that each interim look is seen."""
    cut = []
    for path in SPEED[name]:
        lines = _lines(path, SPEED_PAIRS)
        for count in range(1, len(lines) + 1):
            pairs = pairs_of(lines[:count], series=1)
            samples = Samples(unit=Unit.TOKENS_PER_S, pairs=pairs)
            found = judge_cases({path.stem: samples})
            (cell,) = found.cells
            cut.append(
                f"{lines[0].case} {count} lines: {cell.verdict}, p {cell.adjusted_p}, "
                f"interval {cell.comparison.interval and cell.comparison.interval.low}, "
                f"next {found.next_pairs[path.stem]}, {cell.comparison.notes}"
            )
    golden(f"verdicts/{name}-cut.txt", "\n".join(cut) + "\n")


def test_replay_ledger_keeps_its_verdicts(golden: Callable[[str, str], None]) -> None:
    lines = _lines(_REGRESS / "replay-april-current.jsonl", REPLAY_PAIRS)

    def case(metric: Metric) -> _Recorded:
        return _Recorded(
            id=f"{lines[0].case}/{metric}",
            session=lines[0].case,
            metric=metric,
            pairs=paired(lines, series=1, value=lambda line: line.value(metric)),
        )

    metrics = (Metric.PROMPT, Metric.GENERATION, Metric.FIRST_TOKEN)
    found = _regression([case(metric) for metric in metrics], lines)
    golden("verdicts/replay-april-current.txt", _texts(found))


_AGENTS = {
    "slower": (MadeAttempts(candidate=passing(1, 2)), ("httpx-post",)),
    "broken": (MadeAttempts(candidate=always(HUNG)), ("httpx-post",)),
    "none-pass": (MadeAttempts(candidate=always(FAILED)), ("httpx-post",)),
    "pooled": (
        MadeAttempts(candidate=passing(1, 2, 3), factor={Arm.CANDIDATE: 1.5}),
        (),
    ),
}


@pytest.mark.parametrize("name", _AGENTS)
def test_recorded_trials_keep_their_verdicts(
    name: str, project: Project, golden: Callable[[str, str], None]
) -> None:
    attempts, tasks = _AGENTS[name]
    found_by(project, attempts, asked(tasks=tasks))
    found = found_by(project, MadeAttempts(), asked(tasks=tasks))
    texts = [agent_text(found), agent_markdown(found), agent_json(found)]
    texts += ["", agent_junit(found)]
    lines = "\n".join(texts).splitlines()
    kept = [line for line in lines if not ("host" in line.lower() or "wall_s" in line)]
    without_time = [
        " ".join(word for word in line.split(" ") if not word.startswith("time="))
        for line, _ in groupby(kept)
    ]
    golden(f"verdicts/agent-{name}.txt", "\n".join(without_time) + "\n")
