"""`invoke serve` says how to reach the server, waits, and ends it in every case."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.engines.llama_cpp.conftest import SOON

from llamatrix.commands.serve import summary
from llamatrix.engines.llama_cpp.server import (
    Serving,
    memory_of,
    running,
    serve_in_foreground,
)
from llamatrix.engines.protocol import Launch
from llamatrix.errors import ServeError
from llamatrix.web import NoAnswerError


def test_opencode_config_has_served_url_and_context(launch: Launch, log: Path) -> None:
    with running(launch, log=log, timeouts=SOON) as serving:
        text = summary(serving)
        config = json.loads(text[text.index("{") : text.rindex("}") + 1])
        provider = config["provider"]["llamatrix"]
        assert provider["npm"] == "@ai-sdk/openai-compatible"
        assert provider["options"]["baseURL"] == f"{serving.url}/v1"
    assert config["model"] == config["small_model"] == "llamatrix/qwen35-27b"
    model = provider["models"]["qwen35-27b"]
    assert model["limit"] == {"context": 130816, "output": 32_000}
    assert model["temperature"] is False


def test_foreground_server_prints_url_and_stops(launch: Launch, log: Path) -> None:
    shown: list[str] = []
    stop = threading.Event()

    def show(serving: Serving) -> None:
        shown.append(summary(serving))
        stop.set()

    serve_in_foreground(launch, log=log, show=show, until=stop, timeouts=SOON)
    assert "http://127.0.0.1:" in shown[0]
    assert '"baseURL"' in shown[0]
    assert "cleaning up before exit" in log.read_text()


def test_ctrl_c_stops_server_without_traceback(launch: Launch, log: Path) -> None:
    def interrupt(_: Serving) -> None:
        raise KeyboardInterrupt

    serve_in_foreground(launch, log=log, show=interrupt, timeouts=SOON)
    assert "cleaning up before exit" in log.read_text()


def test_server_that_dies_while_serving_raises(
    launch: Launch, log: Path, mode: Callable[[str], None]
) -> None:
    mode("dies-on-request")
    with pytest.raises(ServeError, match="ended by itself"):
        serve_in_foreground(launch, log=log, show=_kill_what_serves, timeouts=SOON)


def _kill_what_serves(serving: Serving) -> None:
    with pytest.raises(NoAnswerError):
        serving.site.post("/completion", {}, timeout_s=10)


def test_memory_of_ended_process_is_none(tmp_path: Path) -> None:
    assert memory_of(1, proc=tmp_path) is None
