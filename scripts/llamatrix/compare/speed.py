"""The subject `speed`: one test of llama-bench, by fresh processes of both arms."""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import ClassVar, TypeVar

import msgspec

from llamatrix.compare.arms import (
    ArmSettings,
    both,
    expand_arm,
)
from llamatrix.compare.ledger import WARM_UP
from llamatrix.compare.run import ModelAmounts
from llamatrix.compare.session import Subject
from llamatrix.config.cell import Cell, SpeedTest
from llamatrix.config.complaint import nearest
from llamatrix.config.context import Context
from llamatrix.config.expand import matches_any, select_cells, select_profile
from llamatrix.config.matrix import Measurement
from llamatrix.engines.outcome import Done
from llamatrix.engines.protocol import Bench, Installed
from llamatrix.errors import MatrixError
from llamatrix.host import this_host
from llamatrix.measure.disturbances import Load
from llamatrix.measure.energy import energy_of
from llamatrix.measure.speed import MeasuredTest, program_of, run_sweep, served_of
from llamatrix.progress import say
from llamatrix.project import Project
from llamatrix.provision.build import CompileError
from llamatrix.provision.compiler import compiler_id
from llamatrix.records.pair_records import EndpointRun, SpeedRun, TimedRun
from llamatrix.records.store import stamp
from llamatrix.stats.pairs import Arm
from llamatrix.stats.verdict import Metric

PAIRING_VERSION = 2
"""Bumped by hand when pairs are run in another way: old pairs then do not count."""
SPEED_METRICS = (Metric.PROMPT, Metric.GENERATION)
_MEASURED_S = (1.0, 3.0)
"""Bounds of how long a process measures: longer runs buy more than more pairs, but one
that measures longer than it loads costs more than it tells."""
COLD = 1
"""Repetitions that come before it and have no part in the mean."""
_FEWEST, _MOST = 2, 500
"""Repetitions in the mean: with two, a slow one is not all there is."""
HANGS_AFTER = 20
"""A process that takes this many times the baseline's time is taken to hang …"""
PATIENCE_S = 30.0
"""… but none is ended before this, unless the sweep's own limit is shorter."""


UNBUILT = "the candidate does not build"
TimedRunT = TypeVar("TimedRunT", SpeedRun, EndpointRun)
Provide = Callable[[Arm, Cell, Project], Installed]


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeedCase:
    """One test of one cell in both arms, before it is known whether it can run."""

    id: str
    """As a cell id, with `baseline..candidate` where the two differ, then the test."""
    metric: Metric
    cells: Mapping[Arm, Cell]
    test: SpeedTest | None
    """None where the arms' sweeps have no such test in common."""
    lacking: str = ""
    """Why there is no test."""

    @property
    def digest(self) -> str:
        """Over all that identifies both arms here: pairs of another one never mix."""
        parts = [str(PAIRING_VERSION), self.test.name if self.test else ""]
        for arm in Arm:
            cell = self.cells[arm]
            compiler = compiler_id(cell.build.backend)
            parts.append(cell.digest(host_slug=this_host().slug, compiler=compiler))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @property
    def identical(self) -> bool:
        baseline, candidate = (self.cells[arm].spec_digest for arm in Arm)
        return baseline == candidate


def speed_cases(
    context: Context,
    arms: Mapping[Arm, ArmSettings],
    *,
    metrics: Sequence[Metric] = SPEED_METRICS,
    cells: str = "",
) -> tuple[SpeedCase, ...]:
    """Every case of a profile's models, in its order; MatrixError where none is left."""
    every = [
        case
        for facing in facing_cells(context, arms)
        for case in _cases(facing, metrics)
    ]
    if not any(case.test for case in every):
        named = ", ".join(metrics)
        reason = next((f": {case.lacking}" for case in every), "")
        raise MatrixError(
            f"profile {context.profile!r}: nothing to compare for {named}{reason}"
        )
    return select_cells(
        every,
        cells,
        ids=lambda case: (case.id, *(cell.id for cell in case.cells.values())),
    )


def facing_cells(
    context: Context, arms: Mapping[Arm, ArmSettings]
) -> list[dict[Arm, Cell]]:
    """The cells of both arms for each of the profile's models."""
    for kind in ("model", "draft"):
        if len({bool(getattr(settings, kind)) for settings in arms.values()}) > 1:
            raise MatrixError(
                f"{kind}: one arm names a {kind}, so the other must name one too"
            )
    drafts = [settings.draft for settings in arms.values() if settings.draft]
    expanded = [
        [
            cell
            for cell in expand_arm(
                context, arms[arm], Measurement.SPEED, drafts=drafts
            ).speed
            if cell.draft_key == arms[arm].draft
        ]
        for arm in Arm
    ]
    excluded = select_profile(context.matrix, context.profile).exclude
    return [
        {Arm.BASELINE: baseline, Arm.CANDIDATE: candidate}
        for baseline, candidate in zip(*expanded, strict=True)
        if not matches_any((baseline.id, candidate.id), excluded)
    ]


