"""The triad: it computes what it says, on arrays and in time as bounded."""

import msgspec
from tests.records.made import made_record

from llamatrix.host import Host
from llamatrix.measure.stream import Bandwidth, StreamBounds, _Lane, measure_bandwidth


def small_host(memory_bytes: int = 2**32) -> Host:
    return msgspec.structs.replace(
        made_record().host, physical_cores=2, memory_bytes=memory_bytes
    )


def test_pass_computes_the_triad() -> None:
    lane = _Lane(100_003)
    lane.run()
    assert (lane.a == 2.0 + 3.0 * 0.5).all()


def test_bytes_are_counted_as_in_stream() -> None:
    found = measure_bandwidth(small_host(), StreamBounds(array_bytes=2**20, seconds=0))
    assert found.threads == 2
    assert found.array_bytes == 2**20
    assert found.pass_bytes == 3 * 2**20
    assert len(found.passes_s) == 2
    assert found.best == found.pass_bytes / min(found.passes_s)


def test_small_memory_limits_the_arrays() -> None:
    found = measure_bandwidth(small_host(24 * 2**20), StreamBounds(seconds=0))
    assert found.array_bytes == 2**20


def test_bandwidth_round_trips_through_json() -> None:
    found = measure_bandwidth(small_host(), StreamBounds(array_bytes=2**16, seconds=0))
    assert msgspec.json.decode(msgspec.json.encode(found), type=Bandwidth) == found
