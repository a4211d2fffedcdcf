"""Tables as published, then with spread; the same records give the same bytes."""

import json
from collections.abc import Callable

import msgspec
import pytest
from tests.records.made import made_record

from llamatrix.config.cell import SpeedTest
from llamatrix.engines.outcome import Done, OutOfMemory
from llamatrix.records.speed_record import SpeedRecord
from llamatrix.report.files import rows_by_name, texts_of
from llamatrix.report.formats import hundredths, whole
from llamatrix.report.speed import Result, groups
from llamatrix.report.views.speed import first_cell, page, speed_cell, tables

_MODELS = ("qwen35-27b", "qwen35-35b-a3b", "gemma4-26b-a4b", "gemma4-31b")
_BASE = {"qwen35-27b": 30, "qwen35-35b-a3b": 66, "gemma4-26b-a4b": 85, "gemma4-31b": 31}


def made_sweep() -> list[SpeedRecord]:
    """Two sizes and a generation for the four models, two processes each."""
    records = []
    for repeat in (1, 2):
        for key in _MODELS:
            for test, factor in (
                (SpeedTest(n_prompt=512, n_gen=0), 100.0),
                (SpeedTest(n_prompt=65336, n_gen=0), 75.0),
                (SpeedTest(n_prompt=0, n_gen=128), 1.5),
            ):
                mean = _BASE[key] * factor + repeat
                records.append(
                    made_record(
                        model_key=key,
                        test=test,
                        repeat=repeat,
                        samples_ts=(mean - 1, mean, mean + 1),
                    )
                )
    return records


def test_the_page_has_the_published_layout(golden: Callable[[str, str], None]) -> None:
    records = made_sweep()
    failed = OutOfMemory(exit_code=1, tail=("cudaMalloc failed: out of memory",))
    large = SpeedTest(n_prompt=65336, n_gen=0)
    records = [
        record
        for record in records
        if (record.cell.model_key, record.test) != ("gemma4-31b", large)
    ]
    records.append(made_record(model_key="gemma4-31b", test=large, outcome=failed))
    golden("speed.md", page(groups(records, models=_MODELS)))


def test_a_test_at_a_depth_has_rows_of_its_own() -> None:
    records = [
        made_record(test=test, samples_ts=(speed, speed, speed))
        for test, speed in (
            (SpeedTest(n_prompt=512, n_gen=0), 900.0),
            (SpeedTest(n_prompt=512, n_gen=0, n_depth=8192), 700.0),
            (SpeedTest(n_prompt=0, n_gen=128, n_depth=8192), 30.0),
        )
    ]
    text = page(groups(records))
    assert "512 @ d8192 |" in text
    assert "Generation Speed (tg128 @ d8192)" in text
    assert "| pp512 @ d8192" in text


def test_the_speed_csv_has_every_sample_unrounded(
    golden: Callable[[str, str], None],
) -> None:
    rows = rows_by_name(groups(made_sweep(), models=_MODELS), [])
    golden("speed.csv", texts_of(rows)["speed.csv"])


def test_the_order_of_the_records_does_not_matter() -> None:
    records = made_sweep()
    assert page(groups(records, models=_MODELS)) == page(
        groups(reversed(records), models=_MODELS)
    )


def test_models_stand_in_the_order_of_the_matrix() -> None:
    (group,) = groups(made_sweep(), models=_MODELS)
    assert group.models[0] == "Qwen3.5-27B"
    (turned,) = groups(made_sweep(), models=_MODELS[::-1])
    assert turned.models[0] == "Gemma4-31B"


PROMPT = SpeedTest(n_prompt=512, n_gen=0)


def result_of(*records: SpeedRecord) -> Result:
    (group,) = groups(records)
    return group.results["Qwen3.5-27B", PROMPT]


def test_the_headline_leaves_out_the_cold_first_repetition() -> None:
    result = result_of(made_record(samples_ts=(30.0, 32.0, 64.0)))
    assert result.mean == 48.0
    assert result.published_mean == 42.0
    assert result.first_deviation == pytest.approx(30 / 48 - 1)
    assert first_cell(result).text == "-37.5 % (off)"
    assert result.between is None
    assert result.count == "1×2"


def test_warm_up_repetitions_are_left_out_too() -> None:
    record = made_record(samples_ts=(30.0, 40.0, 64.0, 64.0))
    assert isinstance(record.outcome, Done)
    sample = msgspec.structs.replace(record.outcome.result, warmup_repetitions=2)
    assert sample.steady == (64.0, 64.0)
    assert sample.published_tps == 49.5


