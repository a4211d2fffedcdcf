"""The server's counters, read where the server may be gone."""

import pytest

from llamatrix.engines.protocol import Counters
from llamatrix.errors import ServeError
from llamatrix.proxy.call import Call, CallKind, Timings, Trouble
from llamatrix.proxy.totals import differing, disagreements, read_counters, totals
from llamatrix.web import LateAnswerError, NoAnswerError


def call(kind: CallKind = CallKind.MAIN, **more: object) -> Call:
    timings = Timings(prompt_n=40, prompt_ms=200, predicted_n=10, predicted_ms=500)
    fields = {"timings": timings, "cached_tokens": 5, "tool_calls": ("bash",), **more}
    return Call(
        index=1,
        kind=kind,
        path="/v1/chat/completions",
        begun_s=0,
        ended_s=1,
        request_bytes=1,
        request_sha256="",
        answer_bytes=1,
        answer_sha256="",
        **fields,  # type: ignore[arg-type]
    )


def served(**more: float) -> Counters:
    counts = {"prompt_tokens": 80.0, "prompt_s": 0.4, "generated_tokens": 20.0}
    counts |= {"generation_s": 1.0} | more
    return Counters(**counts, cached_tokens=None)


def test_the_published_metrics_are_sums_over_the_calls() -> None:
    got = totals([call(CallKind.TITLE, tool_calls=()), call(), call(CallKind.SUBAGENT)])
    assert (got.api_calls, got.api_calls_without_titles) == (3, 2)
    assert (got.subagent_calls, got.tool_calls, got.cached_tokens) == (1, 2, 15)
    assert (got.prompt_tokens, got.generated_tokens) == (120, 30)
    assert (got.prompt_s, got.generation_s) == (0.6, 1.5)
    assert (got.prefill_tps, got.generation_tps) == (120 / 0.6, 20)


def test_calls_of_other_clients_are_counted_apart() -> None:
    got = totals([call(), call(CallKind.OTHER)])
    assert (got.api_calls, got.other_calls, got.prompt_tokens) == (1, 1, 40)


def test_rate_without_calls_is_none() -> None:
    got = totals([call(timings=None, trouble=Trouble.CUT)])
    assert (got.prefill_tps, got.generation_tps) == (None, None)
    assert (got.failed_calls, got.untimed_calls) == (1, 1)


def test_call_without_timings_counts_by_usage_where_asked() -> None:
    """Its cached tokens were not processed; its prompt lasts until the first token."""
    usage = call(
        timings=None,
        prompt_tokens=45,
        generated_tokens=10,
        first_token_s=0.2,
    )
    got = totals([usage, call()], by_usage=True)
    assert (got.untimed_calls, got.prompt_tokens, got.generated_tokens) == (0, 80, 20)
    assert (got.prompt_s, got.generation_s) == pytest.approx((0.4, 1.3))
    assert totals([usage]).untimed_calls == 1


def test_call_that_the_agent_left_is_not_a_failure() -> None:
    got = totals([call(), call(timings=None, trouble=Trouble.LEFT)])
    assert (got.failed_calls, got.left_calls, got.untimed_calls) == (0, 1, 1)


def test_equal_sums_are_no_disagreement() -> None:
    assert disagreements([call(), call()], served()) == ()


def test_a_call_that_broke_off_shows_as_a_disagreement() -> None:
    broken = call(timings=None, trouble=Trouble.CUT)
    found = disagreements([call(), broken], served())
    assert found[0] == (
        "prompt tokens: 40 by the tap, 80 by /metrics "
        "(1 calls without timings, 1 broken off)"
    )
    assert len(found) == 4


class Answering:
    """Answers in turn; what is an error is raised."""

    def __init__(self, *answers: Counters | Exception) -> None:
        self.answers = list(answers)

    def __call__(self) -> Counters:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_cut_connection_is_retried_once() -> None:
    assert read_counters(Answering(NoAnswerError("cut"), served())) == served()


@pytest.mark.parametrize("kind", [NoAnswerError, ServeError])
def test_missing_server_gives_the_first_line_of_the_error(
    kind: type[Exception],
) -> None:
    gone = Answering(*[kind("gone\nlog: /home/somebody/x.log")] * 2)
    assert read_counters(gone) == "gone"


def test_busy_server_gives_none() -> None:
    assert read_counters(Answering(*[LateAnswerError("late")] * 2)) is None


def test_missing_reading_is_reported() -> None:
    busy = ("the server was too busy to report its own counters",)
    assert differing([call()], None, served()) == busy
    assert differing([call()], served(), None) == busy
    nothing = served(prompt_tokens=0, prompt_s=0, generated_tokens=0, generation_s=0)
    assert differing([call(), call()], nothing, served()) == ()
