"""A comparison of two arms in words: terminal, pull request, JSON, JUnit.

One result of `invoke verdict` or `invoke regress`, by timing or of agents' trials.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from xml.etree import ElementTree as ET

from llamatrix.compare.agent import AgentCellComparison, AgentComparison
from llamatrix.compare.run import ArmFacts, ModelAmounts, TimingComparison
from llamatrix.config.matrix import WeightsKind
from llamatrix.report.render.markdown import markdown, warning_box
from llamatrix.report.speed import synthetic_warning
from llamatrix.report.table import Row, Table, count, number, numbers
from llamatrix.stats.intervals import Interval
from llamatrix.stats.pairs import Arm
from llamatrix.stats.pass_rates import DROP, SURE, Passes, wilson
from llamatrix.stats.sequential import JudgedCell, PairedComparison
from llamatrix.stats.trials import ArmTrials, Pooled
from llamatrix.stats.verdict import Verdict
from llamatrix.units import bytes_text, duration_text, json_text

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LOSSES = {Verdict.SLOWER, Verdict.BROKEN}
_POINTS = f"{100 * DROP:.0f} points"
_PAIRED_METHOD = (
    "paired t on log-ratios of fresh processes, the order drawn at random in each pair; "
    "alpha split evenly over the planned looks, and intervals that hold at all of them "
    "together (Bonferroni; Jennison & Turnbull 1989); Holm across cells"
)
_STEADY = "; the speed of a process is its steady mean, without the first repetition"
_OVER_HTTP = (
    "both arms answered the same prompts over HTTP, timed by our clock, with tokens as "
    "each server counts them; an endpoint computes as it runs, so its background load "
    "is not told, and nothing of it reproduces a number of llama-bench"
)
_TRIALS_METHOD = (
    f"Beta posterior of each pass rate over a flat prior, a change claimed where it is "
    f"larger than {_POINTS} with probability above {SURE}; hard breaks by rule; Wilson "
    "intervals; turns by exact permutation; amounts as paired log-ratios, which decide "
    "nothing; the order of each pair of trials drawn at random"
)
_SPEED_MEANING = {
    Verdict.SLOWER: "at least one cell is slower",
    Verdict.BROKEN: "the candidate does not work where the baseline does",
    Verdict.INCONCLUSIVE: (
        "not enough is known; more budget or a quieter machine may tell"
    ),
    Verdict.FASTER: "at least one cell is faster, and none slower",
    Verdict.SAME: "no cell differs by as much as its margin",
}
_AGENT_MEANING = {
    Verdict.SLOWER: (
        "the candidate passes less often (of an agent, SLOWER reads: worse)"
    ),
    Verdict.BROKEN: "the candidate does not work where the baseline does",
    Verdict.INCONCLUSIVE: "not enough is known; more trials may tell",
    Verdict.FASTER: (
        "the candidate passes more often (of an agent, FASTER reads: better)"
    ),
    Verdict.SAME: f"no pass rate differs by as much as {_POINTS}",
}
_SCRIPTED = (
    "authored transcripts spoke in the model's place, the same in both arms: pass rates "
    "say whether engine, template and agent work together, nothing of the model"
)
_SPEED_LEGEND = (
    "Ratio: the candidate's speed over the baseline's. *Detectable*, *would call*: the "
    "smallest loss that 4 of 5 such runs would distinguish from zero, and call SLOWER."
)
_AGENT_LEGEND = (
    f"P(drop), P(rise): that the candidate's pass rate is more than {_POINTS} below or "
    "above the baseline's. In brackets: 95 % (Wilson)."
)
Result = TimingComparison | AgentComparison


@dataclass(frozen=True, kw_only=True, slots=True)
class _CellText:
    """One cell of either kind of result, as every format writes it."""

    id: str
    verdict: Verdict
    summary: str
    """In one line: what was found."""
    message: str
    """The same for JUnit."""
    details: tuple[str, ...] = ()
    """Whatever else there is to know, one line or block each."""
    notes: tuple[str, ...] = ()
    """Why to doubt it, or why it is broken: among the details too."""


def comparison_text(result: Result) -> str:
    lines = [
        f"{result.verdict}: {_meaning(result)}",
        f"baseline  {_arm_text(result.baseline)}",
        f"candidate {_arm_text(result.candidate)}",
        *(f"note: {note}" for note in _notes(result)),
    ]
    for cell in _cells(result):
        summary = f"  {cell.summary}" if cell.summary else ""
        lines += ["", f"{cell.verdict}  {cell.id}{summary}"]
        lines += ["  " + line.replace("\n", "\n    | ") for line in cell.details]
    if together := _together(result):
        lines += ["", together]
    if isinstance(result, AgentComparison):
        lines += ["", _made_text(result)]
    elif result.processes:
        beyond = 1 - result.processes_s / result.wall_s if result.wall_s else 0.0
        lines.append(
            f"{result.processes} processes in {duration_text(result.processes_s)}; beyond "
            f"them {100 * beyond:.1f} % of the wall time"
        )
    return "\n".join(lines) + "\n"


def comparison_markdown(result: Result) -> str:
    """Return a summary fit for a pull-request comment: verdict, table, what to doubt."""
    arms = f"`{_arm_text(result.baseline)}` → `{_arm_text(result.candidate)}`"
    cells = list(_cells(result))
    parts = {part for cell in cells for part in cell.id.split("/")}
    names = {part.rpartition(".")[2] for part in parts}
    kinds = [kind for kind in WeightsKind if kind.synthetic and kind in names]
    box = warning_box(" ".join(map(synthetic_warning, kinds)))
    lines = [*box, markdown(_table(result)), f"{arms}: {_meaning(result)}.", ""]
    if together := _together(result):
        lines += [f"{together}.", ""]
    notes = [_bullet(note) for note in _notes(result)]
    if isinstance(result, AgentComparison):
        legend, folded = _AGENT_LEGEND, "Notes and amounts"
        for cell in cells:
            notes.append(f"- `{cell.id}`")
            notes += [
                "  - " + line.replace("\n", "\n        ") for line in cell.details
            ]
        notes.append(f"- {_made_text(result)}")
    else:
        legend, folded = _SPEED_LEGEND, "Notes"
        notes += [
            _bullet(f"`{judged.id}`: {note}")
            for judged in result.judgement.cells
            for note in _doubts(judged)
        ]
        notes += [_bullet(f"`{one.case}`: {_model_text(one)}") for one in result.models]
    lines.append(f"{legend} Host: {result.host}. Method: {_method(result)}.")
    if notes:
        lines += ["", f"<details><summary>{folded}</summary>", "", *notes]
        lines += ["", "</details>"]
    return "\n".join(lines) + "\n"


def comparison_junit(result: Result) -> str:
    """One test case for each cell, and one for all cells of agents where they are pooled.

    A loss fails, what is not known is skipped.
    """
    cells = list(_cells(result))
    kind = "regress"
    if isinstance(result, AgentComparison):
        kind = "regress agent"
        if result.pooled:
            text = _pooled_text(result.pooled)
            verdict = result.pooled.verdict
            together = "all cells together"
            cells.append(
                _CellText(id=together, verdict=verdict, summary=text, message=text)
            )
    name = f"llamatrix {kind} {result.baseline.pin}..{result.candidate.pin}"
    suite = ET.Element(
        "testsuite",
        name=name,
        tests=str(len(cells)),
        failures=str(sum(cell.verdict in _LOSSES for cell in cells)),
        errors="0",
        skipped=str(sum(cell.verdict is Verdict.INCONCLUSIVE for cell in cells)),
        time=f"{result.wall_s:.3f}",
    )
    for cell in cells:
        case = ET.SubElement(suite, "testcase", classname=name, name=cell.id)
        message = _xml_text(cell.message)
        notes = _xml_text("\n".join(cell.notes))
        if cell.verdict in _LOSSES:
            word = str(cell.verdict)
            ET.SubElement(case, "failure", type=word, message=message).text = notes
        elif cell.verdict is Verdict.INCONCLUSIVE:
            ET.SubElement(case, "skipped", message=message).text = notes
        ET.SubElement(case, "system-out").text = message
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _xml_text(text: str) -> str:
    """Return the text without what XML cannot hold, such as a compiler's colours."""
    return _NOT_XML.sub("", text)


