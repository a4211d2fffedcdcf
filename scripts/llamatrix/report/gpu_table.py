"""Energy and memory of a card beside the speeds: what GPU telemetry adds to a group."""

import statistics
from collections.abc import Iterable

from llamatrix.engines.outcome import Done, SpeedSample
from llamatrix.measure.energy import energy_of, idle_w
from llamatrix.measure.telemetry import held_bytes, test_window
from llamatrix.records.speed_record import SpeedRecord
from llamatrix.report.speed import Group
from llamatrix.report.tables import Table

_MIB = 2**20


def gpu_table(group: Group) -> Table:
    """One row for each model and test; none where no GPU was sampled."""
    rows = []
    for model, test in group.results:
        records = [
            one
            for one in group.records
            if (one.cell.model_name, one.test) == (model, test) and one.telemetry.gpu
        ]
        if records:
            own, device = peak_memory(records)
            disturbed = sum(bool(one.telemetry.disturbances) for one in records)
            rows.append(
                (
                    *(model, test.name, *energy_cells(records)),
                    *(mib_text(own), mib_text(device)),
                    f"{disturbed} of {len(records)}",
                )
            )
    return Table(
        title="Energy and memory of the cards",
        header=(
            *("Model", "Test", "J per token", "mean power", "n", "from"),
            *("peak, process (MiB)", "peak, card (MiB)", "disturbed"),
        ),
        rows=tuple(rows),
        right=(2, 3, 4, 6, 7, 8),
    )


def energy_cells(records: Iterable[SpeedRecord]) -> tuple[str, str, str, str]:
    """Joules per token, mean power, of how many processes, and told by what."""
    found = [
        energy
        for record in records
        if (row := sample_text(record)) and (energy := energy_of(record.telemetry, row))
    ]
    if not found:
        return "n/a", "n/a", "0", "too short, or not told by the card"
    joules = statistics.fmean(one.joules_per_token for one in found)
    watts = statistics.fmean(one.mean_w for one in found)
    sources = ", ".join(sorted({one.source for one in found}))
    return f"{joules:.4f}", watts_text(watts), str(len(found)), sources


def peak_memory(records: Iterable[SpeedRecord]) -> tuple[int | None, int | None]:
    """The most that the process held, and the cards beyond what they held before.

    In bytes, during repetitions: before them a process may still hold what the test
    before needed. What a driver does not tell is None.
    """
    own: list[int] = []
    device: list[int] = []
    for record in records:
        before = {one.index: one.used_bytes or 0 for one in record.telemetry.gpu_before}
        row = sample_text(record)
        held = held_bytes(record.telemetry, row)
        own += [] if held is None else [held]
        window = test_window(record.telemetry, row) if row else None
        begin_s = window[0] if window else 0.0
        for one in record.telemetry.gpu:
            if one.at_s < begin_s:
                continue
            if one.used_bytes is not None and one.index in before:
                device.append(one.used_bytes - before[one.index])
    return max(own, default=None), max(device, default=None)


def idle_power_w(records: Iterable[SpeedRecord]) -> float | None:
    """The least that was seen at rest: a card that has just worked rests slowly."""
    told = []
    for record in records:
        warm_up = record.telemetry.warm_up
        watts = warm_up.idle_w if warm_up else idle_w(record.telemetry.gpu_before)
        told += [] if watts is None else [watts]
    return min(told, default=None)


def sample_text(record: SpeedRecord) -> SpeedSample | None:
    return record.outcome.result if isinstance(record.outcome, Done) else None


def mib_text(count: int | None) -> str:
    return "n/a" if count is None else f"{count / _MIB:,.0f}"


def watts_text(watts: float | None) -> str:
    return "n/a" if watts is None else f"{watts:.0f} W"
