"""A comparison of two arms of agents as programs read it: JSON, and JUnit for CI."""

from dataclasses import dataclass
from xml.etree import ElementTree as ET

import msgspec

from llamatrix.report.agent_regress import (
    METHOD,
    AgentCellFound,
    AgentRegression,
    cell_summary,
    pooled_text,
)
from llamatrix.report.regress_files import xml_text
from llamatrix.stats.pass_rates import DROP, SURE, wilson
from llamatrix.stats.trials import ArmTrials
from llamatrix.stats.verdict import Verdict


class AgentArmView(msgspec.Struct, frozen=True, kw_only=True):
    pin: str
    commit: str
    build: str
    server: str
    templates: tuple[str, ...]
    opencode: str
    context7: str


class TrialsView(msgspec.Struct, frozen=True, kw_only=True):
    """One arm of a cell; null where no trial is scored."""

    passed: int
    trials: int
    """Scored."""
    wilson_95: tuple[float, float] | None
    turns: tuple[int | None, ...]
    """On which each scored trial was correct; null: on none."""
    undecided: int
    lost: int
    broken: tuple[str, ...]
    refused: int
    template_fails: bool


class AmountView(msgspec.Struct, frozen=True, kw_only=True):
    """The candidate's over the baseline's: above 1 is more. It decides nothing."""

    name: str
    ratio: float | None
    interval_95: tuple[float, float] | None
    pairs: int


class AgentCaseView(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    verdict: Verdict
    baseline: TrialsView
    candidate: TrialsView
    drop_probability: float | None
    """That the pass rate fell by more than `points`."""
    rise_probability: float | None
    boschloo_p: float | None
    turn_difference: float | None
    turn_p_value: float | None
    breaks: tuple[str, ...]
    amounts: tuple[AmountView, ...]
    notes: tuple[str, ...]


class PooledView(msgspec.Struct, frozen=True, kw_only=True):
    """Of the mean pass rate over cells."""

    cells: int
    mean_drop: float
    drop_probability: float
    rise_probability: float


class AgentRegressView(msgspec.Struct, frozen=True, kw_only=True):
    """The object that `invoke regress --agent --json` prints."""

    verdict: Verdict
    exit_code: int
    baseline: AgentArmView
    candidate: AgentArmView
    identical: bool
    scripted: bool
    profile: str
    host: str
    method: str
    points: float
    """The change of a rate that matters, as a fraction."""
    sure: float
    trials: int
    cells: tuple[AgentCaseView, ...]
    pooled: PooledView | None
    notes: tuple[str, ...]
    reused: int
    made: int
    made_s: float
    wall_s: float


def agent_json(found: AgentRegression) -> str:
    """One document, unrounded; the words stand under keys named `verdict` only."""
    view = AgentRegressView(
        verdict=found.verdict,
        exit_code=found.verdict.exit_code,
        baseline=msgspec.convert(found.baseline, AgentArmView, from_attributes=True),
        candidate=msgspec.convert(found.candidate, AgentArmView, from_attributes=True),
        identical=found.identical,
        scripted=found.scripted,
        profile=found.profile,
        host=found.host,
        method=METHOD,
        points=DROP,
        sure=SURE,
        trials=found.trials,
        cells=tuple(_case(cell) for cell in found.cells),
        pooled=msgspec.convert(found.pooled, PooledView | None, from_attributes=True),
        notes=found.notes,
        reused=found.reused,
        made=found.made,
        made_s=found.made_s,
        wall_s=found.wall_s,
    )
    return msgspec.json.format(msgspec.json.encode(view), indent=2).decode()


def agent_junit(found: AgentRegression) -> str:
    """One test case for each cell, and one for all of them where there are several.

    A loss fails, what is not known is skipped.
    """
    cases = [*map(_junit_case, found.cells)]
    if found.pooled:
        cases.append(
            _JunitCase(
                name="all cells together",
                verdict=found.pooled.verdict,
                message=pooled_text(found.pooled),
            )
        )
    name = f"llamatrix regress agent {found.baseline.pin}..{found.candidate.pin}"
    suite = ET.Element(
        "testsuite",
        name=name,
        tests=str(len(cases)),
        failures=str(sum(one.verdict in _FAILURES for one in cases)),
        errors="0",
        skipped=str(sum(one.verdict is Verdict.INCONCLUSIVE for one in cases)),
        time=f"{found.wall_s:.3f}",
    )
    for one in cases:
        case = ET.SubElement(suite, "testcase", classname=name, name=one.name)
        message, notes = xml_text(one.message), xml_text("\n".join(one.notes))
        if one.verdict in _FAILURES:
            kind = str(one.verdict)
            ET.SubElement(case, "failure", type=kind, message=message).text = notes
        elif one.verdict is Verdict.INCONCLUSIVE:
            ET.SubElement(case, "skipped", message=message).text = notes
        ET.SubElement(case, "system-out").text = message
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


_FAILURES = {Verdict.SLOWER, Verdict.BROKEN}


@dataclass(frozen=True, kw_only=True, slots=True)
class _JunitCase:
    name: str
    verdict: Verdict
    message: str
    notes: tuple[str, ...] = ()


def _junit_case(cell: AgentCellFound) -> _JunitCase:
    return _JunitCase(
        name=cell.id,
        verdict=cell.compared.verdict,
        message=cell_summary(cell),
        notes=(*cell.compared.breaks, *cell.notes),
    )


def _case(cell: AgentCellFound) -> AgentCaseView:
    verdict = cell.compared
    compared, turns = verdict.comparison, verdict.turns
    return AgentCaseView(
        id=cell.id,
        verdict=verdict.verdict,
        baseline=_trials(verdict.baseline),
        candidate=_trials(verdict.candidate),
        drop_probability=compared.drop_probability if compared else None,
        rise_probability=compared.rise_probability if compared else None,
        boschloo_p=compared.boschloo_p if compared else None,
        turn_difference=turns.difference if turns else None,
        turn_p_value=turns.p_value if turns else None,
        breaks=verdict.breaks,
        amounts=tuple(_amounts(cell)),
        notes=cell.notes,
    )


def _amounts(cell: AgentCellFound) -> list[AmountView]:
    views = []
    for one in cell.ratios:
        interval = one.estimate.interval() if one.estimate else None
        views.append(
            AmountView(
                name=one.name,
                ratio=one.estimate.ratio if one.estimate else None,
                interval_95=(interval.low, interval.high) if interval else None,
                pairs=one.estimate.pairs if one.estimate else 0,
            )
        )
    return views


def _trials(arm: ArmTrials) -> TrialsView:
    passes = arm.passes
    band = wilson(passes) if passes else None
    return TrialsView(
        passed=passes.passed if passes else 0,
        trials=passes.trials if passes else 0,
        wilson_95=(band.low, band.high) if band else None,
        turns=arm.turns,
        undecided=arm.undecided,
        lost=arm.lost,
        broken=arm.broken,
        refused=arm.refused,
        template_fails=arm.template_fails,
    )