def comparison_json(result: Result) -> str:
    """Return one document, unrounded; verdicts stand under keys named `verdict` only."""
    document: dict[str, object] = {
        "verdict": result.verdict,
        "exit_code": result.verdict.exit_code,
        "baseline": _arm_document(result, result.baseline),
        "candidate": _arm_document(result, result.candidate),
        "identical": result.identical,
    }
    if isinstance(result, AgentComparison):
        pooled = result.pooled
        document |= {
            "scripted": result.scripted,
            "profile": result.profile,
            "host": result.host,
            "method": _method(result),
            "points": DROP,
            "sure": SURE,
            "trials": result.trials,
            "cells": [_agent_document(cell) for cell in result.cells],
            "pooled": pooled
            and {
                "cells": pooled.cells,
                "mean_drop": pooled.mean_drop,
                "drop_probability": pooled.drop_probability,
                "rise_probability": pooled.rise_probability,
            },
            "notes": _notes(result),
            "reused": result.reused,
            "made": result.made,
            "made_s": result.made_s,
            "wall_s": result.wall_s,
        }
    else:
        cells, headline = result.judgement.cells, result.headline
        units = dict.fromkeys(str(cell.comparison.unit) for cell in cells)
        models = [asdict(model) for model in result.models]
        document |= {
            "profile": result.profile,
            "host": result.host,
            "unit": ", ".join(units),
            "method": _method(result),
            "looks": result.sequential.looks,
            "alpha": result.sequential.alpha,
            "interval_level": 1 - result.sequential.alpha_per_look,
            "headline": headline
            and {"ratio": headline.ratio, "interval": _ends(headline.interval)},
            "cells": [_speed_document(cell, len(cells)) for cell in cells],
            "notes": _notes(result),
            **({"models": models} if models else {}),
            "processes": result.processes,
            "processes_s": result.processes_s,
            "wall_s": result.wall_s,
        }
    return json_text(document)


