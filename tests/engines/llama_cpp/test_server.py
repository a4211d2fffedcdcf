import hashlib
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.engines.llama_cpp.conftest import SOON
from tests.waiting import gone_within

from llamatrix.engines.llama_cpp.server import (
    Serving,
    free_port,
    listens,
    memory_of,
    running,
)
from llamatrix.engines.protocol import Launch, StartupError, StartupFailure, Timeouts
from llamatrix.errors import ServeError
from llamatrix.web import NoAnswerError, site

Mode = Callable[[str], None]


def test_server_answers_inside_block_and_ends_after_it(
    launch: Launch, log: Path
) -> None:
    with running(launch, log=log, timeouts=SOON) as serving:
        assert serving.site.get("/health", timeout_s=5).ok
        assert serving.url.startswith("http://127.0.0.1:")
        pid, url = serving.pid, serving.url
    assert memory_of(pid) is None
    with site(url) as again, pytest.raises(NoAnswerError):
        again.get("/health", timeout_s=5)
    assert "cleaning up before exit" in log.read_text()


def test_variables_that_act_as_flags_do_not_reach_the_server(
    launch: Launch, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_ARG_CTX_SIZE", "1")
    with running(launch, log=log, timeouts=SOON) as serving:
        assert serving.props.context_tokens == 130816


def test_server_is_ended_when_the_block_fails(launch: Launch, log: Path) -> None:
    pids = []

    def fail_inside() -> None:
        with running(launch, log=log, timeouts=SOON) as serving:
            pids.append(serving.pid)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_inside()
    assert memory_of(pids[0]) is None


def test_props_and_caches_are_available(launch: Launch, log: Path) -> None:
    with running(launch, log=log, timeouts=SOON) as serving:
        assert serving.props.context_tokens == 130816
        assert serving.props.build_info == "b8643-f49e91787"
        assert [(cache.k, cache.v) for cache in serving.caches] == [("q8_0", "q8_0")]
        assert serving.memory().rss_bytes > 2**20


def test_counters_give_work_between_two_readings(launch: Launch, log: Path) -> None:
    with running(launch, log=log, timeouts=SOON) as serving:
        serving.site.post("/completion", {}, timeout_s=5)
        before = serving.counters()
        serving.site.post("/completion", {}, timeout_s=5)
        spent = serving.counters().since(before)
    assert (spent.prompt_tokens, spent.generated_tokens) == (100, 20)


@pytest.mark.parametrize("end", ["", "\n"])
def test_template_in_use_is_compared_with_its_pin(
    launch: Launch, log: Path, end: str
) -> None:
    text = f"{{{{ messages }}}}{end}"
    assert launch.template
    launch.template.write_text(text)
    pinned = replace(launch, template_pin=hashlib.sha256(text.encode()).hexdigest())
    with running(pinned, log=log, timeouts=SOON) as serving:
        assert serving.props.chat_template == "{{ messages }}"
    other = "0" * 64
    with (
        pytest.raises(ServeError, match=rf"sha256 in matrix.lock\): asked {other}, .*"),
        running(replace(launch, template_pin=other), log=log, timeouts=SOON),
    ):
        pass


@pytest.mark.parametrize(
    ("how", "failure"),
    [
        ("weights-missing", StartupFailure.WEIGHTS),
        ("weights-cut", StartupFailure.WEIGHTS),
        ("template-broken", StartupFailure.TEMPLATE),
        ("template-refused", StartupFailure.TEMPLATE),
        ("context-refused", StartupFailure.MEMORY),
        ("context-crash", StartupFailure.MEMORY),
        ("port-taken", StartupFailure.PORT_TAKEN),
        ("silent-death", StartupFailure.UNKNOWN),
    ],
)
def test_failure_while_loading_has_its_cause(
    launch: Launch, log: Path, mode: Mode, how: str, failure: StartupFailure
) -> None:
    mode(how)
    with pytest.raises(StartupError) as raised, running(launch, log=log):
        pass
    assert raised.value.failure is failure
    assert raised.value.exit_code == 4
    told = str(raised.value)
    assert f"log: {log}" in told
    assert "--ctx-size 130672" in told
    assert log.read_text().splitlines()[-1] in told
    assert raised.value.log_line in log.read_text()
    assert raised.value.log_line or failure is StartupFailure.UNKNOWN


def test_taken_port_is_retried(launch: Launch, log: Path, mode: Mode) -> None:
    mode("port-taken-once")
    with running(launch, log=log, timeouts=SOON) as serving:
        assert serving.site.get("/health", timeout_s=5).ok


def test_requested_port_is_never_changed(launch: Launch, log: Path) -> None:
    taken = free_port()
    with running(replace(launch, port=taken), log=log, timeouts=SOON) as first:
        assert first.url.endswith(f":{taken}")
        pid = first.pid
        other = log.with_name("other.log")
        with (
            pytest.raises(StartupError, match="another program has the port"),
            running(replace(launch, port=taken), log=other, timeouts=SOON),
        ):
            pass
        assert listens(pid, taken)


def test_server_that_never_becomes_ready_times_out(
    launch: Launch, log: Path, mode: Mode
) -> None:
    mode("never-ready")
    with (
        pytest.raises(StartupError, match=r"not ready after 0\.3 s") as raised,
        running(launch, log=log, timeouts=Timeouts(ready_s=0.3)),
    ):
        pass
    assert raised.value.failure is StartupFailure.SLOW


def test_server_over_memory_limit_is_stopped(
    launch: Launch, log: Path, mode: Mode
) -> None:
    mode("hungry")
    with (
        pytest.raises(StartupError, match="limit 64 MiB") as raised,
        running(launch, log=log, timeouts=SOON, memory_limit_bytes=64 * 2**20),
    ):
        pass
    assert raised.value.failure is StartupFailure.MEMORY


def test_server_ignoring_sigterm_is_killed_with_its_children(
    launch: Launch, log: Path, mode: Mode, tmp_path: Path
) -> None:
    mode("deaf")
    timeouts = Timeouts(ready_s=20, first_s=0.1, second_s=0.1)
    with running(launch, log=log, timeouts=timeouts) as serving:
        pid, child = serving.pid, int((tmp_path / "child").read_text())
        os.kill(child, 0)
    assert memory_of(pid) is None
    assert gone_within(child, 10)


def test_second_sigterm_stops_server(launch: Launch, log: Path, mode: Mode) -> None:
    mode("second-term")
    timeouts = Timeouts(ready_s=20, first_s=0.1, second_s=30)
    with running(launch, log=log, timeouts=timeouts) as serving:
        pid = serving.pid
    assert memory_of(pid) is None
    assert log.read_text().endswith("asked a second time\n")


def test_request_in_flight_does_not_keep_a_server_alive(
    launch: Launch, log: Path, mode: Mode, tmp_path: Path
) -> None:
    mode("slow-answer")
    answers: list[object] = []

    def ask(serving: Serving) -> None:
        try:
            answers.append(serving.site.post("/completion", {}, timeout_s=60))
        except NoAnswerError as error:
            answers.append(error)

    with running(launch, log=log, timeouts=SOON) as serving:
        pid = serving.pid
        asking = threading.Thread(target=ask, args=[serving])
        asking.start()
        while not (tmp_path / "asked").exists():
            asking.join(0.01)
    asking.join()
    assert memory_of(pid) is None
    assert isinstance(answers[0], NoAnswerError)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("smaller-context", "ctx_size of one slot: asked 130672, served 65536"),
        ("other-template", "chat template"),
        ("more-slots", "parallel: asked 1, served 2"),
        ("other-alias", "alias: asked qwen35-27b, served x"),
        ("other-cache", "cache types: asked .*q8_0.*, served .*f16"),
        ("odd-props", "/props: .*malformed"),
    ],
)
def test_server_with_other_settings_is_refused(
    launch: Launch, log: Path, mode: Mode, how: str, told: str
) -> None:
    mode(how)
    with (
        pytest.raises(ServeError, match=told),
        running(launch, log=log, timeouts=SOON),
    ):
        pass


def test_another_build_than_the_pinned_one_is_refused(
    launch: Launch, log: Path
) -> None:
    asked = replace(launch, commit="0c1e57098bba43ac29e6e3b677cdceebdd22334f")
    with (
        pytest.raises(ServeError, match=r"build commit: asked 0c1e57098.*f49e91787"),
        running(asked, log=log, timeouts=SOON),
    ):
        pass


def test_missing_program_is_reported(launch: Launch, log: Path) -> None:
    gone = replace(launch, program=launch.program.with_name("nowhere"))
    with pytest.raises(Exception, match="cannot be started"), running(gone, log=log):
        pass
