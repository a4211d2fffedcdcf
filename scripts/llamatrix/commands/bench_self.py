"""The harness measured: exact samples, its own time, whether it biases the number.

Everything is measured in one run on one machine; speed and bias are reported as ratios.
"""

import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from llamatrix.commands.bench import bench_of, measure
from llamatrix.commands.flags import BenchSelfFlags
from llamatrix.commands.hand_runs import measure_by_hand_too
from llamatrix.commands.pending import speed_status
from llamatrix.commands.tabulate import tables_of
from llamatrix.config.cell import Cell, SpeedTest
from llamatrix.config.context import Context, load_context
from llamatrix.engines.outcome import Done
from llamatrix.engines.protocol import Bench
from llamatrix.engines.registry import ENGINE
from llamatrix.errors import MeasureError
from llamatrix.host import this_host
from llamatrix.measure.speed import MeasuredTest, run_sweep
from llamatrix.measure.telemetry import sampling_share
from llamatrix.nvml import gpus
from llamatrix.progress import say
from llamatrix.project import Project, find_project
from llamatrix.proxy.cost import measure_cost
from llamatrix.records.speed_record import SPEED, SpeedRecord
from llamatrix.records.store import Store
from llamatrix.records.trial_record import AGENT
from llamatrix.report.speed import groups
from llamatrix.report.views.overhead import added_s, tap_text, trials_text
from llamatrix.report.views.speed import FIRST_LIMIT, page
from llamatrix.stats.intervals import estimate
from llamatrix.stats.pairs import Arm, drawn_order

_TEST = SpeedTest(n_prompt=0, n_gen=128)
_SEED = "bench-self"
_MANY = 10_000
_BY_HAND_TIMEOUT_S = 600
_SAMPLED_S = 10.0
_TAP_PAIRS = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    tps: float
    wall_s: float
    """From before it was started until its result was kept."""
    ours_s: float
    """Wall time in which the process did not run, plus our CPU time while it did."""


def bench_self(flags: BenchSelfFlags) -> None:
    """Print the findings; MeasureError where the samples are not exact.

    With a profile, measure one of its models by hand too and print its speed tables.
    """
    if flags.profile:
        pending = measure_by_hand_too(flags)
        _print_sampling()
        print(tables_of(pending), end="")
        return
    context = load_context("smoke")
    cell = context.plan("*/qwen35-27b.*").speed[0]
    parts = ENGINE.install(cell, context.project.cache)
    with tempfile.TemporaryDirectory(prefix="llamatrix-self-") as aside:
        records = _measured_aside(cell, context, Path(aside))
        base = bench_of(cell, parts, context.project)
        _print_exactness(cell, base, records)
        _print_pairs(base, records[0], Path(aside), flags.pairs)
        _print_long(base, records[0], Path(aside), flags.long_run_s)
        _print_tabulating(records, Path(aside))
    _print_sampling()
    _print_trials()


def _measured_aside(cell: Cell, context: Context, aside: Path) -> list[SpeedRecord]:
    """Measure the cell by the ordinary way into a store of its own."""
    project = Project(root=aside, cache=context.project.cache)
    store = Store(reports=project.reports, kind=SPEED)
    measure([speed_status(cell, store)], replace(context, project=project))
    return list(store.read_all())


def _print_exactness(cell: Cell, here: Bench, records: Sequence[SpeedRecord]) -> None:
    hand = ENGINE.manual_command(here, cell.tests)
    words = hand.split(" && ", 1)[1].split()[1:]
    for record in records:
        log = here.log.with_name(f"{here.log.name}-{record.process.id}.log")
        printed = [line for line in log.read_bytes().splitlines() if line[:1] == b"{"]
        if not isinstance(record.outcome, Done):
            raise MeasureError(f"{cell.id} {record.test.name}: {record.outcome}")
        sample = record.outcome.result
        if bytes(sample.raw) not in printed:
            raise MeasureError(f"{log}: does not hold the row of {record.test.name}")
        if msgspec.json.decode(sample.raw)["avg_ts"] != sample.published_tps:
            raise MeasureError(f"{log}: avg_ts of {record.test.name} is another")
        if list(record.process.argv[1:]) != words:
            raise MeasureError(f"{record.process.argv} is not the command by hand")
    done = [
        record.outcome.result for record in records if isinstance(record.outcome, Done)
    ]
    cold = sum(abs(sample.first_deviation or 0.0) > FIRST_LIMIT for sample in done)
    disturbed = sum(bool(record.disturbed) for record in records)
    print(
        f"exact: {sum(result.repetitions for result in done)} samples in {len(records)} records "
        "equal llama-bench's own lines byte for byte, and so do the means shown as "
        f"published; the command by hand:\n  {hand}\n"
        f"steady: {sum(len(result.steady) for result in done)} samples are in the headlines; the "
        f"first repetition is left out, and off by more than {100 * FIRST_LIMIT:.0f} % in "
        f"{cold} of {len(done)} records; {disturbed} records were disturbed"
    )


