"""Telemetry beside a program: GPUs where there are some, older records stay readable."""

import time

import msgspec
import pytest
from tests.played_nvml import played, without_cards, without_driver
from tests.records.made import made_record, reread

from llamatrix.measure.telemetry import Sampler, Telemetry, sampling_share
from llamatrix.records.kind import Place
from llamatrix.records.record import SPEED


def taken(sampler: Sampler, seconds: float) -> Telemetry:
    sampler.start()
    time.sleep(seconds)
    telemetry = sampler.since_last_take()
    sampler.stop()
    return telemetry


def test_a_gpu_is_sampled_beside_the_cpu() -> None:
    telemetry = taken(Sampler(interval_s=0.05, library=played()), 0.3)
    assert len(telemetry.gpu) > 2
    assert len(telemetry.cpu) > 1
    assert [one.at_s for one in telemetry.gpu] == sorted(
        one.at_s for one in telemetry.gpu
    )


def test_the_last_gpu_sample_is_of_the_moment_of_the_result() -> None:
    sampler = Sampler(interval_s=60, library=played())
    sampler.start()
    before, telemetry, after = (
        time.monotonic(),
        sampler.since_last_take(),
        time.monotonic(),
    )
    sampler.stop()
    assert len(telemetry.gpu) == 1
    assert telemetry.gpu[0].at_s <= after - before + 0.1
    assert telemetry.gpu[0].others == 0


def test_each_take_gets_its_own_samples() -> None:
    sampler = Sampler(interval_s=60, library=played())
    sampler.start()
    first, second = sampler.since_last_take(), sampler.since_last_take()
    sampler.stop()
    assert len(first.gpu) == len(second.gpu) == 1
    assert first.gpu[0].at_s <= second.gpu[0].at_s


def test_a_take_knows_where_the_counters_stood_at_the_one_before() -> None:
    sampler = Sampler(interval_s=60, library=played(energy=0))
    sampler.start()
    first, second = sampler.since_last_take(), sampler.since_last_take()
    sampler.stop()
    assert first.gpu_begin == first.gpu_before
    assert second.gpu_begin == first.gpu[-1:]
    assert second.gpu_begin[0] not in second.gpu


def test_what_was_on_the_card_before_is_kept() -> None:
    library = played(processes=[(1, 2**30)])
    telemetry = taken(Sampler(interval_s=60, library=library), 0)
    (before,) = telemetry.gpu_before
    assert (before.used_bytes, before.others) == (600 * 2**20, 1)


@pytest.mark.parametrize("library", [None, without_driver(), without_cards()])
def test_without_a_gpu_only_the_cpu_is_sampled(library: None) -> None:
    telemetry = taken(Sampler(interval_s=60, library=library), 0)
    assert telemetry.cpu
    assert (telemetry.gpu, telemetry.gpu_before) == ((), ())


def test_a_record_from_before_gpus_were_sampled_is_readable() -> None:
    record = made_record()
    raw = msgspec.json.decode(msgspec.json.encode(record))
    raw["telemetry"] = {"cpu": [{"at_s": 1.0, "load_percent": 12.5}]}
    old = reread(raw)
    assert old.telemetry.gpu == ()
    assert old.telemetry.disturbances == ()
    assert old.telemetry == record.telemetry


def test_gpu_samples_survive_the_store() -> None:
    telemetry = taken(Sampler(interval_s=60, library=played(energy=0)), 0)
    record = msgspec.structs.replace(made_record(), telemetry=telemetry)
    line = SPEED.encode(record).removesuffix(b"\n")
    assert SPEED.decode(line, where="test", place=Place("", "")) == record


def test_the_cost_of_sampling_is_a_share_of_a_core() -> None:
    assert 0 <= sampling_share(0.1) < 1
