"""Telemetry beside a program: GPUs where there are some, older records stay readable."""

import os
import subprocess
import time

import msgspec
import pytest
from tests.fake_nvml import fake_nvml, without_cards, without_driver
from tests.records.made import made_record, reread

from llamatrix.measure.telemetry import (
    GpuProbe,
    GpuSample,
    Sampler,
    Telemetry,
    sampling_share,
)
from llamatrix.records.speed_record import SPEED
from llamatrix.records.store import RecordLocation

_FAR = 2**22 + 7
"""Above the kernel's largest process id."""


def test_gpu_sample_has_all_values_of_the_card() -> None:
    probe = GpuProbe(fake_nvml(energy=0, processes=[(os.getpid(), 5 * 2**30)]))
    (sample,) = probe.read(1.5, processes=True)
    assert (sample.at_s, sample.sm_mhz, sample.memory_mhz) == (1.5, 1980, 3201)
    assert (sample.power_w, sample.celsius, sample.throttle) == (120.0, 40, ())
    assert sample.energy_mj is not None
    assert sample.own_bytes == 5 * 2**30
    assert (sample.others, sample.other_bytes) == (0, None)


def test_value_that_a_card_does_not_report_is_none() -> None:
    silent = "power_mw energy celsius reasons used processes sm_mhz memory_mhz"
    (sample,) = GpuProbe(fake_nvml(without=silent)).read(2.0, processes=True)
    assert sample == GpuSample(at_s=2.0)


def test_other_users_process_is_counted_with_its_memory() -> None:
    probe = GpuProbe(fake_nvml(processes=[(1, 2**30), (os.getpid(), 2**20)]))
    (sample,) = probe.read(0.0, processes=True)
    assert (sample.others, sample.other_bytes) == (1, 2**30)
    assert sample.own_bytes == 2**20


def test_child_process_counts_as_own() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        library = fake_nvml(processes=[(child.pid, 2**30)])
        (sample,) = GpuProbe(library).read(0.0, processes=True)
        child.kill()
    assert (sample.own_bytes, sample.others) == (2**30, 0)


def test_unknown_process_is_ours_only_if_it_came_after_we_began() -> None:
    library = fake_nvml(processes=[(_FAR, 2**30)])
    probe = GpuProbe(library)
    library.CARDS[0]["processes"] = [(_FAR, 2**30), (_FAR + 1, 2**20)]
    (sample,) = probe.read(0.0, processes=True)
    assert (sample.others, sample.other_bytes) == (1, 2**30)
    assert sample.own_bytes == 2**20


def test_processes_are_listed_only_on_request() -> None:
    (sample,) = GpuProbe(fake_nvml(processes=[(1, 2**30)])).read(0.0, processes=False)
    assert sample.others is None
    assert sample.used_bytes == 600 * 2**20


def test_every_card_is_read() -> None:
    library = fake_nvml()
    library.CARDS.append({**library.H200, "celsius": 77})
    first, second = GpuProbe(library).read(0.0, processes=True)
    assert (first.index, second.index) == (0, 1)
    assert second.celsius == 77


def test_closed_probe_reads_nothing_and_has_closed_the_library() -> None:
    library = fake_nvml()
    probe = GpuProbe(library)
    assert library.open_count == 1
    probe.close()
    assert library.open_count == 0
    assert probe.read(0.0, processes=True) == ()


def taken(sampler: Sampler, seconds: float) -> Telemetry:
    sampler.start()
    time.sleep(seconds)
    telemetry = sampler.since_last_take()
    sampler.stop()
    return telemetry


def test_gpu_is_sampled_beside_the_cpu() -> None:
    telemetry = taken(Sampler(interval_s=0.05, library=fake_nvml()), 0.3)
    assert len(telemetry.gpu) > 2
    assert len(telemetry.cpu) > 1
    assert [one.at_s for one in telemetry.gpu] == sorted(
        one.at_s for one in telemetry.gpu
    )


def test_last_gpu_sample_is_taken_when_the_result_arrives() -> None:
    sampler = Sampler(interval_s=60, library=fake_nvml())
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
    sampler = Sampler(interval_s=60, library=fake_nvml())
    sampler.start()
    first, second = sampler.since_last_take(), sampler.since_last_take()
    sampler.stop()
    assert len(first.gpu) == len(second.gpu) == 1
    assert first.gpu[0].at_s <= second.gpu[0].at_s


def test_take_begins_with_the_counters_of_the_previous_one() -> None:
    sampler = Sampler(interval_s=60, library=fake_nvml(energy=0))
    sampler.start()
    first, second = sampler.since_last_take(), sampler.since_last_take()
    sampler.stop()
    assert first.gpu_begin == first.gpu_before
    assert second.gpu_begin == first.gpu[-1:]
    assert second.gpu_begin[0] not in second.gpu


def test_samples_before_the_start_are_kept() -> None:
    library = fake_nvml(processes=[(1, 2**30)])
    telemetry = taken(Sampler(interval_s=60, library=library), 0)
    (before,) = telemetry.gpu_before
    assert (before.used_bytes, before.others) == (600 * 2**20, 1)


@pytest.mark.parametrize("library", [None, without_driver(), without_cards()])
def test_machine_without_gpu_has_cpu_samples_only(library: None) -> None:
    telemetry = taken(Sampler(interval_s=60, library=library), 0)
    assert telemetry.cpu
    assert (telemetry.gpu, telemetry.gpu_before) == ((), ())


def test_record_from_before_gpus_were_sampled_is_readable() -> None:
    record = made_record()
    raw = msgspec.json.decode(msgspec.json.encode(record))
    raw["telemetry"] = {"cpu": [{"at_s": 1.0, "load_percent": 12.5}]}
    old = reread(raw)
    assert old.telemetry.gpu == ()
    assert old.telemetry.disturbances == ()
    assert old.telemetry == record.telemetry


def test_gpu_samples_survive_the_store() -> None:
    telemetry = taken(Sampler(interval_s=60, library=fake_nvml(energy=0)), 0)
    record = msgspec.structs.replace(made_record(), telemetry=telemetry)
    line = SPEED.encode(record).removesuffix(b"\n")
    assert SPEED.decode(line, where="test", place=RecordLocation("", "")) == record


def test_cost_of_sampling_is_a_share_of_a_core() -> None:
    assert 0 <= sampling_share(0.1) < 1
