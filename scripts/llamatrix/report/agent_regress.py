"""A comparison of two arms of agents as people read it: terminal and pull request."""

from collections.abc import Iterator
from dataclasses import dataclass

from llamatrix.report.tables import Table
from llamatrix.stats.intervals import Estimate, Interval
from llamatrix.stats.pairs import Arm
from llamatrix.stats.pass_rates import DROP, SURE, Passes, wilson
from llamatrix.stats.trials import ArmTrials, Pooled, TrialComparison
from llamatrix.stats.verdict import Verdict
from llamatrix.units import duration_text

_POINTS = f"{100 * DROP:.0f} points"
METHOD = (
    f"Beta posterior of each pass rate over a flat prior, a change claimed where it is "
    f"larger than {_POINTS} with probability above {SURE}; hard breaks by rule; Wilson "
    "intervals; turns by exact permutation; amounts as paired log-ratios, which decide "
    "nothing; the order of each pair of trials drawn at random"
)
_MEANING = {
    Verdict.SLOWER: "the candidate passes less often (of an agent, SLOWER reads: worse)",
    Verdict.BROKEN: "the candidate does not work where the baseline does",
    Verdict.INCONCLUSIVE: "not enough is known; more trials may tell",
    Verdict.FASTER: "the candidate passes more often (of an agent, FASTER reads: better)",
    Verdict.SAME: f"no pass rate differs by as much as {_POINTS}",
}
SCRIPTED = (
    "authored transcripts spoke in the model's place, the same in both arms: pass rates "
    "say whether engine, template and OpenCode work together, nothing of the model"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentArmFacts:
    pin: str
    commit: str
    build: str
    server: str
    templates: tuple[str, ...]
    """Of the models, each once."""
    opencode: str
    """Versions."""
    context7: str

    @property
    def text(self) -> str:
        return (
            f"{self.pin} ({self.commit[:9]}, build {self.build}, server {self.server}, "
            f"template {', '.join(self.templates)}), OpenCode {self.opencode}, "
            f"Context7 {self.context7}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class AmountRatio:
    """The candidate's amount over the baseline's, trial by trial: above 1 is more."""

    name: str
    estimate: Estimate | None
    """None where no pair of trials has any of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentCellFound:
    id: str
    compared: TrialComparison
    ratios: tuple[AmountRatio, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentRegression:
    """All that `invoke regress --agent` found."""

    verdict: Verdict
    baseline: AgentArmFacts
    candidate: AgentArmFacts
    identical: bool
    scripted: bool
    profile: str
    host: str
    trials: int
    """Asked of each arm at each cell."""
    cells: tuple[AgentCellFound, ...]
    pooled: Pooled | None
    """None where fewer than two cells have scored trials in both arms."""
    reused: int
    """Trials that were known before."""
    made: int
    """Attempts of this run."""
    made_s: float
    """Their wall time."""
    wall_s: float

    @property
    def notes(self) -> tuple[str, ...]:
        notes = []
        if self.identical:
            notes.append(
                "both arms are the same (A/A): any change that is claimed is a false "
                "alarm"
            )
        if self.scripted:
            notes.append(SCRIPTED)
        if self.reused and self.made:
            notes.append(
                f"{self.reused} trials were known before: those and the new ones were "
                "not made in turns, so trust the amounts in time less"
            )
        return tuple(notes)


def agent_text(found: AgentRegression) -> str:
    lines = [
        f"{found.verdict}: {_MEANING[found.verdict]}",
        f"baseline  {found.baseline.text}",
        f"candidate {found.candidate.text}",
    ]
    lines += [f"note: {note}" for note in found.notes]
    for cell in found.cells:
        lines += ["", *_cell_lines(cell)]
    if found.pooled:
        lines += ["", pooled_text(found.pooled)]
    lines += ["", made_text(found)]
    return "\n".join(lines) + "\n"


def agent_markdown(found: AgentRegression) -> str:
    """A summary fit for a pull-request comment."""
    table = Table(
        title=f"Agent: {found.verdict}",
        header=("Cell", "Verdict", "Baseline", "Candidate", "P(drop)", "P(rise)"),
        rows=tuple(_row(cell) for cell in found.cells),
        right=(2, 3, 4, 5),
    )
    arms = f"`{found.baseline.text}` → `{found.candidate.text}`"
    lines = [table.markdown(), f"{arms}: {_MEANING[found.verdict]}.", ""]
    if found.pooled:
        lines += [f"{pooled_text(found.pooled)}.", ""]
    lines.append(
        f"P(drop), P(rise): that the candidate's pass rate is more than {_POINTS} below "
        f"or above the baseline's. In brackets: 95 % (Wilson). Host: {found.host}. "
        f"Method: {METHOD}."
    )
    lines += ["", "<details><summary>Notes and amounts</summary>", ""]
    lines += [f"- {note}" for note in found.notes]
    for cell in found.cells:
        _, *rest = _cell_lines(cell)
        lines.append(f"- `{cell.id}`")
        lines += [
            f"  - {line.strip()}".replace("\n    | ", "\n        ") for line in rest
        ]
    lines += [f"- {made_text(found)}", "", "</details>"]
    return "\n".join(lines) + "\n"


def passes_text(passes: Passes | None) -> str:
    """`3/5 [0.23, 0.88]`."""
    if passes is None:
        return "none scored"
    return f"{passes.passed}/{passes.trials}{_ends(wilson(passes), 2)}"


def cell_summary(cell: AgentCellFound) -> str:
    """In one line: the word, both arms' passes and how sure it is."""
    verdict = cell.compared
    arms = (
        f"passes {passes_text(verdict.baseline.passes)} → "
        f"{passes_text(verdict.candidate.passes)}"
    )
    if verdict.comparison is None:
        return f"{verdict.verdict}  {cell.id}  {arms}"
    return (
        f"{verdict.verdict}  {cell.id}  {arms}; P(drop > {_POINTS}) "
        f"{verdict.comparison.drop_probability:.3f}, P(rise > {_POINTS}) "
        f"{verdict.comparison.rise_probability:.3f}"
    )


def made_text(found: AgentRegression) -> str:
    if not found.made:
        return f"no trial made: {found.reused} known from records"
    return (
        f"{found.made} attempts made in {duration_text(found.made_s)}, {found.reused} "
        f"trials known from records; {duration_text(found.wall_s)} in all"
    )


def _cell_lines(cell: AgentCellFound) -> Iterator[str]:
    verdict = cell.compared
    yield cell_summary(cell)
    for reason in verdict.breaks:
        yield "  broken: " + reason.replace("\n", "\n    | ")
    for arm, trials in (
        (Arm.BASELINE, verdict.baseline),
        (Arm.CANDIDATE, verdict.candidate),
    ):
        if told := not_scored(trials):
            yield f"  {arm}: {told}"
    if verdict.turns:
        never = [
            sum(turn is None for turn in arm.turns)
            for arm in (verdict.baseline, verdict.candidate)
        ]
        yield (
            f"  turns: {verdict.turns.difference:+.2f} on average (p "
            f"{verdict.turns.p_value:.3g}); never correct {never[0]} → {never[1]}"
        )
    for ratio in cell.ratios:
        if ratio.estimate:
            yield f"  {ratio.name}: {_ratio_text(ratio.estimate)}"
    for note in cell.notes:
        yield "  " + note.replace("\n", "\n    | ")


def not_scored(trials: ArmTrials) -> str:
    """What of an arm's trials is in no pass rate, and what of those in it is odd."""
    parts = []
    if trials.broken:
        parts.append(f"{len(trials.broken)} broken, twice each, not scored")
    if trials.lost:
        parts.append(
            f"{trials.lost} lost by the harness, or failed and not tried again: not scored"
        )
    if trials.undecided:
        parts.append(f"{trials.undecided} undecided, not scored")
    if trials.refused:
        parts.append(f"{trials.refused} scored with calls that the server refused")
    if trials.template_fails:
        parts.append("its chat template fails essential cases")
    return "; ".join(parts)


def _ratio_text(found: Estimate) -> str:
    pairs = f"{found.pairs} pair{'s' if found.pairs > 1 else ''}"
    return f"ratio {found.ratio:.3f}{_ends(found.interval(), 3)}, {pairs}"


def pooled_text(found: Pooled) -> str:
    return (
        f"all {found.cells} cells: {found.baseline.passed}/{found.baseline.trials} → "
        f"{found.candidate.passed}/{found.candidate.trials}; the mean rate drops by "
        f"{100 * found.mean_drop:.1f} points (posterior mean), P(drop > {_POINTS}) "
        f"{found.drop_probability:.3f}, P(rise > {_POINTS}) "
        f"{found.rise_probability:.3f}"
    )


def _row(cell: AgentCellFound) -> tuple[str, ...]:
    verdict, found = cell.compared, cell.compared.comparison
    return (
        f"`{cell.id}`",
        str(verdict.verdict),
        passes_text(verdict.baseline.passes),
        passes_text(verdict.candidate.passes),
        f"{found.drop_probability:.3f}" if found else "–",
        f"{found.rise_probability:.3f}" if found else "–",
    )


def _ends(interval: Interval | None, digits: int) -> str:
    if interval is None:
        return ""
    return f" [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"
