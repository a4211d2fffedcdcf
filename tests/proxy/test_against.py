"""The server's counters, read where the server may be gone."""

import pytest
from tests.proxy.test_totals import call, served

from llamatrix.engines.protocol import Counters
from llamatrix.errors import ServeError
from llamatrix.proxy.totals import differing, read_counters
from llamatrix.web import LateAnswerError, NoAnswerError


class Answering:
    """Answers in turn; what is an error is raised."""

    def __init__(self, *answers: Counters | Exception) -> None:
        self.answers = list(answers)

    def __call__(self) -> Counters:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_a_line_cut_once_is_tried_again() -> None:
    assert read_counters(Answering(NoAnswerError("cut"), served())) == served()


@pytest.mark.parametrize("kind", [NoAnswerError, ServeError])
def test_a_server_that_is_gone_is_told_in_a_line(kind: type[Exception]) -> None:
    gone = Answering(*[kind("gone\nlog: /home/somebody/x.log")] * 2)
    assert read_counters(gone) == "gone"


def test_a_busy_server_is_not_taken_for_a_dead_one() -> None:
    assert read_counters(Answering(*[LateAnswerError("late")] * 2)) is None


def test_without_both_readings_there_is_nothing_to_compare() -> None:
    busy = ("the server was too busy to tell its own counters",)
    assert differing([call()], None, served()) == busy
    assert differing([call()], served(), None) == busy
    nothing = served(prompt_tokens=0, prompt_s=0, generated_tokens=0, generation_s=0)
    assert differing([call(), call()], nothing, served()) == ()