def test_one_repetition_has_no_steady_mean_but_a_published_one() -> None:
    result = result_of(made_record(samples_ts=(64.0,)))
    assert (result.mean, result.published_mean) == (None, 64.0)
    assert speed_cell(result, hundredths).text == "n/a (one repetition)"
    assert first_cell(result).text == "n/a"


def test_disturbed_processes_are_kept_out_where_quiet_ones_exist() -> None:
    quiet = made_record(repeat=1, samples_ts=(64.0,) * 3)
    other = made_record(repeat=2, samples_ts=(32.0,) * 3)
    disturbed = msgspec.structs.replace(other, disturbed="background CPU load 60 %")
    assert result_of(quiet, disturbed).mean == 64.0
    assert speed_cell(result_of(disturbed), whole).text == "32 (disturbed)"


@pytest.mark.parametrize(
    ("speeds", "unstable"),
    [((64.0, 64.0), False), ((64.0, 32.0), True), ((64.0,), True)],
)
def test_a_row_that_missed_its_target_spread_is_unstable(
    speeds: tuple[float, ...], *, unstable: bool
) -> None:
    records = []
    for repeat, speed in enumerate(speeds, 1):
        record = made_record(repeat=repeat, samples_ts=(speed,) * 3)
        cell = msgspec.structs.replace(record.cell, target_spread=0.1)
        records.append(msgspec.structs.replace(record, cell=cell))
    result = result_of(*records)
    assert result.unstable is unstable
    assert ("unstable" in speed_cell(result, whole).text) is unstable
    rows = json.loads(texts_of(rows_by_name(groups(records), []))["speed.json"])
    assert {row["unstable"] for row in rows} == {"yes" if unstable else "no"}


def test_processes_count_alike_whatever_their_repetitions() -> None:
    records = [
        made_record(repeat=1, samples_ts=(10.0, 10.0, 10.0)),
        made_record(repeat=2, samples_ts=(20.0, 20.0, 20.0)),
    ]
    (group,) = groups(records)
    result = group.results["Qwen3.5-27B", SpeedTest(n_prompt=512, n_gen=0)]
    assert result.mean == 15.0
    assert result.within == 0.0
    assert result.between is not None
    assert round(result.between, 3) == 7.071


def test_a_failure_is_reported_in_its_cell() -> None:
    failed = OutOfMemory(exit_code=1, tail=())
    (group,) = groups([made_record(outcome=failed)])
    prefill = next(table for table in tables(group) if table.caption.startswith("Pre"))
    assert [[cell.text for cell in row] for row in prefill.cells] == [
        ["Qwen3.5-27B", "out of memory"]
    ]


def test_of_two_digests_the_current_one_is_shown_else_the_newest() -> None:
    old = made_record(
        digest="a" * 64, spec_digest="1" * 64, samples_ts=(1.0, 1.0), measured_at="2026"
    )
    new = made_record(
        digest="b" * 64, spec_digest="2" * 64, samples_ts=(2.0, 2.0), measured_at="2027"
    )
    test = SpeedTest(n_prompt=512, n_gen=0)
    (group,) = groups([old, new])
    assert group.results["Qwen3.5-27B", test].mean == 2.0
    (group,) = groups([old, new], current=frozenset({"1" * 64}))
    assert group.results["Qwen3.5-27B", test].mean == 1.0


def test_a_cell_of_two_sweeps_has_a_row_in_both() -> None:
    other = made_record(digest="b" * 64, measured_at="2027", samples_ts=(2.0, 2.0))
    other = msgspec.structs.replace(
        other, cell=msgspec.structs.replace(other.cell, sweep="short")
    )
    found = groups([made_record(samples_ts=(1.0, 1.0)), other])
    means = {
        group.sweep: [result.mean for result in group.results.values()]
        for group in found
    }
    assert means == {"published": [1.0], "short": [2.0]}


def test_hosts_are_never_mixed() -> None:
    found = groups([made_record(), made_record(host_slug="another-host-000000")])
    assert [group.host_slug for group in found] == [
        "another-host-000000",
        "rtx-4090-abc123",
    ]


def test_synthetic_weights_are_called_so() -> None:
    from llamatrix.config.matrix import WeightsKind

    text = page(groups([made_record(weights=WeightsKind.TINY)]))
    assert "Qwen3.5-27B (synthetic)" in text
    assert "say nothing about the models" in text
