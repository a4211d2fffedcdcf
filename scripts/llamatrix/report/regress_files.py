"""A comparison of two arms as programs read it: JSON, and JUnit for CI."""

import re
from xml.etree import ElementTree as ET

import msgspec

from llamatrix.report.comparison import interval_text, pairs_text
from llamatrix.report.regress import ArmFacts, Regression
from llamatrix.stats.intervals import Estimate, Interval
from llamatrix.stats.sequential import JudgedCell
from llamatrix.stats.verdict import Verdict

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class ArmView(msgspec.Struct, frozen=True, kw_only=True):
    pin: str
    commit: str
    builds: tuple[str, ...]
    sweep: str


class RatioView(msgspec.Struct, frozen=True, kw_only=True):
    ratio: float
    interval: tuple[float, float] | None
    """At `interval_level`."""


class PairView(msgspec.Struct, frozen=True, kw_only=True):
    pair: int
    reason: str


class CaseView(msgspec.Struct, frozen=True, kw_only=True):
    """One element of `cells`; null where nothing could be measured."""

    id: str
    unit: str
    verdict: Verdict
    ratio: float | None
    """The candidate's speed over the baseline's."""
    interval: tuple[float, float] | None
    """At `interval_level`."""
    smallest_detectable: float | None
    """The smallest loss that 4 of 5 such runs would tell from none, as a fraction …"""
    smallest_effect: float | None
    """… and the smallest that they would call SLOWER."""
    margin: float
    alpha: float
    """Of the look that decided."""
    p_value: float | None
    adjusted_p: float | None
    """Over all looks and, by Holm, all cells."""
    sd_log: float | None
    pairs: int
    pairs_left_out: tuple[PairView, ...]
    per_cycle: RatioView | None
    notes: tuple[str, ...]


class RegressView(msgspec.Struct, frozen=True, kw_only=True):
    """The object that `invoke regress --json` prints."""

    verdict: Verdict
    exit_code: int
    baseline: ArmView
    candidate: ArmView
    identical: bool
    profile: str
    host: str
    unit: str
    method: str
    looks: tuple[int, ...]
    alpha: float
    """Over all looks and cells."""
    interval_level: float
    """Confidence of each interval alone; those of all looks hold together at 1 - alpha."""
    headline: RatioView | None
    """Geometric mean over the sessions: cells whose processes were run apart."""
    cells: tuple[CaseView, ...]
    notes: tuple[str, ...]
    processes: int
    """Of this run, warm-up included; 0 where all pairs were known."""
    processes_s: float
    wall_s: float


def regress_json(found: Regression) -> str:
    """One document, unrounded; the words stand under keys named `verdict` only."""
    view = RegressView(
        verdict=found.overall.verdict,
        exit_code=found.overall.verdict.exit_code,
        baseline=_arm(found.baseline),
        candidate=_arm(found.candidate),
        identical=found.identical,
        profile=found.profile,
        host=found.host,
        unit=", ".join(
            dict.fromkeys(str(cell.comparison.unit) for cell in found.overall.cells)
        ),
        method=found.method,
        looks=found.sequential.looks,
        alpha=found.sequential.alpha,
        interval_level=found.level,
        headline=_headline(found),
        cells=tuple(_case(found, cell) for cell in found.overall.cells),
        notes=found.notes,
        processes=found.timing.processes,
        processes_s=found.timing.processes_s,
        wall_s=found.timing.wall_s,
    )
    return msgspec.json.format(msgspec.json.encode(view), indent=2).decode()


def regress_junit(found: Regression) -> str:
    """One test case for each cell: a loss fails, what is not known is skipped."""
    cells = found.overall.cells
    name = f"llamatrix regress {found.baseline.pin}..{found.candidate.pin}"
    suite = ET.Element(
        "testsuite",
        name=name,
        tests=str(len(cells)),
        failures=str(sum(_fails(cell) for cell in cells)),
        errors="0",
        skipped=str(sum(cell.verdict is Verdict.INCONCLUSIVE for cell in cells)),
        time=f"{found.timing.wall_s:.3f}",
    )
    for cell in cells:
        case = ET.SubElement(suite, "testcase", classname=name, name=cell.id)
        notes = xml_text("\n".join(cell.comparison.notes))
        message = xml_text(_summary(cell))
        if _fails(cell):
            failure = ET.SubElement(
                case, "failure", type=str(cell.verdict), message=message
            )
            failure.text = notes
        elif cell.verdict is Verdict.INCONCLUSIVE:
            ET.SubElement(case, "skipped", message=message).text = notes
        out = ET.SubElement(case, "system-out")
        out.text = message
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _fails(cell: JudgedCell) -> bool:
    return cell.verdict in {Verdict.SLOWER, Verdict.BROKEN}


def _summary(cell: JudgedCell) -> str:
    comparison, found = cell.comparison, cell.comparison.estimate
    ratio = f"ratio {found.ratio:.4f}" if found else "no ratio"
    ends = interval_text(comparison.interval, comparison.level)
    return f"{cell.verdict}: {ratio}{ends}, {pairs_text(comparison)}"


def _case(found: Regression, cell: JudgedCell) -> CaseView:
    comparison = cell.comparison
    seen = comparison.estimate
    return CaseView(
        id=cell.id,
        unit=comparison.unit,
        verdict=cell.verdict,
        ratio=seen.ratio if seen else None,
        interval=_ends(comparison.interval),
        smallest_detectable=found.smallest_detectable(cell),
        smallest_effect=found.smallest_effect(cell),
        margin=comparison.rule.margin,
        alpha=comparison.rule.alpha,
        p_value=seen.p_value if seen else None,
        adjusted_p=cell.adjusted_p,
        sd_log=seen.sd_log if seen else None,
        pairs=len(comparison.used),
        pairs_left_out=tuple(
            PairView(pair=one.pair, reason=one.reason) for one in comparison.left_out
        ),
        per_cycle=_ratio(comparison.per_cycle, comparison.rule.alpha),
        notes=comparison.notes,
    )


def _headline(found: Regression) -> RatioView | None:
    if found.headline is None:
        return None
    return RatioView(
        ratio=found.headline.ratio, interval=_ends(found.headline.interval)
    )


def _ratio(estimate: Estimate | None, alpha: float) -> RatioView | None:
    if estimate is None:
        return None
    return RatioView(ratio=estimate.ratio, interval=_ends(estimate.interval(alpha)))


def _arm(facts: ArmFacts) -> ArmView:
    return ArmView(
        pin=facts.pin, commit=facts.commit, builds=facts.builds, sweep=facts.sweep
    )


def _ends(interval: Interval | None) -> tuple[float, float] | None:
    return (interval.low, interval.high) if interval else None


def xml_text(text: str) -> str:
    """Without what XML cannot hold, such as a compiler's colours."""
    return _NOT_XML.sub("", text)