def _arm_document(result: Result, arm: ArmFacts) -> dict[str, object]:
    if arm.reported is not None:
        return {
            "endpoint": arm.pin,
            "reported": arm.reported,
            "verified": False,
            "sweep": arm.sweep,
        }
    engine: dict[str, object] = {"pin": arm.pin, "commit": arm.commit}
    if isinstance(result, TimingComparison):
        draft = {"draft": arm.draft} if arm.draft else {}
        return engine | {"builds": arm.builds, "sweep": arm.sweep} | draft
    return engine | {
        "build": arm.builds[0],
        "server": arm.server,
        "templates": arm.templates,
        "agent": arm.agent,
        "context7": arm.context7,
    }


def _speed_document(cell: JudgedCell, cells: int) -> dict[str, object]:
    comparison, estimate = cell.comparison, cell.comparison.estimate
    return {
        "id": cell.id,
        "unit": comparison.unit,
        "verdict": cell.verdict,
        "ratio": estimate and estimate.ratio,
        "interval": _ends(comparison.interval),
        "smallest_detectable": comparison.smallest_detectable(cells=cells),
        "smallest_effect": comparison.smallest_effect(cells=cells),
        "margin": comparison.rule.margin,
        "alpha": comparison.rule.alpha,
        "p_value": estimate and estimate.p_value,
        "adjusted_p": cell.adjusted_p,
        "sd_log": estimate and estimate.sd_log,
        "pairs": len(comparison.used),
        **_end_of_document(comparison),
    }


def _end_of_document(comparison: PairedComparison) -> dict[str, object]:
    cycle = comparison.per_cycle
    return {
        "pairs_left_out": [
            {"pair": pair.pair, "reason": pair.reason} for pair in comparison.left_out
        ],
        "per_cycle": cycle
        and {
            "ratio": cycle.ratio,
            "interval": _ends(cycle.interval(comparison.rule.alpha)),
        },
        "notes": comparison.notes,
    }


def _agent_document(cell: AgentCellComparison) -> dict[str, object]:
    comparison = cell.comparison
    passes, turns = comparison.comparison, comparison.turns
    return {
        "id": cell.id,
        "verdict": cell.verdict,
        "baseline": _trials_document(comparison.baseline),
        "candidate": _trials_document(comparison.candidate),
        "drop_probability": passes and passes.drop_probability,
        "rise_probability": passes and passes.rise_probability,
        "boschloo_p": passes and passes.boschloo_p,
        "turn_difference": turns and turns.difference,
        "turn_p_value": turns and turns.p_value,
        "breaks": comparison.breaks,
        "amounts": [
            {
                "name": name,
                "ratio": ratio and ratio.ratio,
                "interval_95": _ends(ratio.interval()) if ratio else None,
                "pairs": ratio.pairs if ratio else 0,
            }
            for name, ratio in cell.ratios.items()
        ],
        "notes": cell.notes,
    }


def _trials_document(arm: ArmTrials) -> dict[str, object]:
    passes = arm.passes
    return {
        "passed": passes.passed if passes else 0,
        "trials": passes.trials if passes else 0,
        "wilson_95": _ends(wilson(passes)) if passes else None,
        "turns": arm.turns,
        "undecided": arm.undecided,
        "lost": arm.lost,
        "broken": arm.broken,
        "refused": arm.refused,
        "template_fails": arm.template_fails,
    }


