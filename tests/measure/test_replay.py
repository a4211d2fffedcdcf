"""A session on one server: the same work each time, and every way it can end."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.trials.replayed import call, fake_serving, record

from llamatrix.errors import MeasureError
from llamatrix.measure.replay import (
    Replayed,
    ReplayFailed,
    ReplayFailureKind,
    replay,
    script_of,
)
from llamatrix.proxy.recording import read_recording

FakeProgram = Callable[[str, str], Path]
Replay = Callable[..., Replayed | ReplayFailed]


@pytest.fixture
def replayed(
    fake_program: Callable[[str, str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Replay:
    """Three growing calls on a fake server with wishes."""

    def run(*, timeout_s: float = 20.0, **wishes: object) -> Replayed | ReplayFailed:
        monkeypatch.setenv("LLAMATRIX_FAKE_REPLAY", json.dumps(wishes))
        folder = record(tmp_path / "calls", call(1), call(2), call(3))
        with fake_serving(fake_program, tmp_path) as serving:
            script = script_of(read_recording(folder), serving)
            return replay(script, serving, timeout_s=timeout_s)

    return run


def test_session_rates_cover_all_calls(replayed: Replay) -> None:
    found = replayed()
    assert isinstance(found, Replayed)
    assert found.prompt_tps == pytest.approx(1000)
    # 5 tokens in 100 ms, of which the first comes with the prompt
    assert found.decode_tps == pytest.approx(40)
    assert [one.timings.predicted_n for one in found.calls] == [5, 5, 5]
    assert all(one.wall_s > 0 for one in found.calls)


def test_lost_cache_raises_prompt_time_but_not_its_rate(
    replayed: Replay,
) -> None:
    cached, forgetful = replayed(), replayed(forgets=True)
    assert isinstance(cached, Replayed)
    assert isinstance(forgetful, Replayed)
    assert cached.prompt_tps == pytest.approx(forgetful.prompt_tps)
    assert cached.prompt_s
    assert forgetful.prompt_s
    assert forgetful.prompt_s > 1.2 * cached.prompt_s
    tokens = [one.prompt_tokens for one in cached.calls]
    assert tokens == [one.prompt_tokens for one in forgetful.calls]
    assert [one.timings.prompt_n for one in forgetful.calls] == tokens
    assert cached.calls[1].timings.cache_n == len("word ")


@pytest.mark.parametrize(
    ("way", "seen", "said"),
    [
        ("die", ReplayFailureKind.DIED, "/completion"),
        ("refuse", ReplayFailureKind.REFUSED, "HTTP 500"),
        ("short", ReplayFailureKind.SHORT, "4 tokens generated of 5"),
    ],
)
def test_server_failure_is_an_outcome(
    replayed: Replay, way: str, seen: ReplayFailureKind, said: str
) -> None:
    found = replayed(fail={"2": way})
    assert isinstance(found, ReplayFailed)
    assert (found.way, found.call) == (seen, 2)
    assert said in found.said
    assert found.tail


def test_hanging_server_times_out(replayed: Replay) -> None:
    found = replayed(timeout_s=0.3, fail={"3": "hang"})
    assert isinstance(found, ReplayFailed)
    assert (found.way, found.call) == (ReplayFailureKind.TIMED_OUT, 3)


def test_prompts_become_tokens_once_with_the_lengths_of_the_recording(
    fake_program: FakeProgram, tmp_path: Path
) -> None:
    recording = read_recording(record(tmp_path / "calls", call(1), call(2)))
    with fake_serving(fake_program, tmp_path) as serving:
        first, again = script_of(recording, serving), script_of(recording, serving)
    assert first.sha256 == again.sha256
    texts = [bytes(one.tokens).decode() for one in first.calls]
    assert [text.count("word ") for text in texts] == [1, 2]
    assert [one.n_predict for one in first.calls] == [5, 5]
    assert first.end_tokens == (2, 7)


def test_call_that_exceeds_the_context_is_refused(
    fake_program: FakeProgram, tmp_path: Path
) -> None:
    folder = record(tmp_path / "calls", call(1, generated_tokens=500))
    with (
        fake_serving(fake_program, tmp_path, ctx_size=256) as serving,
        pytest.raises(MeasureError, match=r"context holds 256; raise its ctx_size"),
    ):
        script_of(read_recording(folder), serving)


def test_server_without_prompt_names_the_call(
    fake_program: FakeProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMATRIX_FAKE_LLAMA_SERVER", "dies-on-request")
    folder = record(tmp_path / "calls", call(1))
    with (
        fake_serving(fake_program, tmp_path) as serving,
        pytest.raises(MeasureError, match="call 1 of the recording has no prompt"),
    ):
        script_of(read_recording(folder), serving)
