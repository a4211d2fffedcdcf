"""Our clock over HTTP against llama-server's own timings, on a real server."""

import statistics
from pathlib import Path

import msgspec
import pytest
from tests.engines.llama_cpp.real import real_launch

from llamatrix.config.cell import SpeedTest
from llamatrix.config.matrix import HttpEndpoint
from llamatrix.engines.endpoint.client import Answer, open_client
from llamatrix.engines.endpoint.speed import EndpointBench
from llamatrix.engines.llama_cpp.server import running
from llamatrix.engines.outcome import SpeedSample

pytestmark = pytest.mark.slow
LIMIT = 0.02
"""Of llama-server's figure: a prompt of 4096 tokens takes seconds, HTTP milliseconds."""


@pytest.mark.parametrize(
    "test",
    [SpeedTest(n_prompt=4096, n_gen=0), SpeedTest(n_prompt=0, n_gen=64, n_depth=512)],
    ids=lambda test: test.name,
)
def test_speed_over_http_is_the_servers_own_within_two_percent(
    test: SpeedTest, user_cache: Path, tmp_path: Path
) -> None:
    launch = real_launch("current", "qwen35-27b", cache=user_cache, folder=tmp_path)
    with running(launch, log=tmp_path / "server.log") as serving:
        endpoint = HttpEndpoint(
            url=serving.url, model=launch.alias, request={"ignore_eos": True}
        )
        with open_client(endpoint) as client:
            sample = EndpointBench(client=client, repetitions=4, timeout_s=300).measure(
                test
            )
    assert isinstance(sample, SpeedSample), sample
    ratios = []
    for (answer,) in msgspec.json.decode(sample.raw, type=list[tuple[Answer]]):
        timings = answer.timings
        assert timings is not None
        if test.n_prompt:
            assert timings.prompt_n == answer.processed_tokens
            theirs = timings.prompt_n / timings.prompt_ms
            ours = answer.processed_tokens / (answer.first_ns - answer.begun_ns)
        else:
            assert timings.predicted_n == answer.generated_tokens == test.n_gen
            theirs = (timings.predicted_n - 1) / timings.predicted_ms
            ours = (answer.generated_tokens - 1) / (answer.last_ns - answer.first_ns)
        ratios.append(1e6 * ours / theirs)
    print(test.name, *(f"{ratio:.4f}" for ratio in ratios))  # noqa: T201
    assert abs(statistics.median(ratios) - 1) < LIMIT