def _meaning(result: Result) -> str:
    of_agents = isinstance(result, AgentComparison)
    return (_AGENT_MEANING if of_agents else _SPEED_MEANING)[result.verdict]


def _method(result: Result) -> str:
    if isinstance(result, AgentComparison):
        return _TRIALS_METHOD
    return _PAIRED_METHOD if result.baseline.server else _PAIRED_METHOD + _STEADY


def _arm_text(arm: ArmFacts) -> str:
    if arm.reported is not None:
        return (
            f"endpoint {arm.pin} (unverified, reports {arm.reported}; build, weights, KV "
            "cache types and template not told)"
        )
    how = f"server {arm.server}" if arm.server else f"sweep {arm.sweep}"
    how += f", draft {arm.draft}" if arm.draft else ""
    text = f"{arm.pin} ({arm.commit[:9]}, build {', '.join(arm.builds)}, {how}"
    if not arm.agent:
        return f"{text})"
    templates = ", ".join(arm.templates)
    return f"{text}, template {templates}), {arm.agent}, Context7 {arm.context7}"


def _notes(result: Result) -> tuple[str, ...]:
    notes = []
    if result.identical:
        notes.append(
            "both arms are the same (A/A): any change that is claimed is a false alarm"
        )
    if isinstance(result, AgentComparison):
        if result.scripted:
            notes.append(_SCRIPTED)
        if result.reused and result.made:
            notes.append(
                f"{result.reused} trials were known before: those and the new ones were "
                "not made in turns, so trust the amounts in time less"
            )
        return tuple(notes)
    arms = (result.baseline, result.candidate)
    if any(arm.reported is not None for arm in arms):
        notes.append(_OVER_HTTP)
    sequential = result.sequential
    if len(sequential.looks) > 1:
        notes.append(
            f"a cell's intervals at all {len(sequential.looks)} planned looks, "
            f"{100 * (1 - sequential.alpha_per_look):.3g} % each, hold together in at "
            f"least {100 * (1 - sequential.alpha):.3g} % of comparisons, whichever look "
            "ends it"
        )
    return tuple(notes)


def _cells(result: Result) -> Iterator[_CellText]:
    if isinstance(result, AgentComparison):
        yield from map(_agent_cell, result.cells)
        return
    cells = result.judgement.cells
    for cell in cells:
        comparison = cell.comparison
        summary, details = "", []
        if comparison.estimate:
            ratio = _ratio_text(
                comparison.estimate.ratio, comparison.interval, comparison.level
            )
            summary = f"{ratio}, {_pairs_text(comparison)}"
            details.append(_detectable_text(comparison, cells=len(cells)))
        details += _per_cycle_text(comparison)
        details += [_model_text(one) for one in result.models if one.case == cell.id]
        details += _doubts(cell)
        yield _CellText(
            id=cell.id,
            verdict=cell.verdict,
            summary=summary,
            message=f"{cell.verdict}: {summary or 'no ratio, 0 pairs'}",
            details=tuple(filter(None, details)),
            notes=comparison.notes,
        )


def _model_text(model: ModelAmounts) -> str:
    """Say what one arm's model takes; what nobody told is left out."""
    parts = [f"file {bytes_text(model.file_bytes)}"]
    if model.memory_bytes:
        parts.append(f"memory {bytes_text(model.memory_bytes)}")
    if model.joules_per_token:
        parts.append(f"{model.joules_per_token:.3g} J/token")
    return f"{model.arm} {model.model}: {', '.join(parts)}"


def _doubts(cell: JudgedCell) -> Iterator[str]:
    if cell.verdict is not cell.comparison.verdict:
        yield (
            f"alone {cell.comparison.verdict}, but not among all cells tested (Holm: "
            f"p {cell.adjusted_p:.3g})"
        )
    yield from cell.comparison.notes
    yield from _left_out_texts(cell.comparison)


