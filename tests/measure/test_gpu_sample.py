"""Samples of a GPU: absent values stay absent, others on the card are noticed."""

import os
import subprocess

from tests.played_nvml import played

from llamatrix.measure.gpu_sample import GpuProbe, GpuSample

_FAR = 2**22 + 7
"""Above the kernel's largest process id."""


def test_a_sample_holds_what_the_card_tells() -> None:
    probe = GpuProbe(played(energy=0, processes=[(os.getpid(), 5 * 2**30)]))
    (sample,) = probe.read(1.5, processes=True)
    assert (sample.at_s, sample.sm_mhz, sample.memory_mhz) == (1.5, 1980, 3201)
    assert (sample.power_w, sample.celsius, sample.throttle) == (120.0, 40, ())
    assert sample.energy_mj is not None
    assert sample.own_bytes == 5 * 2**30
    assert (sample.others, sample.other_bytes) == (0, None)


def test_what_a_card_does_not_tell_is_none() -> None:
    silent = "power_mw energy celsius reasons used processes sm_mhz memory_mhz"
    (sample,) = GpuProbe(played(without=silent)).read(2.0, processes=True)
    assert sample == GpuSample(at_s=2.0)


def test_a_process_of_others_is_counted_with_its_memory() -> None:
    probe = GpuProbe(played(processes=[(1, 2**30), (os.getpid(), 2**20)]))
    (sample,) = probe.read(0.0, processes=True)
    assert (sample.others, sample.other_bytes) == (1, 2**30)
    assert sample.own_bytes == 2**20


def test_a_child_of_ours_is_ours() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        library = played(processes=[(child.pid, 2**30)])
        (sample,) = GpuProbe(library).read(0.0, processes=True)
        child.kill()
    assert (sample.own_bytes, sample.others) == (2**30, 0)


def test_an_unknown_process_is_ours_only_if_it_came_after_we_began() -> None:
    library = played(processes=[(_FAR, 2**30)])
    probe = GpuProbe(library)
    library.CARDS[0]["processes"] = [(_FAR, 2**30), (_FAR + 1, 2**20)]
    (sample,) = probe.read(0.0, processes=True)
    assert (sample.others, sample.other_bytes) == (1, 2**30)
    assert sample.own_bytes == 2**20


def test_processes_are_not_asked_for_where_not_wanted() -> None:
    (sample,) = GpuProbe(played(processes=[(1, 2**30)])).read(0.0, processes=False)
    assert sample.others is None
    assert sample.used_bytes == 600 * 2**20


def test_every_card_is_read() -> None:
    library = played()
    library.CARDS.append({**library.H200, "celsius": 77})
    first, second = GpuProbe(library).read(0.0, processes=True)
    assert (first.index, second.index) == (0, 1)
    assert second.celsius == 77


def test_a_closed_probe_reads_nothing_and_has_closed_the_library() -> None:
    library = played()
    probe = GpuProbe(library)
    assert library.open_count == 1
    probe.close()
    assert library.open_count == 0
    assert probe.read(0.0, processes=True) == ()
