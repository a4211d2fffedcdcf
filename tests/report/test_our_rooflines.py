"""The limit of our own speeds: a data sheet's for a GPU, a measured one for a CPU."""

from pathlib import Path

import pytest
from tests.records.made import made_record
from tests.report.made_sweep import MODELS, sweep

from llamatrix.config.matrix import WeightsKind
from llamatrix.errors import ReportError
from llamatrix.measure.stream import Bandwidth
from llamatrix.nvml import Gpu
from llamatrix.records.speed_record import SpeedRecord
from llamatrix.reference.gpu import load_gpus
from llamatrix.reference.roofline import NoRoofline, Roofline
from llamatrix.report.inputs import bandwidth_path, read_bandwidth, write_bandwidth
from llamatrix.report.our_rooflines import our_rooflines
from llamatrix.report.speed import groups


def made_bandwidth(bytes_per_s: float) -> Bandwidth:
    return Bandwidth(
        schema_version=1,
        kernel="triad",
        host=made_record().host,
        measured_at="2026-04-05T12:00:00.000+00:00",
        threads=8,
        array_bytes=2**28,
        pass_bytes=3 * 2**28,
        passes_s=(2.0, 3 * 2**28 / bytes_per_s),
        made_by="llamatrix 0.1.0",
    )


def limits(
    records: list[SpeedRecord], bandwidth: Bandwidth | None = None
) -> dict[str, Roofline | NoRoofline]:
    (group,) = groups(records, models=MODELS)
    return {one.claim: one for one in our_rooflines(group, load_gpus(), bandwidth)}


def test_a_known_card_bounds_prefill_and_generation() -> None:
    found = limits(sweep())
    assert len(found) == 16
    generation = found["qwen35-27b/tg128"]
    assert isinstance(generation, Roofline)
    assert generation.peak == "memory bandwidth"
    assert generation.fraction == pytest.approx(1.001 * 45.88 / generation.limit)
    assert 55 < generation.limit < 60  # 1,008 GB/s over a file of 17.6 GB and its cache
    assert isinstance(found["gemma4-31b/pp512"], Roofline)


def test_a_card_that_nobody_knows_has_no_limit() -> None:
    card = Gpu(name="Some Card", memory_bytes=1, driver="1", compute_capability="9.9")
    found = limits(sweep(gpus=(card,)))["qwen35-27b/tg128"]
    assert isinstance(found, NoRoofline)
    assert found.reason == "some-card: not in gpus.toml"


def test_a_cpu_is_bounded_by_the_bandwidth_measured_on_it() -> None:
    slow, fast = made_bandwidth(50e9), made_bandwidth(100e9)
    assert slow.best == pytest.approx(50e9)
    records = sweep(0.01, gpus=())
    one, other = (limits(records, b)["gemma4-31b/tg128"] for b in (slow, fast))
    assert isinstance(one, Roofline)
    assert isinstance(other, Roofline)
    assert one.limit == pytest.approx(other.limit / 2)
    assert 50e9 / 19.5e9 < one.limit < 50e9 / 18e9  # the file holds 18.7 GB
    assert isinstance(limits(records, slow)["gemma4-31b/pp512"], NoRoofline)


def test_without_a_measured_bandwidth_the_remedy_is_named() -> None:
    found = limits(sweep(0.01, gpus=()))["gemma4-31b/tg128"]
    assert isinstance(found, NoRoofline)
    assert "invoke compare --bandwidth" in found.reason


def test_tiny_weights_have_no_limit_of_memory() -> None:
    found = limits(sweep(weights=WeightsKind.TINY))
    assert {one.reason for one in found.values() if isinstance(one, NoRoofline)} == {
        "tiny weights stay in the cache: memory is no limit"
    }
    assert len(found) == 16


def test_a_bandwidth_file_is_read_as_written(tmp_path: Path) -> None:
    made = made_bandwidth(50e9)
    path = write_bandwidth(tmp_path, made)
    assert path == bandwidth_path(tmp_path, made.host.slug)
    assert read_bandwidth(tmp_path, made.host.slug) == made
    assert read_bandwidth(tmp_path, "another") is None


def test_a_damaged_bandwidth_file_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = write_bandwidth(tmp_path, made_bandwidth(50e9))
    path.write_text("{")
    with pytest.raises(ReportError, match="measures it again"):
        read_bandwidth(tmp_path, made_record().host.slug)