def _print_pairs(bench_: Bench, like: SpeedRecord, aside: Path, pairs: int) -> None:
    """Pairs of a process by hand and one through the harness, in a drawn order."""
    timed: list[tuple[Run, Run]] = []
    for number in range(1, pairs + 1):
        say(f"pair {number} of {pairs}")
        runs = {
            arm: _run_by_hand(bench_, aside)
            if arm is Arm.BASELINE
            else _run_ours(bench_, like, aside)
            for arm in drawn_order(_SEED, number)
        }
        timed.append((runs[Arm.BASELINE], runs[Arm.CANDIDATE]))
    speed = estimate([math.log(ours.tps / hand.tps) for hand, ours in timed])
    interval = speed.interval()
    between = f" [{interval.low:.3f}, {interval.high:.3f}]" if interval else ""
    own = statistics.median(ours.ours_s for _, ours in timed)
    print(
        f"bias: {_TEST.name} through the harness over by hand, {pairs} pairs: "
        f"{speed.ratio:.3f}{between}\n"
        f"harness time per process: median {1000 * own:.0f} ms, largest "
        f"{1000 * max(ours.ours_s for _, ours in timed):.0f} ms (at most 150 ms)"
    )


def _print_long(bench_: Bench, like: SpeedRecord, aside: Path, long_s: int) -> None:
    """Print which share of a process of about `long_s` seconds is the harness."""
    short = _run_ours(bench_, like, aside)
    seconds = (short.wall_s - short.ours_s) / (bench_.sweep.repetitions + 1)
    sweep = msgspec.structs.replace(
        bench_.sweep, repetitions=math.ceil(long_s / seconds)
    )
    run = _run_ours(replace(bench_, sweep=sweep), like, aside)
    share = 100 * run.ours_s / run.wall_s
    print(
        f"a process of {run.wall_s:.0f} s: {share:.2f} % is the harness (at most 1 % of "
        "one of 20 s or more)"
    )


def _print_sampling() -> None:
    """The sampler's own thread over some seconds: its share of one core."""
    share = 100 * sampling_share(_SAMPLED_S)
    print(
        f"sampling the CPU and {len(gpus())} GPUs for {_SAMPLED_S:.0f} s: {share:.2f} % "
        "of one core (at most 1 %)"
    )


def _print_trials() -> None:
    """The tap between OpenCode and the server, then all of it in recorded trials."""
    with tempfile.TemporaryDirectory(prefix="llamatrix-tap-") as folder:
        cost = measure_cost(Path(folder), pairs=_TAP_PAIRS)
    print(tap_text(cost))
    store = Store(reports=find_project().reports, kind=AGENT)
    tap_s = statistics.median(added_s(cost))
    print(trials_text(store.read_all(), host=this_host().slug, tap_s=tap_s))


def _run_ours(bench_: Bench, like: SpeedRecord, aside: Path) -> Run:
    """One process through the harness, its record written as always."""
    store = Store(reports=aside / "pairs", kind=SPEED)
    kept: list[MeasuredTest] = []

    def keep(measured: MeasuredTest) -> None:
        kept.append(measured)
        store.append(msgspec.structs.replace(like, outcome=measured.outcome))

    begin, cpu_begin = time.monotonic(), time.process_time()
    (ended,) = run_sweep(bench_, [_TEST], on_measured=keep)
    wall_s = time.monotonic() - begin
    cpu_s = time.process_time() - cpu_begin
    outcome = kept[0].outcome
    if not isinstance(outcome, Done):
        raise MeasureError(f"{_TEST.name}: {outcome}")
    return Run(
        tps=statistics.fmean(outcome.result.tokens_per_second),
        wall_s=wall_s,
        ours_s=wall_s - ended.seconds + cpu_s,
    )


def _run_by_hand(bench_: Bench, aside: Path) -> Run:
    """The same process, started bare, its output into a file."""
    run = ENGINE.run_bare(
        bench_, [_TEST], out=aside / "by-hand.jsonl", timeout_s=_BY_HAND_TIMEOUT_S
    )
    (sample,) = run.samples
    return Run(
        tps=statistics.fmean(sample.tokens_per_second), wall_s=run.wall_s, ours_s=0.0
    )


def _print_tabulating(records: Sequence[SpeedRecord], aside: Path) -> None:
    """Read, group and write tables of many records, and of ten times fewer."""
    few_s, many_s = (
        _tabulated_s(records, count, aside / f"many-{count}")
        for count in (_MANY // 10, _MANY)
    )
    print(
        f"tabulating {_MANY} records: {many_s:.2f} s, {many_s / few_s:.1f} times the "
        f"{few_s:.2f} s of {_MANY // 10}"
    )


def _tabulated_s(records: Sequence[SpeedRecord], count: int, folder: Path) -> float:
    store = Store(reports=folder, kind=SPEED)
    file = store.file_of(records[0].host.slug, records[0].cell.id)
    file.parent.mkdir(parents=True)
    copies = (
        msgspec.structs.replace(records[number % len(records)], repeat=number + 1)
        for number in range(count)
    )
    file.write_bytes(b"".join(map(SPEED.encode, copies)))
    begin = time.monotonic()
    speed_groups = groups(store.read_all())
    text = page(speed_groups)
    seconds = time.monotonic() - begin
    if sum(len(group.records) for group in speed_groups) != count or not text:
        raise MeasureError("the table came of other records than were written")
    return seconds
