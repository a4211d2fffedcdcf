"""The speed records grouped by what they measure, with means and spread."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from llamatrix.config.cell import SpeedTest
from llamatrix.config.matrix import WeightsKind
from llamatrix.engines.outcome import (
    ContextTooLarge,
    Crashed,
    Done,
    EndpointFailed,
    Invalid,
    NotDrafting,
    Outcome,
    OutOfMemory,
    SpeedSample,
    TimedOut,
)
from llamatrix.records.hand_run import HandRun
from llamatrix.records.speed_record import SpeedRecord
from llamatrix.records.store import Stored

KIND_NOTES = {
    WeightsKind.HUB: "the published GGUF files",
    WeightsKind.LOCAL: "GGUF files of the user's own",
    WeightsKind.PACKAGE: "published GGUF files out of Python packages",
    WeightsKind.ENDPOINT: "unverified, whatever the server calls them",
    WeightsKind.FULL: (
        "synthetic weights at full size: these figures are the engine's speed and say "
        "nothing about the quality of the models they are named after"
    ),
    WeightsKind.TINY: (
        "tiny synthetic weights: these figures prove the pipeline and say nothing "
        "about the models they are named after"
    ),
}


def synthetic_warning(kind: WeightsKind) -> str:
    """Return the sentence that every page with synthetic weights shows in a box."""
    return f"Measured with {KIND_NOTES[kind]}." if kind.synthetic else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    records: tuple[SpeedRecord, ...]
    quiet: tuple[SpeedSample, ...]
    """One for each process that gave a number on a quiet machine."""
    disturbed: tuple[SpeedSample, ...]
    """One for each process that gave a number while something disturbed it."""
    failures: tuple[Outcome, ...]
    target_spread: float | None = None
    """The sweep's stopping rule; None where it had none."""

    @property
    def rows(self) -> tuple[SpeedSample, ...]:
        """What the figures are made of: the quiet processes, else the disturbed ones."""
        return self.quiet or self.disturbed

    @property
    def used(self) -> tuple[SpeedRecord, ...]:
        """The records of `rows`; all of them where there is no number."""
        used = tuple(
            record
            for record in self.records
            if isinstance(record.outcome, Done)
            and bool(record.disturbed) is not bool(self.quiet)
        )
        return used or self.records

    @property
    def steady_means(self) -> tuple[float, ...]:
        """Tokens per second, the steady mean of each process that has one."""
        means = (row.steady_tps for row in self.rows)
        return tuple(mean for mean in means if mean is not None)

    @property
    def mean(self) -> float | None:
        """The mean of the steady means, the headline; None where there is none."""
        return _mean(self.steady_means)

    @property
    def published_means(self) -> tuple[float, ...]:
        """The program's own mean of each process, cold first repetition included."""
        return tuple(row.published_tps for row in self.rows)

    @property
    def published_mean(self) -> float | None:
        return _mean(self.published_means)

    @property
    def first_deviation(self) -> float | None:
        """How far first repetitions are off the steady means, on average."""
        shares = (row.first_deviation for row in self.rows)
        return _mean([share for share in shares if share is not None])

    @property
    def between(self) -> float | None:
        """Standard deviation between steady means; None for fewer than two."""
        means = self.steady_means
        return statistics.stdev(means) if len(means) > 1 else None

    @property
    def within(self) -> float | None:
        """Standard deviation of steady repetitions, pooled over the processes."""
        steady = (row.steady for row in self.rows if len(row.steady) > 1)
        pooled = _mean([statistics.variance(speeds) for speeds in steady])
        return None if pooled is None else pooled**0.5

    @property
    def count(self) -> str:
        """Processes × steady repetitions: `2×3`."""
        repetitions = {len(row.steady) for row in self.rows}
        return f"{len(self.rows)}×{'/'.join(map(str, sorted(repetitions)))}"

    @property
    def unstable(self) -> bool:
        """Whether it has numbers, and they have not reached the target spread."""
        if self.target_spread is None or not self.rows:
            return False
        if len(self.quiet) < 2 or self.between is None or not self.mean:  # noqa: PLR2004
            return True
        return self.between / self.mean > self.target_spread

    @property
    def marks(self) -> tuple[str, ...]:
        """What a reader must know of a number that did not come of a quiet machine."""
        marks = {"disturbed": not self.quiet, "unstable": self.unstable}
        return tuple(mark for mark, holds in marks.items() if holds)


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


_WORDS: dict[type[Outcome], str] = {
    Done: "done",
    TimedOut: "timed out",
    Crashed: "crashed",
    OutOfMemory: "out of memory",
    ContextTooLarge: "context too large",
    Invalid: "invalid row",
    NotDrafting: "not drafting",
}


def outcome_word(outcome: Outcome) -> str:
    if isinstance(outcome, EndpointFailed):
        return str(outcome.failure)
    return _WORDS[type(outcome)]


