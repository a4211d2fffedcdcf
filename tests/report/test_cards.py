"""Energy, memory and disturbances of a card, beside the speeds of a group."""

import msgspec
from tests.records.made import made_record

from llamatrix.config.cell import SpeedTest
from llamatrix.engines.outcome import Crashed
from llamatrix.measure.telemetry import GpuSample, Telemetry, WarmUp
from llamatrix.nvml import Gpu
from llamatrix.records.speed_record import SpeedRecord
from llamatrix.report.speed import groups
from llamatrix.report.table import Table
from llamatrix.report.views.cards import card_tables, idle_power_w, peak_memory
from llamatrix.report.views.speed import page

GIB = 2**30
PROMPT = SpeedTest(n_prompt=512, n_gen=0)


def on_card(*, repeat: int = 1, disturbances: tuple[str, ...] = ()) -> SpeedRecord:
    """Three repetitions of 512 tokens in 3 s each, at 1000 W, on a card of 100 W idle."""
    telemetry = Telemetry(
        gpu=tuple(
            GpuSample(
                at_s=second,
                sm_mhz=1900 + second,
                energy_mj=second * 1_000_000,
                used_bytes=(17 + second // 20) * GIB,
                own_bytes=16 * GIB,
            )
            for second in range(21)
        ),
        gpu_before=(GpuSample(at_s=0, used_bytes=GIB),),
        warm_up=WarmUp(seconds=12, steady=True, idle_w=100.0),
        disturbances=disturbances,
    )
    record = made_record(
        test=PROMPT, samples_ts=(512 / 3,) * 3, repeat=repeat, host_slug="h200-1"
    )
    card = Gpu(
        name="NVIDIA H200",
        memory_bytes=143771 * 2**20,
        driver="580.1",
        compute_capability="9.0",
        power_cap_missing="Not Supported",
    )
    host = msgspec.structs.replace(record.host, gpus=(card,))
    return msgspec.structs.replace(record, telemetry=telemetry, host=host)


def rows(table: Table) -> list[dict[str, str]]:
    headings = [column.text for column in table.headings]
    return [
        dict(zip(headings, (cell.text for cell in row), strict=True))
        for row in table.cells
    ]


def test_a_row_holds_joules_power_clock_memory_and_disturbances() -> None:
    records = [on_card(), on_card(repeat=2, disturbances=("throttled: x",))]
    (group,) = groups(records)
    energy, memory, by_hand = card_tables(group)
    (row,) = rows(energy)
    assert row["J per token"] == "5.8594"
    assert (row["mean power"], row["n"], row["from"]) == (
        *("1000 W", "2", "energy counter"),
    )
    assert row["SM clock (MHz)"] == "1,916"
    (row,) = rows(memory)
    assert row["weights"] == "16,116"
    assert (row["measured, process"], row["measured, card"]) == ("16,384", "17,408")
    assert not by_hand.rows


def test_a_process_that_holds_less_than_the_weights_is_marked() -> None:
    record = on_card()
    half = tuple(
        msgspec.structs.replace(one, own_bytes=8 * GIB) for one in record.telemetry.gpu
    )
    telemetry = msgspec.structs.replace(record.telemetry, gpu=half)
    (group,) = groups([msgspec.structs.replace(record, telemetry=telemetry)])
    (row,) = rows(card_tables(group)[1])
    assert row["measured, process"] == (
        "8,192 (less than the weights: not all on the card)"
    )


def test_without_gpu_samples_there_is_no_row() -> None:
    (group,) = groups([made_record()])
    assert not any(table.rows for table in card_tables(group))
    assert "Energy" not in page([group])


def test_memory_of_a_card_is_what_it_held_more_than_before() -> None:
    assert peak_memory([on_card()]) == (16 * GIB, 17 * GIB)
    assert peak_memory([made_record()]) == (None, None)


def test_memory_of_another_card_than_the_first_is_reported_too() -> None:
    record = on_card()
    third = msgspec.structs.replace(
        record.telemetry,
        gpu=tuple(
            msgspec.structs.replace(one, index=2) for one in record.telemetry.gpu
        ),
        gpu_before=(GpuSample(at_s=0, index=2, used_bytes=GIB),),
    )
    moved = msgspec.structs.replace(record, telemetry=third)
    assert peak_memory([moved]) == peak_memory([record]) != (None, None)


def test_memory_that_the_test_before_held_does_not_count() -> None:
    record = on_card()
    early = GpuSample(at_s=1, used_bytes=90 * GIB, own_bytes=89 * GIB)
    samples = (early, *record.telemetry.gpu)
    telemetry = msgspec.structs.replace(record.telemetry, gpu=samples)
    changed = msgspec.structs.replace(record, telemetry=telemetry)
    assert peak_memory([changed]) == (16 * GIB, 17 * GIB)


def test_idle_power_is_the_least_that_was_seen() -> None:
    warmer = WarmUp(seconds=1, steady=True, idle_w=130.0)
    later = msgspec.structs.replace(
        on_card(), telemetry=Telemetry(gpu=(), warm_up=warmer)
    )
    assert idle_power_w([later, on_card()]) == 100.0
    assert idle_power_w([made_record()]) is None


def text(*records: SpeedRecord) -> str:
    return page(groups(records))


def test_the_heading_names_the_card_its_idle_power_and_the_warm_up() -> None:
    heading = text(on_card())
    assert "power cap not known (Not Supported)" in heading
    assert "- idle power, before the load: 100 W" in heading
    assert "- warm-up before each process: 12 to 12 s, steady in 1 of 1" in heading


def test_what_failed_and_what_was_disturbed_is_named() -> None:
    failed = msgspec.structs.replace(
        on_card(repeat=2, disturbances=("throttled: hw_slowdown",)),
        outcome=Crashed(exit_code=1, tail=()),
    )
    shown = text(on_card(), failed)
    assert "(crashed)" in shown
    assert "- disturbed in 1 of 2 records: throttled: hw_slowdown" in shown
