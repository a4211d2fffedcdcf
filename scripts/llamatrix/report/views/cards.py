"""What GPU telemetry and runs by hand add to a group of speeds."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator

from llamatrix.config.matrix import WeightsKind
from llamatrix.engines.outcome import Done, SpeedSample
from llamatrix.measure.energy import energy_of, idle_w
from llamatrix.measure.telemetry import held_bytes, samples_of_test
from llamatrix.provision.weights.fit import (
    MemoryNeed,
    MemorySettings,
    known_shape,
    memory_need,
)
from llamatrix.provision.weights.synthetic.models import MODELS, Scale
from llamatrix.records.speed_record import SpeedRecord
from llamatrix.reference.gpu import load_gpus
from llamatrix.reference.roofline import Roofline
from llamatrix.report.formats import hundredths, mib_text, share_text, watts_text, whole
from llamatrix.report.our_conditions import after, number_after
from llamatrix.report.our_rooflines import our_rooflines
from llamatrix.report.speed import Group, Result
from llamatrix.report.table import Cell, Column, Row, Table, count, number, numbers
from llamatrix.stats.intervals import estimate

_MIB = 2**20
_WINDOW_IN_F16_BUILD = 8643
"""The build of llama.cpp that `MemorySettings.window_in_f16` is about."""


def card_tables(group: Group) -> tuple[Table, ...]:
    """Return energy, memory, and the comparison with runs by hand."""
    return (_energy(group), _memory(group), _by_hand(group))


def card_notes(group: Group) -> Iterator[str]:
    """What a reader must know of the cards before a number."""
    records = [record for record in group.records if record.telemetry.gpu]
    if not records:
        return
    for gpu in dict.fromkeys(gpu for record in records for gpu in record.host.gpus):
        yield (
            f"card: {gpu.name}, {gpu.memory_bytes / _MIB:,.0f} MiB, capability "
            f"{gpu.compute_capability}, driver {gpu.driver}, {gpu.power_cap_text}"
        )
    build = records[0].build
    keys = ("CMAKE_CUDA_ARCHITECTURES", "GGML_CUDA_FA_ALL_QUANTS", "GGML_NATIVE")
    flags = ", ".join(f"{key}={build.cmake.get(key, 'unset')}" for key in keys)
    yield f"build: {flags}" + (f" ({build.source_note})" if build.source_note else "")
    yield f"idle power, before the load: {watts_text(idle_power_w(records))}"
    warm_ups = {
        record.process.id: record.telemetry.warm_up
        for record in records
        if record.telemetry.warm_up
    }.values()
    if warm_ups:
        seconds = [warm_up.seconds for warm_up in warm_ups]
        processes = {record.process.id for record in records}
        each = (
            "each process" if len(warm_ups) == len(processes) else "the first process"
        )
        yield (
            f"warm-up before {each}: {min(seconds):.0f} to {max(seconds):.0f} s, "
            f"steady in {sum(warm_up.steady for warm_up in warm_ups)} of {len(warm_ups)}"
        )
    reasons = Counter(
        reason
        for record in records
        for reason in filter(None, (*record.telemetry.disturbances, record.disturbed))
    )
    for reason, times in reasons.items():
        yield f"disturbed in {times} of {len(records)} records: {reason}"


def _sampled(group: Group) -> Iterator[tuple[str, str, tuple[SpeedRecord, ...]]]:
    """Model, test and records of each result with GPU samples."""
    for (model, test), result in group.results.items():
        records = tuple(record for record in result.records if record.telemetry.gpu)
        if records:
            yield model, test.name, records


def _energy(group: Group) -> Table:
    """Idle share included."""
    sampled = tuple(_sampled(group))
    limits = our_rooflines(group, load_gpus(), None) if sampled else ()
    by_claim = {limit.claim: limit for limit in limits}
    rows: list[Row] = []
    for model, test, records in sampled:
        limit = by_claim.get(f"{records[0].cell.model_key}/{test}")
        why, fraction = "not measured", None
        if isinstance(limit, Roofline):
            why, fraction = limit.arithmetic, limit.fraction
        elif limit:
            why = limit.reason
        clocks = [
            reading.sm_mhz
            for record in records
            for reading in samples_of_test(record.telemetry, sample_of(record))
            if reading.sm_mhz is not None
        ]
        clock = statistics.median(clocks) if clocks else None
        disturbed = sum(
            bool(record.disturbed or record.telemetry.disturbances)
            for record in records
        )
        rows.append(
            (
                *(group.shown_name(model), test, *energy_cells(records)),
                number(clock, whole, "MHz", records=records),
                *(number(fraction, share_text), why),
                f"{disturbed} of {len(records)}",
            )
        )
    return Table(
        "Energy and limits of the cards",
        (
            *("Model", "Test"),
            *numbers("J per token", "mean power", "n"),
            "from",
            *numbers("SM clock (MHz)", "of the limit"),
            Column("limit", wide=True),
            *numbers("disturbed"),
        ),
        rows,
    )


def energy_cells(records: tuple[SpeedRecord, ...]) -> tuple[Cell, Cell, Cell, str]:
    """Joules per token, mean power, of how many processes, and the source."""
    energies = [
        (record, energy)
        for record in records
        if (sample := sample_of(record))
        and (energy := energy_of(record.telemetry, sample))
    ]
    used = tuple(record for record, _ in energies)
    joules = watts = None
    if energies:
        joules = statistics.fmean(energy.joules_per_token for _, energy in energies)
        watts = statistics.fmean(energy.mean_w for _, energy in energies)
    sources = sorted({energy.source for _, energy in energies})
    return (
        number(joules, "{:.4f}".format, "J/token", records=used),
        number(watts, watts_text, "W", records=used),
        count(len(energies)),
        ", ".join(sources) or "too short, or not reported by the card",
    )


def _memory(group: Group) -> Table:
    rows: list[Row] = []
    for model, test, records in _sampled(group):
        record = records[0]
        local = record.weights.kind is WeightsKind.LOCAL
        known = record.cell.model_key in MODELS and not local
        need = predicted_need(record) if known else None
        parts: list[int | None] = [None] * 5
        if need:
            parts = [need.weights, need.cache + need.state]
            parts += [need.compute + need.scratch, need.cuda, need.total]
        own, device = peak_memory(records)
        note = ""
        if need and own is not None and own < need.weights:
            note = "less than the weights: not all on the card"
        off = device - need.total if need and device is not None else None
        rows.append(
            (
                *(group.shown_name(model), test),
                *(number(part, mib_text, "bytes") for part in parts),
                number(own, mib_text, "bytes", records=records, note=note),
                number(device, mib_text, "bytes", records=records),
                number(off, lambda size: f"{size / _MIB:+,.0f}", "bytes"),
            )
        )
    return Table(
        "Memory on the card (MiB): predicted by closed form, then measured",
        (
            *("Model", "Test"),
            *numbers("weights", "cache+state", "compute", "CUDA (assumed)", "sum"),
            *numbers("measured, process", "measured, card", "difference"),
        ),
        rows,
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
    tokens = record.test.n_depth + record.test.n_prompt + record.test.n_gen
    return memory_need(shape, use, context_tokens=tokens)


def peak_memory(records: Iterable[SpeedRecord]) -> tuple[int | None, int | None]:
    """Return the peak of the process, and of the cards beyond what they held before.

    In bytes, during repetitions: before them a process may still hold what the test
    before needed. None where the driver reports no memory.
    """
    own: list[int] = []
    device: list[int] = []
    for record in records:
        before = {
            sample.index: sample.used_bytes or 0
            for sample in record.telemetry.gpu_before
        }
        sample = sample_of(record)
        held = held_bytes(record.telemetry, sample)
        own += [] if held is None else [held]
        device += [
            at_test.used_bytes - before[at_test.index]
            for at_test in samples_of_test(record.telemetry, sample)
            if at_test.used_bytes is not None and at_test.index in before
        ]
    return max(own, default=None), max(device, default=None)


def idle_power_w(records: Iterable[SpeedRecord]) -> float | None:
    """Return the least that was seen at rest: a card that has just worked rests slowly."""
    watts = (
        record.telemetry.warm_up.idle_w
        if record.telemetry.warm_up
        else idle_w(record.telemetry.gpu_before)
        for record in records
    )
    return min((watt for watt in watts if watt is not None), default=None)


def sample_of(record: SpeedRecord) -> SpeedSample | None:
    return record.outcome.result if isinstance(record.outcome, Done) else None


def _by_hand(group: Group) -> Table:
    """llama-bench by hand and through llamatrix in turn; the ratio is of pairs."""
    rows: list[Row] = []
    for (model, test), result in group.results.items():
        hand = {
            run.repeat: sample.steady_tps or sample.published_tps
            for run in group.by_hand
            if run.digest == result.records[0].cell.digest
            for sample in run.samples
            if sample.test == test
        }
        if hand:
            shown = group.shown_name(model)
            rows.append((shown, test.name, *_pair_cells(result, hand)))
    return Table(
        "Through llamatrix and by hand (tokens/s)",
        (
            *("Model", "Test"),
            *numbers("llamatrix", "by hand", "ratio [95 %]", "processes"),
        ),
        rows,
    )


def _pair_cells(result: Result, hand: dict[int, float]) -> Iterator[Cell]:
    ours = {
        record.repeat: sample.steady_tps or sample.published_tps
        for record in result.records
        if (sample := sample_of(record))
    }
    mean = statistics.fmean(ours.values()) if ours else None
    missing, records = "not measured", result.records
    yield number(mean, hundredths, "tokens/s", records=records, missing=missing)
    yield number(statistics.fmean(hand.values()), hundredths, "tokens/s")
    logs = [math.log(ours[place] / hand[place]) for place in ours if place in hand]
    if not logs:
        yield number(None, hundredths)
    else:
        pairs = estimate(logs)
        interval = pairs.interval()
        ends = f" [{interval.low:.4f}, {interval.high:.4f}]" if interval else ""
        yield number(pairs.ratio, f"{pairs.ratio:.4f}{ends}", records=records)
    yield number(len(hand), f"{len(ours)} / {len(hand)}")
