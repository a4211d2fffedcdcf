"""An endpoint's speed over HTTP, against a server of known speed and with known faults."""

import textwrap
from pathlib import Path

import httpx
import pytest
from tests.fakes.openai_server import OpenAiServer
from tests.shipped import ROOT

from llamatrix.config.cell import SpeedTest
from llamatrix.config.load import load_matrix
from llamatrix.config.matrix import HttpEndpoint
from llamatrix.engines.endpoint.client import Answer, Client, Reported, open_client
from llamatrix.engines.endpoint.speed import EndpointBench
from llamatrix.engines.outcome import (
    EndpointFailed,
    EndpointFailure,
    Invalid,
    SpeedSample,
    TimedOut,
)
from llamatrix.errors import MatrixError
from llamatrix.web import site

PROMPT = SpeedTest(n_prompt=200, n_gen=0)
GENERATION = SpeedTest(n_prompt=0, n_gen=16)
KEY = "the-endpoints-own-key"


def measure(
    server: OpenAiServer, test: SpeedTest, *, timeout_s: float = 20
) -> SpeedSample | EndpointFailed | TimedOut | Invalid:
    with (
        server.running() as url,
        open_client(HttpEndpoint(url=url, model="m")) as client,
    ):
        bench = EndpointBench(client=client, repetitions=2, timeout_s=timeout_s)
        return bench.measure(test)


def test_prompt_speed_is_the_servers_count_over_time_to_first_token() -> None:
    sample = measure(OpenAiServer(prompt_s=0.05), PROMPT)
    assert isinstance(sample, SpeedSample)
    assert all(abs(tokens - 200) <= 2 for tokens in sample.tokens)
    assert sample.repetitions == 3  # with the warm-up
    assert len(sample.steady) == 2
    assert sample.first_token_ns == sample.nanoseconds
    assert all(ns >= 50e6 for ns in sample.nanoseconds)
    assert (sample.build_number, sample.model_bytes, sample.threads) == (None,) * 3


def test_generation_speed_leaves_out_prompt_and_first_token() -> None:
    server = OpenAiServer(prompt_s=0.3, token_s=0.01)
    sample = measure(server, GENERATION)
    assert isinstance(sample, SpeedSample)
    assert sample.tokens == (15, 15, 15)
    assert all(150e6 <= ns < 300e6 + 150e6 for ns in sample.nanoseconds)
    assert all(ns >= 300e6 for ns in sample.first_token_ns)


def test_no_prompt_is_sent_twice() -> None:
    server = OpenAiServer()
    measure(server, PROMPT)
    assert len({prompt[:60] for prompt in server.prompts}) == len(server.prompts)


def test_depth_is_a_prompt_in_front_of_the_generated_tokens() -> None:
    server = OpenAiServer()
    sample = measure(server, SpeedTest(n_prompt=0, n_gen=16, n_depth=300))
    assert isinstance(sample, SpeedSample)
    assert sample.depth_tokens == 300
    assert len(server.prompts[-1].split()) > 100


def test_clients_ask_at_the_same_time_and_are_summed() -> None:
    server = OpenAiServer(token_s=0.01)
    sample = measure(server, SpeedTest(n_prompt=0, n_gen=16, concurrency=3))
    assert isinstance(sample, SpeedSample)
    assert sample.tokens == (45, 45, 45)
    assert server.most_open == 3


@pytest.mark.parametrize(
    ("server", "failure"),
    [
        (OpenAiServer(status=401), EndpointFailure.UNAUTHORISED),
        (OpenAiServer(status=404), EndpointFailure.NO_MODEL),
        (OpenAiServer(status=429), EndpointFailure.RATE_LIMITED),
        (OpenAiServer(status=500), EndpointFailure.SERVER_ERROR),
        (OpenAiServer(status=400), EndpointFailure.REFUSED),
        (OpenAiServer(usage=False), EndpointFailure.NO_COUNTS),
        (OpenAiServer(cut=True), EndpointFailure.STREAM_CUT),
        (OpenAiServer(streams=False), EndpointFailure.NOT_STREAMED),
        (OpenAiServer(noise="<html>hello</html>\n\n"), EndpointFailure.NOT_OPENAI),
        (OpenAiServer(noise='data: {"a": 1}\n\n'), EndpointFailure.NOT_OPENAI),
        (
            OpenAiServer(noise='data: {"error": {"message": "oops"}}\n\n'),
            EndpointFailure.SERVER_ERROR,
        ),
        (OpenAiServer(most_tokens=5), EndpointFailure.SHORT),
        (OpenAiServer(most_tokens=1), EndpointFailure.SHORT),
    ],
    ids=lambda value: str(value) if isinstance(value, EndpointFailure) else "",
)
def test_endpoint_failure_is_an_outcome_with_its_kind(
    server: OpenAiServer, failure: EndpointFailure
) -> None:
    outcome = measure(server, GENERATION)
    assert isinstance(outcome, EndpointFailed)
    assert outcome.failure is failure
    assert "127.0.0.1" not in outcome.reason


