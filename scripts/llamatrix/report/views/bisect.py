"""Searches of a commit range: on the page, in a terminal, as Markdown and as JSON."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llamatrix.records.bisect_record import BisectStep
from llamatrix.report.render.html import Section
from llamatrix.report.render.markdown import markdown
from llamatrix.report.table import Column, Row, Table, count, number, numbers
from llamatrix.stats.bisection import Mark, Search
from llamatrix.stats.verdict import Verdict
from llamatrix.units import duration_text, json_text

_OF_STEP = (
    *("position", "commit", "about", "mark", "verdict", "reason", "margin", "ratio"),
    *("interval", "pairs", "builds", "build_s", "seconds"),
)
"""In the JSON document."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bisection:
    """One search as far as its records go; at least one step."""

    steps: tuple[BisectStep, ...]
    """In the order of the commits, the newest of each."""

    @property
    def search(self) -> Search:
        marks = {step.position: step.mark for step in self.steps}
        return Search(last=self.steps[0].last, marks=marks)

    @property
    def end(self) -> BisectStep | None:
        """The bad end, once it was compared."""
        last = self.steps[-1]
        return last if last.position == last.last else None

    @property
    def finished(self) -> bool:
        return self.search.next_position() is None

    @property
    def verdict(self) -> Verdict:
        """SLOWER or BROKEN where the search came to its end, whether at one commit or not."""
        if self.end is None or self.end.mark is Mark.SKIPPED or not self.finished:
            return Verdict.INCONCLUSIVE
        return self.end.verdict

    @property
    def culprits(self) -> tuple[BisectStep, ...]:
        """The steps among which the first bad commit is; untried commits have none."""
        return tuple(
            step for step in self.steps if step.position in self.search.culprits
        )

    @property
    def title(self) -> str:
        first = self.steps[0]
        return f"{first.repository} {first.good}..{first.bad}, {first.what}"

    @property
    def answer(self) -> str:
        """The result in one line."""
        first, end, search = self.steps[0], self.end, self.search
        if end is None or end.mark is Mark.SKIPPED:
            why = f": {_line(end.reason)}" if end else ""
            return (
                f"it is not known whether {first.bad} is worse than {first.good}{why}"
            )
        speed = f", {_ratio(end)} of the speed of {first.good}" if end.ratio else ""
        if end.verdict is Verdict.FASTER:
            return f"no loss: {first.bad} is faster{speed}; were the ends swapped?"
        if end.mark is Mark.GOOD:
            return f"no change: {first.bad} does as well as {first.good}{speed}"
        kind = "broken" if end.verdict is Verdict.BROKEN else "slow"
        found = next(step for step in self.steps if step.position == search.bad)
        if len(search.culprits) == 1:
            detail = f": {_line(found.reason)}"
            if found.ratio:
                detail = f", {_ratio(found)} of the speed of {first.good}"
            return f"the first {kind} commit is {name_of(found)}{detail}"
        skipped = sum(step.mark is Mark.SKIPPED for step in self.culprits)
        of_these = f"{skipped} could not be tested" if skipped else "untested"
        text = (
            f"the first {kind} commit is one of {len(search.culprits)} up to "
            f"{name_of(found)} ({of_these})"
        )
        return text if self.finished else f"{text}; the same command goes on from here"

    @property
    def table(self) -> Table:
        return Table(
            f"Bisect of {self.title}",
            (
                *("Commit", "About", "Mark", "Verdict"),
                *numbers("÷ good end", "Interval", "Pairs", "Build, s"),
                Column("Reason", wide=True),
            ),
            [*map(_row, self.steps)],
        )

    @property
    def cost(self) -> str:
        """What the search took, in words."""
        builds = sum(step.builds for step in self.steps)
        return (
            f"commits compared with the good end: {len(self.steps)} of {self.search.last}; "
            f"builds: {builds} in {duration_text(sum(s.build_s for s in self.steps))}; "
            f"{duration_text(sum(s.seconds for s in self.steps))} in all"
        )


