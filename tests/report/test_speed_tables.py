"""Tables as published, then with spread; the same records give the same bytes."""

from collections.abc import Callable

import msgspec
from tests.record.made import made_record

from llamatrix.measure.outcome import OutOfMemory
from llamatrix.plan.cell import SpeedTest
from llamatrix.record.record import Record
from llamatrix.report.speed import groups
from llamatrix.report.speed_tables import page, tables
from llamatrix.report.tidy import tidy_csv

_MODELS = ("qwen35-27b", "qwen35-35b-a3b", "gemma4-26b-a4b", "gemma4-31b")
_BASE = {"qwen35-27b": 30, "qwen35-35b-a3b": 66, "gemma4-26b-a4b": 85, "gemma4-31b": 31}


def made_sweep() -> list[Record]:
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


def test_the_tidy_csv_has_every_sample_unrounded(
    golden: Callable[[str, str], None],
) -> None:
    golden("speed.csv", tidy_csv(groups(made_sweep(), models=_MODELS)))


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


def test_one_process_shows_the_mean_of_llama_bench() -> None:
    (group,) = groups([made_record(samples_ts=(10.0, 20.0, 60.0))])
    result = group.results["Qwen3.5-27B", SpeedTest(n_prompt=512, n_gen=0)]
    assert result.mean == 30.0
    assert result.between is None
    assert result.count == "1×3"


def test_processes_count_alike_whatever_their_repetitions() -> None:
    records = [
        made_record(repeat=1, samples_ts=(10.0, 10.0)),
        made_record(repeat=2, samples_ts=(20.0, 20.0)),
    ]
    (group,) = groups(records)
    result = group.results["Qwen3.5-27B", SpeedTest(n_prompt=512, n_gen=0)]
    assert result.mean == 15.0
    assert result.within == 0.0
    assert result.between is not None
    assert round(result.between, 3) == 7.071


def test_a_failure_is_told_in_its_cell() -> None:
    failed = OutOfMemory(exit_code=1, tail=())
    (group,) = groups([made_record(outcome=failed)])
    prefill = next(table for table in tables(group) if table.title.startswith("Pre"))
    assert prefill.rows == (("512", "out of memory"),)


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
    from llamatrix.plan.matrix import WeightsKind

    text = page(groups([made_record(weights=WeightsKind.TINY)]))
    assert "Qwen3.5-27B (synthetic)" in text
    assert "say nothing about the models" in text