def _cases(
    facing: Mapping[Arm, Cell], metrics: Sequence[Metric]
) -> Iterator[SpeedCase]:
    baseline, candidate = (facing[arm] for arm in Arm)
    parts = [
        Measurement.SPEED.value,  # of pairs there is one store
        both(baseline.weights_key, candidate.weights_key),
        both(baseline.pin_key, candidate.pin_key),
        both(baseline.build_key, candidate.build_key),
    ]
    if baseline.draft_key:
        parts.append(both(baseline.draft_key, candidate.draft_key))
    if baseline.sweep_key != candidate.sweep_key:
        parts.append(both(baseline.sweep_key, candidate.sweep_key))
    for metric in metrics:
        prompt = metric is Metric.PROMPT
        sizes = [
            cell.sweep.n_prompt if prompt else cell.sweep.n_gen
            for cell in (baseline, candidate)
        ]
        if not any(sizes):
            continue
        common = set(sizes[0]) & set(sizes[1])
        depths = set(baseline.sweep.n_depth) & set(candidate.sweep.n_depth)
        if not common or not depths:
            yield SpeedCase(
                id="/".join([*parts, metric]),
                metric=metric,
                cells=facing,
                test=None,
                lacking=_lacking(baseline, candidate, metric, sizes),
            )
            continue
        # a prompt that fills a micro batch where there is one
        full = [size for size in common if size >= baseline.sweep.ubatch_size]
        depth = min(depths)
        if baseline.draft_key and not prompt:  # a server generates behind a prompt
            depth = min(baseline.sweep.n_prompt)
        test = SpeedTest(
            n_prompt=(min(full) if full else max(common)) if prompt else 0,
            n_gen=0 if prompt else min(common),
            n_depth=depth,
        )
        yield SpeedCase(
            id="/".join([*parts, test.name.replace(" ", "")]),
            metric=metric,
            cells={arm: _narrowed(cell, test) for arm, cell in facing.items()},
            test=test,
        )


def _lacking(
    baseline: Cell, candidate: Cell, metric: Metric, sizes: Sequence[tuple[int, ...]]
) -> str:
    for cell, own in zip((baseline, candidate), sizes, strict=True):
        if not own:
            return f"sweep {cell.sweep_key!r} of one arm has no {metric} test"
    what = "n_depth" if set(sizes[0]) & set(sizes[1]) else f"{metric} size"
    return (
        f"the sweeps {baseline.sweep_key!r} and {candidate.sweep_key!r} have no {what} "
        "in common"
    )


def _narrowed(cell: Cell, test: SpeedTest) -> Cell:
    """Return the cell with this one test: its other sizes cannot change the number."""
    sweep = msgspec.structs.replace(
        cell.sweep,
        n_prompt=(test.n_prompt,) if test.n_prompt else (),
        n_gen=(test.n_gen,) if test.n_gen else (),
        n_depth=(test.n_depth,),
        repetitions=1,
        warmup_repetitions=0,
    )
    return msgspec.structs.replace(cell, sweep=sweep)


def parse_metrics(text: str, known_metrics: Sequence[Metric]) -> tuple[Metric, ...]:
    """Read `tg,pp`; all that are known for an empty text."""
    known = {str(metric): metric for metric in known_metrics}
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in known:
            raise MatrixError(f"--metric {word!r}: not known{nearest(word, known)}")
    return tuple(known[word] for word in dict.fromkeys(words or known))


def provide_arms(
    cells: Mapping[Arm, Cell], project: Project, provide: Provide
) -> dict[Arm, Installed] | str:
    """Return both arms' parts, or why the candidate's cannot be had.

    A baseline that cannot be had stops the harness: nothing could be compared.
    """
    parts = {Arm.BASELINE: provide(Arm.BASELINE, cells[Arm.BASELINE], project)}
    try:
        parts[Arm.CANDIDATE] = provide(Arm.CANDIDATE, cells[Arm.CANDIDATE], project)
    except CompileError as error:
        why = f"{UNBUILT}: {error}"
        say(why)
        return why
    return parts