def result_of(records: Sequence[SpeedRecord]) -> Result:
    done = [
        (record, record.outcome.result)
        for record in records
        if isinstance(record.outcome, Done)
    ]
    return Result(
        records=tuple(records),
        quiet=tuple(sample for record, sample in done if not record.disturbed),
        disturbed=tuple(sample for record, sample in done if record.disturbed),
        failures=tuple(
            record.outcome for record in records if not isinstance(record.outcome, Done)
        ),
        target_spread=records[-1].cell.target_spread,
    )


def days_text(records: Iterable[Stored]) -> str:
    """`2026-04-05`, or the first and the last day."""
    days = sorted({record.measured_at[:10] for record in records})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """What stands in one set of tables: same host, weights, pin, build and sweep."""

    host_slug: str
    weights: WeightsKind
    pin: str
    build: str
    sweep: str
    records: tuple[SpeedRecord, ...]
    """All that the results were made of, in the order of the tables."""
    results: Mapping[tuple[str, SpeedTest], Result]
    """By model name and test."""
    by_hand: tuple[HandRun, ...] = ()
    """The complete runs of llama-bench by hand of the same cells."""

    @property
    def pin_text(self) -> str:
        """The pin's name, marked where its source is unproven."""
        return self.records[0].locked.marked(self.pin)

    @property
    def title(self) -> str:
        """What tells it from every other of the same host."""
        engine = f"pin {self.pin_text}, {self.build} build"
        return f"{self.sweep} sweep, {engine}, {self.weights.label} weights"

    @property
    def days(self) -> str:
        return days_text(self.records)

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(model for model, _ in self.results))

    def shown_name(self, model: str) -> str:
        return self.weights.shown_name(model)

    def records_of(self, model: str, test: SpeedTest) -> tuple[SpeedRecord, ...]:
        result = self.results.get((model, test))
        return result.records if result else ()

    @property
    def depths(self) -> tuple[int, ...]:
        return tuple(sorted({test.n_depth for test in self.tests}))

    @property
    def tests(self) -> tuple[SpeedTest, ...]:
        """Prompts before generations, small before large."""
        return tuple(sorted({test for _, test in self.results}, key=_test_order))


def groups(
    records: Iterable[SpeedRecord],
    *,
    models: Sequence[str] = (),
    current: frozenset[str] = frozenset(),
    by_hand: Sequence[HandRun] = (),
) -> tuple[Group, ...]:
    """Sort speed records into groups, in an order that depends on them alone.

    `models` are the keys in the matrix' order. A cell can have records of several
    digests, from before and after its inputs changed: of each sweep are shown those of
    the spec digests in `current` where there are any, else those written last.
    """
    by_cell: dict[tuple[str, str, str], list[SpeedRecord]] = defaultdict(list)
    for record in records:
        cell = record.cell
        by_cell[record.host.slug, cell.id, cell.sweep].append(record)
    by_group: dict[tuple[str, WeightsKind, str, str, str], list[SpeedRecord]]
    by_group = defaultdict(list)
    for records_here in by_cell.values():
        kept = _newest(records_here, current)
        cell, host, kind = kept[0].cell, kept[0].host, kept[0].weights.kind
        by_group[host.slug, kind, cell.pin, cell.build, cell.sweep] += kept
    place = {key: number for number, key in enumerate(models)}

    def order(
        record: SpeedRecord,
    ) -> tuple[int, str, tuple[int, int, int, int, str], int]:
        key = record.cell.model_key
        number = place.get(key, len(place))
        return number, key, _test_order(record.test), record.repeat

    found = []
    for (host_slug, weights, pin, build, sweep), records_here in sorted(
        by_group.items()
    ):
        ordered = tuple(sorted(records_here, key=order))
        by_test: dict[tuple[str, SpeedTest], list[SpeedRecord]] = defaultdict(list)
        for record in ordered:
            by_test[record.cell.model_name, record.test].append(record)
        digests = {record.cell.digest for record in ordered}
        found.append(
            Group(
                host_slug=host_slug,
                weights=weights,
                pin=pin,
                build=build,
                sweep=sweep,
                records=ordered,
                results={key: result_of(own) for key, own in by_test.items()},
                by_hand=tuple(
                    run
                    for run in by_hand
                    if run.complete
                    and run.host.slug == host_slug
                    and run.digest in digests
                ),
            )
        )
    return tuple(found)


def _newest(
    records: Sequence[SpeedRecord], current: frozenset[str]
) -> list[SpeedRecord]:
    """One digest of a cell, and of each repeat and test its last record."""
    wanted = [record for record in records if record.cell.spec_digest in current]
    last = max(wanted or records, key=lambda record: record.measured_at)
    latest = {
        (record.repeat, record.test): record
        for record in records
        if record.cell.digest == last.cell.digest
    }
    return list(latest.values())


def _test_order(test: SpeedTest) -> tuple[int, int, int, int, str]:
    sizes = (test.n_gen, test.n_prompt, test.n_depth, test.concurrency)
    return (*sizes, test.prompt)