def _agent_cell(cell: AgentCellComparison) -> _CellText:
    comparison = cell.comparison
    arms = {Arm.BASELINE: comparison.baseline, Arm.CANDIDATE: comparison.candidate}
    passed = " → ".join(passes_text(trials.passes) for trials in arms.values())
    summary = f"passes {passed}"
    if passes := comparison.comparison:
        summary += (
            f"; P(drop > {_POINTS}) {passes.drop_probability:.3f}, P(rise > {_POINTS}) "
            f"{passes.rise_probability:.3f}"
        )
    details = [f"broken: {reason}" for reason in comparison.breaks]
    for arm, trials in arms.items():
        if missing := _not_scored(trials):
            details.append(f"{arm}: {missing}")
    if turns := comparison.turns:
        never = [trials.turns.count(None) for trials in arms.values()]
        details.append(
            f"turns: {turns.difference:+.2f} on average (p {turns.p_value:.3g}); never "
            f"correct {never[0]} → {never[1]}"
        )
    for name, ratio in cell.ratios.items():
        if ratio:
            pairs = f"{ratio.pairs} pair{'s' if ratio.pairs > 1 else ''}"
            ends = _ends_text(ratio.interval(), 3)
            details.append(f"{name}: ratio {ratio.ratio:.3f}{ends}, {pairs}")
    return _CellText(
        id=cell.id,
        verdict=cell.verdict,
        summary=summary,
        message=f"{cell.verdict}  {cell.id}  {summary}",
        details=(*details, *cell.notes),
        notes=(*comparison.breaks, *cell.notes),
    )


def _not_scored(trials: ArmTrials) -> str:
    """Return what of an arm's trials is in no pass rate, and what in it is doubtful."""
    parts = (
        (len(trials.broken), "{} broken, twice each, not scored"),
        (
            trials.lost,
            "{} lost by the harness, or failed and not tried again: not scored",
        ),
        (trials.undecided, "{} undecided, not scored"),
        (trials.refused, "{} scored with calls that the server refused"),
        (trials.template_fails, "its chat template fails essential cases"),
    )
    return "; ".join(text.format(count) for count, text in parts if count)


def passes_text(passes: Passes | None) -> str:
    """`3/5 [0.23, 0.88]`."""
    if passes is None:
        return "none scored"
    return f"{passes.passed}/{passes.trials}{_ends_text(wilson(passes), 2)}"


def _together(result: Result) -> str:
    if isinstance(result, AgentComparison):
        return _pooled_text(result.pooled) if result.pooled else ""
    headline = result.headline
    if headline is None:
        return ""
    what = "session" if result.baseline.server else "cell"
    of = f"{headline.sessions} {what}{'s' if headline.sessions > 1 else ''}"
    level = 1 - result.sequential.alpha_per_look
    ratio = _ratio_text(headline.ratio, headline.interval, level)
    return f"geometric mean of {of}: {ratio}"


def _pooled_text(pooled: Pooled) -> str:
    before, after = pooled.baseline, pooled.candidate
    return (
        f"all {pooled.cells} cells: {before.passed}/{before.trials} → "
        f"{after.passed}/{after.trials}; the mean rate drops by "
        f"{100 * pooled.mean_drop:.1f} points (posterior mean), P(drop > {_POINTS}) "
        f"{pooled.drop_probability:.3f}, P(rise > {_POINTS}) "
        f"{pooled.rise_probability:.3f}"
    )


def _made_text(result: AgentComparison) -> str:
    if not result.made:
        return f"no trial made: {result.reused} known from records"
    return (
        f"{result.made} attempts made in {duration_text(result.made_s)}, {result.reused} "
        f"trials known from records; {duration_text(result.wall_s)} in all"
    )


def _table(result: Result) -> Table:
    if isinstance(result, AgentComparison):
        columns = numbers("Baseline", "Candidate", "P(drop)", "P(rise)")
        rows = [*map(_agent_row, result.cells)]
        kind = "Agent"
    else:
        level = f"{100 * (1 - result.sequential.alpha_per_look):.3g} % interval"
        columns = numbers("Ratio", level, "Detectable", "Would call", "Pairs")
        cells = result.judgement.cells
        rows = [_speed_row(cell, len(cells)) for cell in cells]
        kind = "Speed"
    return Table(f"{kind}: {result.verdict}", ("Cell", "Verdict", *columns), rows)


def _speed_row(cell: JudgedCell, cells: int) -> Row:
    comparison = cell.comparison
    estimate = comparison.estimate
    losses = (
        comparison.smallest_detectable(cells=cells),
        comparison.smallest_effect(cells=cells),
    )
    return (
        *(f"`{cell.id}`", str(cell.verdict)),
        number(estimate.ratio if estimate else None, "{:.4f}".format, missing="–"),
        _ends_text(comparison.interval, 4).strip() or "–",
        *(number(loss, _percent, missing="–") for loss in losses),
        count(len(comparison.used)),
    )


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2g} %"