@dataclass(kw_only=True, slots=True)
class RepeatedSubject(Subject[TimedRunT]):
    """One test, which all processes of a series repeat equally often."""

    test: SpeedTest
    parts: Mapping[Arm, Installed]
    """Programs and weights of the arms that we run."""
    repeated: ClassVar[str] = "repetitions"

    def work(self, own: Sequence[TimedRunT]) -> str:
        return f"{self.repetitions(own)} {self.repeated}"

    def same_work(self, own: Sequence[TimedRunT]) -> Sequence[TimedRunT]:
        repetitions = self.repetitions(own)
        return [run for run in own if run.repetitions == repetitions]

    def repetitions(self, own: Sequence[TimedRunT]) -> int:
        """As the pairs of the series began, else what the warm-up asks for."""
        begun = [run.repetitions for run in own if run.pair != WARM_UP]
        return begun[0] if begun else repetitions_for(self.test, own)


@dataclass(kw_only=True, slots=True)
class SpeedSubject(RepeatedSubject[SpeedRun]):
    """A test of llama-bench."""

    case: SpeedCase

    def run(self, arm: Arm, own: Sequence[SpeedRun], *, pair: int) -> SpeedRun:  # noqa: ARG002
        cell, parts = self.case.cells[arm], self.parts[arm]
        known = [
            run.seconds
            for run in own
            if run.arm is Arm.BASELINE and run.value(self.case.metric) is not None
        ]
        limit_s = cell.sweep.timeout_s
        if known:
            limit_s = min(limit_s, math.ceil(max(PATIENCE_S, HANGS_AFTER * max(known))))
        repetitions = self.repetitions(own)
        # Warming a card by a load of its own helps nothing here: while the next process
        # reads its weights the card cools down again (H200: from 51 to 40 degrees in
        # 3 s). Processes like those that are judged warm it, until their speed is steady.
        bench = Bench(
            program=program_of(cell, parts),
            served=served_of(cell, parts),
            weights=parts.weights.path,
            commit=cell.locked.reported_commit,
            fork=cell.locked.fork,
            sweep=msgspec.structs.replace(
                cell.sweep,
                repetitions=repetitions,
                warmup_repetitions=0,
                timeout_s=limit_s,
            ),
            backend=cell.build.backend,
            log=self.project.logs / cell.id.replace("/", "-"),
        )
        measured: list[MeasuredTest] = []
        ended = run_sweep(bench, [self.test], on_measured=measured.append)
        (only,) = measured
        return SpeedRun(
            case=self.case.id,
            digest=self.case.digest,
            series=0,
            pair=0,
            place=0,
            arm=arm,
            cell=cell.id,
            test=self.test,
            repetitions=repetitions,
            outcome=only.outcome,
            seconds=sum(process.seconds for process in ended),
            load=Load(),
            disturbed="",
            process=only.process,
            telemetry=only.telemetry,
            peak_rss_bytes=max(process.peak_rss_bytes for process in ended) or None,
            locked=cell.locked,
            build=parts.built.manifest,
            weights=parts.weights.facts,
            **stamp(),
        )


def model_amounts(case: SpeedCase, runs: Sequence[SpeedRun]) -> Iterator[ModelAmounts]:
    """Yield size, memory and energy of both arms' models; nothing of one model twice."""
    if len({cell.weights_key for cell in case.cells.values()}) == 1:
        return
    for arm, cell in case.cells.items():
        done = [
            (run, run.outcome.result)
            for run in runs
            if run.arm is arm and isinstance(run.outcome, Done)
        ]
        if not done:
            continue
        memory = [sample.memory_bytes or run.peak_rss_bytes for run, sample in done]
        energies = [energy_of(run.telemetry, sample) for run, sample in done]
        joules = [energy.joules_per_token for energy in energies if energy]
        yield ModelAmounts(
            case=case.id,
            arm=arm,
            model=cell.weights_key,
            file_bytes=done[-1][0].weights.file_bytes,
            memory_bytes=max(filter(None, memory), default=None),
            joules_per_token=median(joules) if joules else None,
        )


def repetitions_for(test: SpeedTest, runs: Sequence[TimedRun]) -> int:
    """Return as many repetitions that the faster arm measures as long as it loads.

    That is within bounds, and after the cold repetition.
    """
    metric = Metric.PROMPT if test.n_prompt else Metric.GENERATION
    done = [
        (speed, run.seconds - sum(run.outcome.result.nanoseconds) / 1e9)
        for run in runs
        if (speed := run.value(metric)) is not None and isinstance(run.outcome, Done)
    ]
    if not done:
        return COLD + _FEWEST
    least_s, most_s = _MEASURED_S
    measured_s = min(most_s, max(least_s, min(beyond_s for _, beyond_s in done)))
    tokens = test.n_prompt or test.n_gen
    steady = math.ceil(measured_s * max(speed for speed, _ in done) / tokens)
    return COLD + min(_MOST, max(_FEWEST, steady))
