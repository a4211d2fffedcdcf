"""One cell's first proof on a GPU as a page: speed, memory, energy, and what is missing."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from llamatrix.config.cell import SpeedTest
from llamatrix.config.matrix import WeightsKind
from llamatrix.engines.outcome import Done, SpeedSample
from llamatrix.provision.weights.fit import (
    MemoryNeed,
    MemorySettings,
    known_shape,
    memory_need,
)
from llamatrix.provision.weights.synthetic.models import Scale
from llamatrix.records.speed_record import SpeedRecord
from llamatrix.reference.gpu import load_gpus
from llamatrix.reference.roofline import NoRoofline, Roofline
from llamatrix.report.gpu_table import (
    energy_cells,
    idle_power_w,
    mib_text,
    peak_memory,
    sample_text,
    watts_text,
)
from llamatrix.report.our_conditions import after, number_after
from llamatrix.report.our_rooflines import our_rooflines
from llamatrix.report.speed import Group
from llamatrix.report.tables import Table
from llamatrix.stats.intervals import estimate

_MIB = 2**20


_WINDOW_IN_F16_BUILD = 8643
"""The build of llama.cpp that `MemorySettings.window_in_f16` is about."""
_NOT_COVERED = (
    "contexts longer than the sweep's",
    "other pins, builds and models",
    "published weights, and what a model says",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """What was measured of one cell, by hand and through the harness."""

    group: Group
    """The records of one digest of one cell."""
    by_hand: Mapping[int, tuple[SpeedSample, ...]]
    """Samples of each repeat."""

    @property
    def records(self) -> tuple[SpeedRecord, ...]:
        return self.group.records

    @property
    def file_name(self) -> str:
        """The name of the page; different cells and sweeps never share one."""
        group, model = self.group, self.records[0].cell.model_key
        engine = f"{group.sweep}-{group.weights}-{group.pin}-{group.build}"
        return f"gpu-proof-{group.host_slug}-{engine}-{model}.md"

    @property
    def tests(self) -> tuple[SpeedTest, ...]:
        return tuple(dict.fromkeys(record.test for record in self.records))

    def records_of(self, test: SpeedTest) -> list[SpeedRecord]:
        return [record for record in self.records if record.test == test]

    def rows(self, test: SpeedTest) -> dict[int, SpeedSample]:
        """Ours, by repeat."""
        return {
            record.repeat: row
            for record in self.records_of(test)
            if (row := sample_text(record))
        }


def gpu_page(proof: Proof) -> str:
    """Render the page; everything on it comes from the records and the runs by hand."""
    record = proof.records[0]
    parts = [
        f"# First proof on a GPU: {record.cell.model_name}",
        "",
        *_facts(proof),
        "",
        _speed(proof).markdown(),
        _memory(proof).markdown(),
        _energy(proof).markdown(),
        *_said(proof),
    ]
    return "\n".join(parts) + "\n"


def _facts(proof: Proof) -> list[str]:
    record = proof.records[0]
    cards = [
        f"- card: {gpu.name}, {gpu.memory_bytes / _MIB:,.0f} MiB, capability "
        f"{gpu.compute_capability}, driver {gpu.driver}, {gpu.power_cap_text}"
        for gpu in record.host.gpus
    ]
    days = sorted({one.measured_at[:10] for one in proof.records})
    source = f" ({record.build.source_note})" if record.build.source_note else ""
    cmake = ("CMAKE_CUDA_ARCHITECTURES", "GGML_CUDA_FA_ALL_QUANTS", "GGML_NATIVE")
    flags = ", ".join(f"{key}={record.build.cmake.get(key, 'unset')}" for key in cmake)
    engine = f"{record.build.commit[:9]}, {record.build.compiler}"
    size = f"{record.weights.file_bytes / 2**30:.2f} GiB"
    return [
        *(cards or ["- card: none; the tables below are of a dry run on the CPU"]),
        f"- host: {record.host.summary}, {record.host.kernel}",
        f"- engine: llama.cpp {engine}, {flags}{source}",
        f"- weights: {record.weights.kind}, made up, {size}: engine speed, no quality",
        f"- command: `{' '.join(record.process.argv)}`",
        f"- measured: {' to '.join(dict.fromkeys((days[0], days[-1])))}",
        f"- idle power, before the load: {watts_text(idle_power_w(proof.records))}",
    ]


def _speed(proof: Proof) -> Table:
    """By hand and through the harness in turn; the ratio is of pairs."""
    limits = {
        one.claim.rsplit("/", 1)[-1]: one
        for one in our_rooflines(proof.group, load_gpus(), None)
    }
    rows = []
    for test in proof.tests:
        ours = {
            repeat: row.steady_tps or row.published_tps
            for repeat, row in proof.rows(test).items()
        }
        hand = {
            repeat: row.steady_tps or row.published_tps
            for repeat, found in proof.by_hand.items()
            for row in found
            if row.test == test
        }
        pairs = [
            math.log(ours[number] / hand[number]) for number in ours if number in hand
        ]
        rows.append(
            (
                test.name,
                _mean(ours.values()),
                _mean(hand.values()),
                _ratio(pairs),
                f"{len(ours)} / {len(hand)}",
                *_limit(limits.get(test.name)),
            )
        )
    return Table(
        title="Speed (tokens/s)",
        header=(
            *("Test", "llamatrix", "by hand", "ratio [95 %]"),
            *("processes", "of the hardware's limit", "limit"),
        ),
        rows=tuple(rows),
        right=(1, 2, 3, 4, 5),
    )


def predicted_need(record: SpeedRecord) -> MemoryNeed:
    """Return the memory that the closed form predicts for the test of a record."""
    argv = record.process.argv
    tiny = record.weights.kind is WeightsKind.TINY
    default = MemorySettings()
    use = MemorySettings(
        cache_type_k=after(argv, "-ctk") or default.cache_type_k,
        cache_type_v=after(argv, "-ctv") or default.cache_type_v,
        ubatch_size=number_after(argv, "-ub") or default.ubatch_size,
        window_in_f16=record.build.build_number == _WINDOW_IN_F16_BUILD,
    )
    shape = known_shape(record.cell.model_key, Scale.TINY if tiny else Scale.FULL)
    return memory_need(
        shape, use, context_tokens=record.test.n_prompt + record.test.n_gen
    )


def _memory(proof: Proof) -> Table:
    rows = []
    for test in proof.tests:
        predicted = predicted_need(proof.records_of(test)[0])
        own, device = peak_memory(proof.records_of(test))
        rows.append(
            (
                test.name,
                *(mib_text(part) for part in _parts(predicted)),
                mib_text(predicted.total),
                mib_text(own),
                mib_text(device),
                "n/a"
                if device is None
                else f"{(device - predicted.total) / _MIB:+,.0f}",
            )
        )
    return Table(
        title="Memory on the card (MiB): predicted by closed form, then measured",
        header=(
            *("Test", "weights", "cache+state", "compute", "CUDA (assumed)", "sum"),
            *("measured, process", "measured, card", "difference"),
        ),
        rows=tuple(rows),
        right=tuple(range(1, 9)),
    )


def _parts(found: MemoryNeed) -> tuple[int, int, int, int]:
    return (
        found.weights,
        found.cache + found.state,
        found.compute + found.scratch,
        found.cuda,
    )


def _energy(proof: Proof) -> Table:
    return Table(
        title="Energy of the cards, idle share included",
        header=("Test", "J per token", "mean power", "processes", "from"),
        rows=tuple(
            (test.name, *energy_cells(proof.records_of(test))) for test in proof.tests
        ),
        right=(1, 2, 3),
    )


def _said(proof: Proof) -> list[str]:
    """Everything a reader must know that is no number of a table."""
    lines = []
    warmed = {
        record.process.id: record.telemetry.warm_up
        for record in proof.records
        if record.telemetry.warm_up
    }
    steady = sum(one.steady for one in warmed.values())
    seconds = [one.seconds for one in warmed.values()]
    if warmed:
        lines.append(
            f"- warm-up before each process: {min(seconds):.0f} to "
            f"{max(seconds):.0f} s, steady in {steady} of {len(warmed)}"
        )
    for record in proof.records:
        where = f"{record.test.name} #{record.repeat}"
        reasons = (*record.telemetry.disturbances, record.disturbed)
        lines += [f"- disturbed: {where}: {why}" for why in filter(None, reasons)]
        if not isinstance(record.outcome, Done):
            lines.append(f"- failed: {where}: {type(record.outcome).__name__}")
    lines += [f"- not covered by this page: {text}" for text in _NOT_COVERED]
    return ["### Notes", "", *lines]


def _mean(values: Iterable[float]) -> str:
    numbers = list(values)
    return f"{statistics.fmean(numbers):,.2f}" if numbers else "not measured"


def _ratio(logs: Sequence[float]) -> str:
    if not logs:
        return "n/a"
    found = estimate(logs)
    interval = found.interval()
    between = f" [{interval.low:.4f}, {interval.high:.4f}]" if interval else ""
    return f"{found.ratio:.4f}{between}"


def _limit(found: Roofline | NoRoofline | None) -> tuple[str, str]:
    match found:
        case Roofline():
            return f"{100 * found.fraction:.1f} %", found.arithmetic
        case NoRoofline():
            return "n/a", found.reason
        case None:
            return "n/a", "not measured"
