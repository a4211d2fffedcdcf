"""Both pins' real llama-server: what it serves, and how it fails."""

import threading
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from tests.engines.llama_cpp.real import PINS, nothing_of_it_left, real_launch

from llamatrix.commands.serve import summary
from llamatrix.engines.llama_cpp.output import end_tokens
from llamatrix.engines.llama_cpp.server import Serving, memory_of, running
from llamatrix.engines.protocol import Launch, StartupError, StartupFailure, Timeouts
from llamatrix.shell import read_log
from llamatrix.web import NoAnswerError

pytestmark = pytest.mark.slow
ASK = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 8}


@pytest.fixture(params=PINS)
def launch(request: pytest.FixtureRequest, user_cache: Path, tmp_path: Path) -> Launch:
    return real_launch(request.param, "qwen35-27b", cache=user_cache, folder=tmp_path)


def test_server_serves_requested_settings_and_counts(
    launch: Launch, log: Path, tmp_path: Path
) -> None:
    with nothing_of_it_left(tmp_path), running(launch, log=log) as serving:
        before = serving.counters()
        assert serving.site.post("/v1/chat/completions", ASK, timeout_s=120).ok
        spent = serving.counters().since(before)
        assert spent.prompt_tokens > 0
        assert 0 < spent.generated_tokens <= 8
        assert [(one.k, one.v) for one in serving.caches] == [("q8_0", "q8_0")]
        assert "q8_0" in summary(serving)


def test_learned_vocabulary_shortens_prompts_losslessly(
    launch: Launch, log: Path
) -> None:
    text = 'Use the read tool to read a file; then {"path": "a.py", "limit": 20}.\n'
    with running(launch, log=log) as serving:
        said = serving.site.post("/tokenize", {"content": text}, timeout_s=60)
        tokens = said.read(dict[str, list[int]])["tokens"]
        back = serving.site.post("/detokenize", {"tokens": tokens}, timeout_s=60)
    assert back.read(dict[str, str]) == {"content": text}
    assert len(tokens) < len(text) / 2


@pytest.mark.parametrize("pin", PINS)
def test_caches_of_sliding_window_model_are_reported(
    pin: str, user_cache: Path, tmp_path: Path, log: Path
) -> None:
    launch = real_launch(pin, "gemma4-31b", cache=user_cache, folder=tmp_path)
    with running(launch, log=log) as serving:
        assert serving.caches[0].k == "q8_0"
        assert len(serving.caches) == 2


def test_missing_and_truncated_weights_are_reported(launch: Launch, log: Path) -> None:
    gone = replace(launch, weights=launch.weights.with_name("gone.gguf"))
    cut = launch.weights.with_name("cut.gguf")
    cut.write_bytes(launch.weights.read_bytes()[:-100_000])
    for weights in (gone, replace(launch, weights=cut)):
        with pytest.raises(StartupError) as raised, running(weights, log=log):
            pass
        assert raised.value.failure is StartupFailure.WEIGHTS


def test_missing_and_broken_templates_are_reported(
    launch: Launch, log: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jinja"
    broken.write_text("{% if %}")
    for template in (tmp_path / "gone.jinja", broken):
        asked = replace(launch, template=template)
        with pytest.raises(StartupError) as raised, running(asked, log=log):
            pass
        assert raised.value.failure is StartupFailure.TEMPLATE


def test_context_that_cannot_be_allocated_is_reported(
    launch: Launch, log: Path
) -> None:
    """The old pin ends in a segmentation fault, the new one with a message."""
    huge = msgspec.structs.replace(launch.model, ctx_size=2_000_000_000)
    with (
        pytest.raises(StartupError) as raised,
        running(replace(launch, model=huge), log=log, memory_limit_bytes=2**30),
    ):
        pass
    assert raised.value.failure is StartupFailure.MEMORY


def test_port_in_use_is_reported(launch: Launch, log: Path) -> None:
    with running(launch, log=log) as first:
        port = int(first.url.rpartition(":")[2])
        asked = replace(launch, port=port)
        with (
            pytest.raises(StartupError) as raised,
            running(asked, log=log.with_name("second.log")),
        ):
            pass
    assert raised.value.failure is StartupFailure.PORT_TAKEN


def test_request_in_flight_does_not_outlive_the_block(
    launch: Launch, log: Path
) -> None:
    timeouts = Timeouts(first_s=1, second_s=1)

    def ask(serving: Serving) -> None:
        ends = [[token, False] for token in end_tokens(read_log(log))]
        endless = {**ASK, "max_tokens": 1_000_000, "logit_bias": ends}
        with pytest.raises(NoAnswerError):
            serving.site.post("/v1/chat/completions", endless, timeout_s=300)

    with running(launch, log=log, timeouts=timeouts) as serving:
        asking = threading.Thread(target=ask, args=[serving])
        asking.start()
        while (
            b'"is_processing":true' not in serving.site.get("/slots", timeout_s=9).body
        ):
            assert asking.is_alive(), "it was answered before a slot was seen at work"
            asking.join(0.02)
        pid = serving.pid
    asking.join()
    assert memory_of(pid) is None