def test_server_that_is_down_is_an_outcome() -> None:
    endpoint = HttpEndpoint(url="http://127.0.0.1:9", model="m")
    with open_client(endpoint) as client:
        outcome = EndpointBench(client=client, repetitions=1, timeout_s=5).measure(
            PROMPT
        )
        assert client.identify() == outcome
    assert isinstance(outcome, EndpointFailed)
    assert outcome.failure is EndpointFailure.DOWN
    assert "127.0.0.1" not in outcome.reason


def test_server_that_is_slow_is_timed_out() -> None:
    outcome = measure(OpenAiServer(token_s=0.2), GENERATION, timeout_s=0.5)
    assert isinstance(outcome, TimedOut)


def test_prompt_from_a_cache_has_no_speed() -> None:
    outcome = measure(OpenAiServer(cached=True), PROMPT)
    assert isinstance(outcome, EndpointFailed)
    assert outcome.failure is EndpointFailure.CACHED


def test_prompt_shorter_than_its_template_is_invalid() -> None:
    outcome = measure(OpenAiServer(), SpeedTest(n_prompt=20, n_gen=0))
    assert isinstance(outcome, Invalid)


def test_key_is_sent_and_reaches_no_reason() -> None:
    server = OpenAiServer(key=KEY)
    with server.running() as url:
        endpoint = HttpEndpoint(url=url, model="m", api_key_env="MY_KEY")
        with open_client(endpoint, {"MY_KEY": KEY}) as client:
            assert client.identify() == Reported(owned_by="me")
            server.status, server.error = 500, f"odd key {KEY}"
            outcome = client.ask("a", max_tokens=1, timeout_s=5)
            assert KEY not in repr((outcome, client))
        with open_client(HttpEndpoint(url=url, model="m")) as client:
            refused = client.identify()
        with pytest.raises(MatrixError, match="MY_KEY"), open_client(endpoint, {}):
            pass
    assert isinstance(outcome, EndpointFailed)
    assert "[redacted]" in outcome.reason
    assert isinstance(refused, EndpointFailed)
    assert refused.failure is EndpointFailure.UNAUTHORISED


def test_connection_that_the_server_closed_is_no_failure() -> None:
    """One that refuses twice in a row is down; one that hung up is asked again."""
    refusals = [httpx.ReadError("gone")]

    def respond(request: httpx.Request) -> httpx.Response:
        if refusals:
            raise refusals.pop()
        text = (
            'data: {"choices": [{"delta": {"content": "1"}, "finish_reason": "stop"}]}\n\n'
            'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}'
        )
        return httpx.Response(200, text=text, request=request)

    endpoint = HttpEndpoint(url="http://model.invalid", model="m")
    with site(endpoint.base_url, transport=httpx.MockTransport(respond)) as own_site:
        answer = Client(endpoint=endpoint, site=own_site).ask(
            "a", max_tokens=1, timeout_s=5
        )
    assert isinstance(answer, Answer)
    assert (answer.prompt_tokens, answer.generated_tokens) == (3, 1)


def test_matrix_of_the_how_to_is_valid(tmp_path: Path) -> None:
    page = (ROOT / "docs/howto/my-endpoint.md").read_text()
    block = page.split("```toml")[1].split("```")[0]
    path = tmp_path / "matrix.toml"
    path.write_text((ROOT / "matrix.toml").read_text() + textwrap.dedent(block))
    assert load_matrix(path).profiles["mine"].endpoints == ("mine",)
