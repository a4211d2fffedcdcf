"""One step of a bisect: a commit is built and judged against the good end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import msgspec

from llamatrix.commands.flags import RegressFlags
from llamatrix.commands.launching import cell_to_serve, launch_of
from llamatrix.commands.regress import compare_benches
from llamatrix.compare.replay import newly_failing
from llamatrix.config.cell import Cell
from llamatrix.config.context import Context
from llamatrix.config.expand import select_profile
from llamatrix.engines.protocol import Installed, Launch
from llamatrix.engines.registry import ENGINE
from llamatrix.errors import MeasureError, ProvisionError, ServeError
from llamatrix.measure.templates.checks import Conformance
from llamatrix.measure.templates.suite import check_template
from llamatrix.measuring import measuring
from llamatrix.progress import say
from llamatrix.project import Project
from llamatrix.provision.build import CompileError
from llamatrix.provision.commit_range import Commit
from llamatrix.provision.pin_source import UnknownFlagError, without_unknown_flags
from llamatrix.provision.resolve import with_commit
from llamatrix.provision.source import provide_source
from llamatrix.records.bisect_record import BisectStep
from llamatrix.stats.bisection import STEP, Mark, mark_of, step_margin
from llamatrix.stats.pairs import Arm
from llamatrix.stats.sequential import JudgedCell, SequentialTest
from llamatrix.stats.verdict import Verdict
from llamatrix.web import NoAnswerError, WrongAnswerError

_RUNS = SequentialTest(looks=(3,))
"""Of a failure: how often both must run before the candidate works."""
_PROMPT = "Write a function that returns the sum of two numbers, and a test of it.\n"
_OUTPUT_TOKENS = 64
_OUTPUT_TIMEOUT_S = 600
_UNTESTABLE = (CompileError, UnknownFlagError)


class Judge(Protocol):
    def judge(
        self,
        blank: BisectStep,
        commit: Commit,
        end: BisectStep | None,
        *,
        left_s: float,
    ) -> BisectStep | str:
        """Fill in what is found of a commit; `end` is the bad end, None to judge that.

        A text says why the same command must be run again before it is known. A blank
        step is one that is skipped.
        """
        ...


@dataclass(kw_only=True, slots=True)
class Builds:
    """What was compiled since the step began, the good end included."""

    builds: Path
    count: int = 0
    seconds: float = 0.0

    @contextmanager
    def timed(self, pin: str) -> Iterator[None]:
        before, begin = set(self.builds.glob(f"{pin}-*")), time.monotonic()
        yield
        if new := set(self.builds.glob(f"{pin}-*")) - before:
            self.count += len(new)
            self.seconds += time.monotonic() - begin


@dataclass(kw_only=True, slots=True)
class SpeedJudge:
    """Compares by llama-bench, as `invoke regress` does."""

    context: Context
    good: Commit
    flags: RegressFlags
    margin: float
    builds: Builds
    _unbuilt: str = ""

    def judge(
        self,
        blank: BisectStep,
        commit: Commit,
        end: BisectStep | None,
        *,
        left_s: float,
    ) -> BisectStep | str:
        """The bad end is compared in every cell, and the search follows the worst."""
        breaks = end is not None and end.verdict is Verdict.BROKEN
        sequential = _RUNS if breaks else STEP
        ratio = end.ratio if end and end.ratio else 1.0
        margin = step_margin(ratio, self.margin)
        case = end.case if end else ""
        context, candidate, dropped = self._arms(commit)
        self._unbuilt = ""
        result = compare_benches(
            replace(
                self.flags,
                baseline=self.good.key,
                candidate=candidate,
                cells=case or self.flags.cells,
                margin=f"{margin:.6f}",
                budget=f"{max(1, int(left_s))}s",
            ),
            context=context,
            provide=self._provide,
            sequential=sequential,
        )
        if result is None or self._unbuilt:
            return msgspec.structs.replace(blank, case=case, reason=self._unbuilt)
        cell = _worst(result.judgement.cells)
        found = cell.comparison
        broken = cell.verdict is Verdict.BROKEN
        searched = Verdict.BROKEN if breaks or (broken and not end) else Verdict.SLOWER
        notes = found.notes if broken or not cell.verdict.decided else ()
        flaky = any("gave no value" in pair.reason for pair in found.left_out)
        ran = bool(found.used) if breaks else cell.verdict.decided
        if not (ran or broken or flaky) and len(found.used) < sequential.looks[-1]:
            return "; ".join(found.notes)
        mark = mark_of(cell.verdict, searched=searched, ran=bool(found.used))
        return msgspec.structs.replace(
            blank,
            verdict=cell.verdict,
            mark=mark,
            case=case or _followed(cell.id),
            reason="; ".join([*dropped, *notes]),
            margin=margin,
            ratio=found.estimate.ratio if found.estimate else None,
            interval=(found.interval.low, found.interval.high)
            if found.interval
            else None,
            pairs=len(found.used),
        )

    def _arms(self, commit: Commit) -> tuple[Context, str, list[str]]:
        """Return both pins, the candidate's arm, and the flags it goes without.

        A flag that the good end does not know is dropped for both.
        """
        context = self.context
        key = select_profile(context.matrix, context.profile).sweep
        arm, dropped = commit.key, []
        for end in (self.good, commit):
            context = with_commit(context, end.key, end.pin)
            if not key:
                continue
            locked, cache = context.lock.pins[end.key], context.project.cache
            tree = provide_source(locked, cache, git=end.pin.git)
            sweep, flags = without_unknown_flags(context.matrix.sweeps[key], tree)
            if not flags:
                continue
            names = f"{end.key} does not know {', '.join(flags)}"
            name = key
            if end is self.good:
                dropped.append(f"{names}: left out in both")
            else:
                dropped.append(f"{names}: left out there alone")
                name = f"{key}-{commit.key}"
                arm = f"{commit.key},sweep:{name}"
            say(dropped[-1])
            sweeps = {**context.matrix.sweeps, name: sweep}
            matrix = msgspec.structs.replace(context.matrix, sweeps=sweeps)
            context = replace(context, matrix=matrix)
        return context, arm, dropped

    def _provide(self, arm: Arm, cell: Cell, project: Project) -> Installed:
        if arm is Arm.CANDIDATE and self._unbuilt:
            raise CompileError(self._unbuilt)
        try:
            with self.builds.timed(cell.pin_key):
                return ENGINE.install(
                    cell,
                    project.cache,
                    weights_dir=self.context.weights_dir,
                    program=cell.program,
                )
        except _UNTESTABLE as error:
            if arm is Arm.BASELINE:
                raise _good_end(self.good, error) from error
            self._unbuilt = f"does not build: {error}"
            raise CompileError(self._unbuilt) from error


@dataclass(kw_only=True, slots=True)
class CheckJudge:
    """Looks for what the good end does and a commit does not: output, or a template."""

    context: Context
    good: Commit
    what: str
    model: str
    builds: Builds
    _known: list[Conformance | str] = field(default_factory=list)
    """Of the good end, once it is known."""

    def judge(
        self,
        blank: BisectStep,
        commit: Commit,
        end: BisectStep | None,  # noqa: ARG002
        *,
        left_s: float,  # noqa: ARG002
    ) -> BisectStep | str:
        if not self._known:
            try:
                self._known.append(self._outcome(self.good))
            except _UNTESTABLE as error:
                raise _good_end(self.good, error) from error
        try:
            why = _difference(self._known[0], self._outcome(commit))
        except _UNTESTABLE as error:
            why = f"does not build: {error}"
            return msgspec.structs.replace(blank, case=self.model, reason=why)
        except (MeasureError, NoAnswerError, ServeError, WrongAnswerError) as error:
            why = f"does not serve: {error}"
        return msgspec.structs.replace(
            blank,
            verdict=Verdict.BROKEN if why else Verdict.SAME,
            mark=Mark.BAD if why else Mark.GOOD,
            case=self.model,
            reason=why,
        )

    def _outcome(self, commit: Commit) -> Conformance | str:
        context = with_commit(self.context, commit.key, commit.pin)
        cell = cell_to_serve(context, model=self.model, pin=commit.key)
        with self.builds.timed(commit.key):
            launch = launch_of(cell, context)
        log = context.project.logs / f"bisect-{self.what}-{commit.key}.log"
        with measuring(purpose=f"checking {self.what}"):
            if self.what == "output":
                return _output(launch, log)
            return check_template(launch, name=self.model, pin=commit.key, log=log)


class _Completion(msgspec.Struct):
    content: str


def _output(launch: Launch, log: Path) -> str:
    """Return what the model writes at temperature 0, with a fixed seed."""
    request = {
        "prompt": _PROMPT,
        "n_predict": _OUTPUT_TOKENS,
        "temperature": 0,
        "seed": 1,
        "cache_prompt": False,
    }
    with ENGINE.serve(launch, log=log) as serving:
        reply = serving.site.post("/completion", request, timeout_s=_OUTPUT_TIMEOUT_S)
        return reply.read(_Completion).content


def _difference(good: Conformance | str, candidate: Conformance | str) -> str:
    """Why the candidate's outcome is a failure; empty where it is none."""
    if isinstance(candidate, Conformance):
        why = newly_failing(good if isinstance(good, Conformance) else None, candidate)
        return why.replace("\n", "; ", 1)  # a page has the first line
    if good == candidate:
        return ""
    pairs = zip(str(good), candidate, strict=False)
    same = next((at for at, (a, b) in enumerate(pairs) if a != b), None)
    at = min(len(str(good)), len(candidate)) if same is None else same
    return (
        f"the output differs from character {at + 1} on: {candidate[at : at + 20]!r} "
        f"in place of {str(good)[at : at + 20]!r}"
    )


def _worst(cells: tuple[JudgedCell, ...]) -> JudgedCell:
    """Return a broken cell, else the slowest of those that are slower, else the first."""
    for verdict in (Verdict.BROKEN, Verdict.SLOWER, Verdict.INCONCLUSIVE):
        those = [cell for cell in cells if cell.verdict is verdict]
        if those:
            return min(
                those,
                key=lambda cell: (
                    cell.comparison.estimate.ratio if cell.comparison.estimate else 0.0
                ),
            )
    return cells[0]


def _followed(case_id: str) -> str:
    """Return a glob of the case at other commits, and with other flags."""
    kind, weights, _, build, *_, test = case_id.split("/")
    return f"{kind}/{weights}/*/{build}/*{test}"


def _good_end(good: Commit, error: ProvisionError) -> ProvisionError:
    return ProvisionError(
        f"--good {good.key} ({good.about}): does not build, so nothing can be compared "
        f"with it: {error}"
    )