def bisections(records: Iterable[BisectStep]) -> tuple[Bisection, ...]:
    """Return the newest series of each search on each host, in the order of the records."""
    newest: dict[tuple[str, str], dict[int, BisectStep]] = {}
    for step in records:
        steps = newest.setdefault((step.host.slug, step.search), {})
        if any(known.series < step.series for known in steps.values()):
            steps.clear()
        steps[step.position] = step
    return tuple(
        Bisection(steps=tuple(step for _, step in sorted(steps.items())))
        for steps in newest.values()
    )


def bisection_text(result: Bisection) -> str:
    lines = [f"{result.verdict}: {result.answer}", ""]
    lines += [step_text(step) for step in result.steps]
    return "\n".join([*lines, "", result.cost, ""])


def bisection_markdown(result: Bisection) -> str:
    answer = f"**{result.verdict}**: {result.answer}."
    return f"{markdown(result.table)}\n{answer}\n\n{result.cost}.\n"


def bisect_page(results: Sequence[Bisection]) -> str:
    """`bisect.md`; empty without searches."""
    parts = map(bisection_markdown, results)
    return "\n".join(["# Bisects", "", *parts]) if results else ""


def search_section(result: Bisection) -> Section:
    """One search on the HTML page."""
    first = result.steps[0]
    return Section(
        id=f"bisect-{first.host.slug}-{first.search}",
        title=f"Bisect: {result.title}",
        facts=(
            ("Answer", f"{result.verdict}: {result.answer}"),
            ("Range", f"{first.good_commit[:12]}..{first.bad_commit[:12]}"),
            ("Followed", first.case),
            ("Cost", result.cost),
            ("Host", first.host.summary),
        ),
        tables=(result.table,),
    )


def bisection_json(result: Bisection) -> str:
    """Return one document, unrounded."""
    first = result.steps[0]
    return json_text(
        {
            "verdict": result.verdict,
            "exit_code": result.verdict.exit_code,
            "answer": result.answer,
            "finished": result.finished,
            "repository": first.repository,
            "good": first.good_commit,
            "bad": first.bad_commit,
            "commits": first.last,
            "what": first.what,
            "case": first.case,
            "candidates": len(result.search.culprits),
            "culprits": [step.commit for step in result.culprits],
            "builds": sum(step.builds for step in result.steps),
            "build_s": sum(step.build_s for step in result.steps),
            "seconds": sum(step.seconds for step in result.steps),
            "steps": [
                {name: getattr(step, name) for name in _OF_STEP}
                for step in result.steps
            ],
        }
    )


def step_text(step: BisectStep) -> str:
    """One line: what a step found."""
    detail = f"  {_ratio(step)}, {step.pairs} pairs" if step.ratio else ""
    reason = f"  {_line(step.reason)}" if step.reason else ""
    return f"{step.mark:8}{_verdict(step):13}{name_of(step)}{detail}{reason}"


def name_of(step: BisectStep) -> str:
    return f"{step.commit[:12]} ({step.about})"


def _row(step: BisectStep) -> Row:
    low, high = step.interval or (0.0, 0.0)
    return (
        *(step.commit[:12], step.about, str(step.mark), _verdict(step)),
        number(step.ratio, "{:.3f}".format, missing="–"),
        f"{low:.3f}–{high:.3f}" if step.interval else "–",
        count(step.pairs),
        number(step.build_s or None, "{:.0f}".format, "s", missing="cached"),
        _line(step.reason),
    )


def _verdict(step: BisectStep) -> str:
    """Where a failure is searched for, a commit that runs is good at any speed."""
    runs = step.mark is Mark.GOOD and not step.verdict.decided
    return "runs" if runs else str(step.verdict)


def _ratio(step: BisectStep) -> str:
    low, high = step.interval or (0.0, 0.0)
    interval = f" [{low:.3f}, {high:.3f}]" if step.interval else ""
    return f"{step.ratio:.3f}{interval}"


def _line(text: str) -> str:
    return text.partition("\n")[0]
