"""A comparison of two arms as people read it: on a terminal, in a pull request."""

from collections.abc import Iterator
from dataclasses import dataclass

from llamatrix.report.comparison import detectable_text, interval_text, pairs_text
from llamatrix.report.tables import Table
from llamatrix.stats.intervals import Interval
from llamatrix.stats.sequential import Headline, JudgedCell, Judgement, SequentialTest
from llamatrix.stats.verdict import Verdict
from llamatrix.units import duration_text

_METHOD = (
    "paired t on log-ratios of fresh processes, the order drawn at random in each pair; "
    "alpha split evenly over the planned looks, and intervals that hold at all of them "
    "together (Bonferroni; Jennison & Turnbull 1989); Holm across cells"
)
_STEADY = "; the speed of a process is its steady mean, without the first repetition"
_MEANING = {
    Verdict.SLOWER: "at least one cell is slower",
    Verdict.BROKEN: "the candidate does not work where the baseline does",
    Verdict.INCONCLUSIVE: "not enough is known; more budget or a quieter machine may tell",
    Verdict.FASTER: "at least one cell is faster, and none slower",
    Verdict.SAME: "no cell differs by as much as its margin",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmFacts:
    pin: str
    commit: str
    builds: tuple[str, ...]
    sweep: str
    """Of llama-bench; empty where a session was replayed."""
    server: str = ""
    """The server's flags by name; empty for llama-bench."""

    @property
    def text(self) -> str:
        builds = ", ".join(self.builds)
        how = f"server {self.server}" if self.server else f"sweep {self.sweep}"
        return f"{self.pin} ({self.commit[:9]}, build {builds}, {how})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """Of this run alone: pairs of earlier runs cost nothing."""

    wall_s: float
    """From the first warm-up to the verdict."""
    processes_s: float
    """Wall time of the measured processes, warm-up included."""
    processes: int

    @property
    def beyond(self) -> float:
        """The share of wall time in which no measured process ran."""
        return 1 - self.processes_s / self.wall_s if self.wall_s else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Regression:
    """All that `invoke regress` found."""

    baseline: ArmFacts
    candidate: ArmFacts
    identical: bool
    """Both arms are the same: what is measured is the noise."""
    profile: str
    host: str
    sequential: SequentialTest
    overall: Judgement
    headline: Headline | None
    timing: Timing

    @property
    def notes(self) -> tuple[str, ...]:
        notes = []
        if self.identical:
            notes.append(
                "both arms are the same (A/A): any change that is claimed is a false "
                "alarm"
            )
        if len(self.sequential.looks) > 1:
            notes.append(
                f"a cell's intervals at all {len(self.sequential.looks)} planned looks, "
                f"{100 * self.level:.3g} % each, hold together in at least "
                f"{100 * (1 - self.sequential.alpha):.3g} % of comparisons, whichever look ends "
                "it"
            )
        return tuple(notes)

    @property
    def method(self) -> str:
        return _METHOD if self.baseline.server else _METHOD + _STEADY

    @property
    def level(self) -> float:
        """The confidence of each interval, taken alone."""
        return 1 - self.sequential.alpha_per_look

    def smallest_effect(self, cell: JudgedCell) -> float | None:
        """The smallest loss that 4 of 5 such runs would have called, alone among cells."""
        return cell.comparison.smallest_effect(cells=len(self.overall.cells))

    def smallest_detectable(self, cell: JudgedCell) -> float | None:
        """The smallest loss that 4 of 5 such runs would have told from none."""
        return cell.comparison.smallest_detectable(cells=len(self.overall.cells))


def regress_text(found: Regression) -> str:
    lines = [
        f"{found.overall.verdict}: {_MEANING[found.overall.verdict]}",
        f"baseline  {found.baseline.text}",
        f"candidate {found.candidate.text}",
    ]
    lines += [f"note: {note}" for note in found.notes]
    for cell in found.overall.cells:
        lines += ["", *_cell_lines(found, cell)]
    if headline := _headline(found):
        lines += ["", headline]
    timing = found.timing
    if timing.processes:
        lines.append(
            f"{timing.processes} processes in {duration_text(timing.processes_s)}; beyond "
            f"them {100 * timing.beyond:.1f} % of the wall time"
        )
    return "\n".join(lines) + "\n"


def regress_markdown(found: Regression) -> str:
    """A summary fit for a pull-request comment: the word, a table, what to doubt."""
    table = Table(
        title=f"Speed: {found.overall.verdict}",
        header=(
            *("Cell", "Verdict", "Ratio", f"{100 * found.level:.3g} % interval"),
            *("Would tell", "Would call", "Pairs"),
        ),
        rows=tuple(_row(found, cell) for cell in found.overall.cells),
        right=(2, 3, 4, 5, 6),
    )
    arms = f"`{found.baseline.text}` → `{found.candidate.text}`"
    lines = [table.markdown(), f"{arms}: {_MEANING[found.overall.verdict]}.", ""]
    if headline := _headline(found):
        lines += [f"{headline}.", ""]
    lines.append(
        "Ratio: the candidate's speed over the baseline's. *Would tell*, *would call*: "
        "the smallest loss that 4 of 5 such runs would tell from none, and call SLOWER. "
        f"Host: {found.host}. Method: {found.method}."
    )
    notes = [
        *found.notes,
        *(
            f"`{cell.id}`: {note}"
            for cell in found.overall.cells
            for note in _doubts(cell)
        ),
    ]
    if notes:
        lines += ["", "<details><summary>Notes</summary>", ""]
        lines += [_bullet(note) for note in notes]
        lines += ["", "</details>"]
    return "\n".join(lines) + "\n"


def _cell_lines(found: Regression, cell: JudgedCell) -> Iterator[str]:
    comparison = cell.comparison
    if comparison.estimate is None:
        yield f"{cell.verdict}  {cell.id}"
    else:
        yield (
            f"{cell.verdict}  {cell.id}  ratio {comparison.estimate.ratio:.4f}"
            f"{interval_text(comparison.interval, comparison.level)}, "
            f"{pairs_text(comparison)}"
        )
        sight = detectable_text(comparison, cells=len(found.overall.cells))
        if sight:
            yield f"  {sight}"
    if comparison.per_cycle:
        yield f"  per clock cycle: ratio {comparison.per_cycle.ratio:.4f}"
    for doubt in _doubts(cell):
        yield "  " + doubt.replace("\n", "\n    | ")


def _doubts(cell: JudgedCell) -> Iterator[str]:
    if cell.verdict is not cell.comparison.verdict:
        yield (
            f"alone {cell.comparison.verdict}, but not beside so many other cells (Holm: "
            f"p {cell.adjusted_p:.3g})"
        )
    yield from cell.comparison.notes
    for one in cell.comparison.left_out:
        yield f"pair {one.pair} left out: {one.reason}"


def _row(found: Regression, cell: JudgedCell) -> tuple[str, ...]:
    comparison = cell.comparison
    losses = (found.smallest_detectable(cell), found.smallest_effect(cell))
    ratio = comparison.estimate and f"{comparison.estimate.ratio:.4f}"
    return (
        f"`{cell.id}`",
        str(cell.verdict),
        ratio or "–",
        _ends(comparison.interval) or "–",
        *("–" if loss is None else f"{100 * loss:.2g} %" for loss in losses),
        str(len(comparison.used)),
    )


def _headline(found: Regression) -> str:
    headline = found.headline
    if headline is None:
        return ""
    what = "session" if found.baseline.server else "cell"
    of = f"{headline.sessions} {what}{'s' if headline.sessions > 1 else ''}"
    return (
        f"geometric mean of {of}: ratio {headline.ratio:.4f}"
        f"{interval_text(headline.interval, found.level)}"
    )


def _ends(interval: Interval | None) -> str:
    return f"[{interval.low:.4f}, {interval.high:.4f}]" if interval else ""


def _bullet(note: str) -> str:
    """One item; what a compiler said after the first line becomes a quoted block."""
    first, *rest = note.splitlines()
    return "\n".join([f"- {first}", *(f"      {line}" for line in rest)])
