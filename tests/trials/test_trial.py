"""Whole trials that do not end well: real OpenCode and checks, a scripted model.

Those that do are made with a real llama-server, in `tests/commands`.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.agents.opencode.playing import DONE, SOON, ran, script
from tests.trials.trying import NOTHING_DONE, Arena, files_with

from llamatrix.agents.turn_outcome import (
    EndpointDied,
    EndpointDown,
    EndpointFailed,
    JudgingFailed,
)
from llamatrix.engines.protocol import Counters
from llamatrix.errors import MeasureError, ServeError
from llamatrix.trials import trial
from llamatrix.trials.scripted import Fault, Step, Transcript
from llamatrix.trials.trial_result import Broken, Incorrect
from llamatrix.web import LateAnswerError, NoAnswerError

pytestmark = [pytest.mark.slow, pytest.mark.network]
TALKS = Step(text="I think that it is done.")
MakeArena = Callable[..., Arena]


@pytest.fixture
def arena(user_cache: Path, tmp_path: Path) -> MakeArena:
    def make(task_id: str = "httpx-post", **more: object) -> Arena:
        return Arena(
            cache=user_cache,
            folder=tmp_path,
            task_id=task_id,
            **more,  # type: ignore[arg-type]
        )

    return make


def test_key_written_by_the_agent_is_in_no_kept_file(arena: MakeArena) -> None:
    spread = (
        "env | tee all.txt; echo $GEMINI_API_KEY; mkdir -p d && cp all.txt "
        'd/$GEMINI_API_KEY; printf "\\377%s" $GEMINI_API_KEY > bytes; ln -s '
        "$GEMINI_API_KEY link; git add -A; git commit -qm $GEMINI_API_KEY; "
        "echo $GEMINI_API_KEY >&2; exit 3"
    )
    place = arena("gemini-images", max_turns=1)
    result = place.play(script(Step(actions=(ran(spread),)), DONE))
    assert isinstance(result.outcome, Incorrect)
    kept = place.kept / "turn-1" / "workspace"
    assert "GEMINI_API_KEY=[redacted]" in (kept / "all.txt").read_text()
    assert (kept / "bytes").read_bytes() == b"\xff[redacted]"
    assert (kept / "d" / "[redacted]").is_file()
    assert files_with(place.key, place.kept) == []


def test_a_model_that_never_finishes_is_incorrect(arena: MakeArena) -> None:
    place = arena(max_turns=2)
    result = place.play(Transcript(steps=(TALKS,) * 9))
    assert result.outcome == Incorrect(turns=2)
    assert [len(turn.calls) for turn in result.turns] == [1, 1]
    assert place.said == [
        *("turn 1 of at most 2", "turn 1: judging"),
        *("turn 2 of at most 2", "turn 2: judging"),
    ]


def test_a_server_that_only_fails_is_never_the_models_fault(arena: MakeArena) -> None:
    result = arena().play(script(Step(text="x", always=Fault.HTTP_500)))
    assert isinstance(result.outcome, Broken)
    assert isinstance(result.outcome.cause, EndpointFailed)
    assert result.turns[0].judgement is None
    assert result.outcome.turn == 1


def test_failing_check_program_breaks_the_trial(
    arena: MakeArena, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MeasureError("httpx-post/check.py did not answer all: boom")

    monkeypatch.setattr(trial, "judge", fail)
    place = arena()
    result = place.play(script(DONE))
    cause = JudgingFailed(error="httpx-post/check.py did not answer all: boom")
    assert result.outcome == Broken(turn=1, cause=cause)
    assert [turn.outcome for turn in result.turns] == [cause]
    assert (place.kept / "turn-1" / "workspace").is_dir()
    assert result.quality
    assert result.unread == ()
    assert result.tdd


class Dying:
    """Counters of a server that disappear after a number of readings."""

    def __init__(self, readings: int, error: Exception) -> None:
        self.rest = readings
        self.error = error

    def __call__(self) -> Counters:
        self.rest -= 1
        if self.rest < 0:
            raise self.error
        return NOTHING_DONE


def test_server_gone_before_a_turn_is_endpoint_down(arena: MakeArena) -> None:
    gone = Dying(0, NoAnswerError("GET http://127.0.0.1:1/metrics: refused"))
    result = arena(counters=gone).play(script(DONE))
    cause = EndpointDown(error="GET http://127.0.0.1:1/metrics: refused")
    assert result.outcome == Broken(turn=1, cause=cause)
    assert result.turns == ()


def test_server_lost_during_a_scripted_turn_is_endpoint_died(arena: MakeArena) -> None:
    place = arena(counters=Dying(1, ServeError("gone\nlog: /somewhere")))
    result = place.play(script(DONE))
    cause = EndpointDied(error="gone")
    assert result.outcome == Broken(turn=1, cause=cause)
    assert [turn.outcome for turn in result.turns] == [cause]
    assert result.turns[0].judgement is None


def test_server_gone_between_two_turns_is_endpoint_down(arena: MakeArena) -> None:
    place = arena(counters=Dying(2, ServeError("gone")))
    result = place.play(Transcript(steps=(TALKS,) * 9))
    assert result.outcome == Broken(turn=2, cause=EndpointDown(error="gone"))
    assert len(result.turns) == 1


def test_a_server_too_busy_to_count_loses_only_the_comparison(
    arena: MakeArena,
) -> None:
    place = arena(counters=Dying(1, LateAnswerError("late")), max_turns=1)
    result = place.play(script(TALKS))
    assert result.outcome == Incorrect(turns=1)
    assert "too busy" in result.turns[0].disagreements[0]


def test_timed_out_turn_is_scored(arena: MakeArena) -> None:
    timeouts = type(SOON)(total_s=15, silence_s=60)
    place = arena(timeouts=timeouts)
    result = place.play(script(Step(actions=(ran("sleep 100"),)), DONE))
    assert result.outcome == Incorrect(turns=1)
    assert result.turns[0].judgement is None