def _agent_row(cell: AgentCellComparison) -> Row:
    comparison, passes = cell.comparison, cell.comparison.comparison
    return (
        *(f"`{cell.id}`", str(cell.verdict)),
        passes_text(comparison.baseline.passes),
        passes_text(comparison.candidate.passes),
        *(
            number(chance, "{:.3f}".format, missing="–")
            for chance in (
                (passes.drop_probability, passes.rise_probability)
                if passes
                else (None, None)
            )
        ),
    )


def _bullet(note: str) -> str:
    """One item; what a compiler said after the first line becomes a quoted block."""
    first, *rest = note.splitlines()
    return "\n".join([f"- {first}", *(f"      {line}" for line in rest)])


def _ends(interval: Interval | None) -> tuple[float, float] | None:
    return (interval.low, interval.high) if interval else None


def _ends_text(interval: Interval | None, digits: int) -> str:
    if interval is None:
        return ""
    return f" [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def verdict_json(comparison: PairedComparison) -> str:
    """One object, unrounded. Only the value of `verdict` is one of the five verdicts."""
    estimate = comparison.estimate
    document: dict[str, object] = {
        "verdict": comparison.verdict.value,
        "exit_code": comparison.verdict.exit_code,
        "unit": comparison.unit.value,
        "higher_is_better": comparison.unit.higher_is_better,
        "ratio": estimate and estimate.ratio,
        "interval": _ends(comparison.interval),
        "level": comparison.level,
        "half_width": comparison.interval and comparison.interval.half_width,
        "smallest_effect": comparison.smallest_effect(),
        "smallest_detectable": comparison.smallest_detectable(),
        "margin": comparison.rule.margin,
        "alpha": comparison.rule.alpha,
        "p_value": estimate and estimate.p_value,
        "sd_log": estimate and estimate.sd_log,
        "pairs": len(comparison.used),
        "pairs_used": list(comparison.used),
        **_end_of_document(comparison),
    }
    return json.dumps(document, indent=2, allow_nan=False)


def verdict_text(comparison: PairedComparison) -> str:
    """The verdict and its ratio first, then the reasons to doubt it."""
    first = str(comparison.verdict)
    if comparison.estimate:
        ratio = _ratio_text(
            comparison.estimate.ratio, comparison.interval, comparison.level
        )
        direction = "higher" if comparison.unit.higher_is_better else "lower"
        first += (
            f"  speed {ratio}, {_pairs_text(comparison)} of {comparison.unit} "
            f"({direction} is better)"
        )
    lines = [first]
    if comparison.interval and (detectable := _detectable_text(comparison)):
        half = 100 * comparison.interval.half_width
        lines.append(f"half width {half:.2g} %; {detectable}")
    lines += _per_cycle_text(comparison)
    lines += _left_out_texts(comparison)
    lines += [f"note: {note}" for note in comparison.notes]
    return "\n  ".join(lines) + "\n"


def _left_out_texts(comparison: PairedComparison) -> list[str]:
    return [f"pair {pair.pair} left out: {pair.reason}" for pair in comparison.left_out]


def _per_cycle_text(comparison: PairedComparison) -> list[str]:
    cycle = comparison.per_cycle
    return [f"per clock cycle: ratio {cycle.ratio:.4f}"] if cycle else []


def _detectable_text(comparison: PairedComparison, *, cells: int = 1) -> str:
    """Say what loss these pairs could have detected; empty where that is not known."""
    detectable = comparison.smallest_detectable(cells=cells)
    effect = comparison.smallest_effect(cells=cells)
    if detectable is None or effect is None:
        return ""
    return (
        f"smallest loss it could have seen: {100 * detectable:.2g} % distinguishable from zero, "
        f"{100 * effect:.2g} % called {Verdict.SLOWER}, each in 4 of 5 such runs; margin "
        f"{100 * comparison.rule.margin:.3g} %"
    )


def _ratio_text(ratio: float, interval: Interval | None, level: float) -> str:
    """`ratio 0.9500 [0.9417, 0.9583] at 95 %`."""
    ends = f"{_ends_text(interval, 4)} at {100 * level:.3g} %" if interval else ""
    return f"ratio {ratio:.4f}{ends}"


def _pairs_text(comparison: PairedComparison) -> str:
    number_of_pairs = len(comparison.used)
    return f"{number_of_pairs} pair{'' if number_of_pairs == 1 else 's'}"
