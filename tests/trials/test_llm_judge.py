"""A trial put before a model: what goes out, and what any answer becomes."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from llamatrix.errors import MeasureError
from llamatrix.redaction import Redaction
from llamatrix.trials.checks.tdd import TddOrder
from llamatrix.trials.llm_judge import (
    Declined,
    Given,
    JudgeQuestion,
    JudgeReply,
    Refused,
    Unparseable,
    ask_judge,
    judge_question,
    rubric,
)
from llamatrix.web import site

ASPECTS = ("structure", "error-handling", "tdd", "cleanliness", "critical")
GRADES = {key: {"score": 3, "sentence": "It works."} for key in ASPECTS}
GOOD = json.dumps(GRADES)
KEY = "a-key-of-the-endpoint"
REDACTION = Redaction(secrets=(KEY,))


def asked(tmp_path: Path, *, code: str = "print(1)\n") -> JudgeQuestion:
    (tmp_path / "main.py").write_text(code)
    return judge_question(
        "judge",
        task="Print one.",
        workspace=tmp_path,
        tdd=TddOrder(test_first=True, failed_before=False, passed_after=True),
        redaction=REDACTION,
    )


def completion(text: str | None, **more: object) -> dict[str, object]:
    message = {"role": "assistant", "content": text}
    refusal = more.pop("refusal", None)
    choice = {"message": message | ({"refusal": refusal} if refusal else {}), **more}
    return {"choices": [choice], "model": "judge-0711", "usage": {}}


class Endpoint:
    """Gives its answers in turn and keeps what it was asked."""

    def __init__(self, *answers: dict[str, object] | httpx.Response) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, httpx.Response):
            return answer
        return httpx.Response(200, json=answer)

    def body(self, number: int) -> dict[str, object]:
        body = json.loads(self.requests[number].content)
        assert isinstance(body, dict)
        return body


def reached(tmp_path: Path, endpoint: Callable[..., httpx.Response]) -> JudgeReply:
    transport = httpx.MockTransport(endpoint)
    with site("http://judge/v1", transport=transport, bearer=KEY) as place:
        return ask_judge(place, asked(tmp_path), REDACTION)


def test_the_rubric_has_the_aspects_of_the_published_table() -> None:
    assert tuple(rubric().aspects) == ASPECTS


def test_readable_first_answer_needs_one_call_at_temperature_zero(
    tmp_path: Path,
) -> None:
    endpoint = Endpoint(completion(GOOD))
    found = reached(tmp_path, endpoint)
    assert isinstance(found.answer, Given)
    assert tuple(found.answer.grades) == ASPECTS
    assert (found.calls, found.answered_by) == (1, "judge-0711")
    (request,) = endpoint.requests
    assert request.url == "http://judge/v1/chat/completions"
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert endpoint.body(0)["temperature"] == 0
    sent = request.content.decode()
    for words in ("Print one.", "print(1)", "no: it was run and failed before"):
        assert words in sent
    for aspect in rubric().aspects.values():
        assert json.dumps(aspect.five)[1:-1] in sent


def test_question_digest_is_that_of_the_sent_request(
    tmp_path: Path,
) -> None:
    one, same = asked(tmp_path), asked(tmp_path)
    other = asked(tmp_path, code="print(2)\n")
    assert one.sha256 == same.sha256 != other.sha256


@pytest.mark.parametrize(
    "text",
    [
        f"```json\n{GOOD}\n```",
        f"<think>Well, {{}} …</think>\n\n{GOOD}",
        json.dumps(dict(reversed(GRADES.items()))),
    ],
    ids=["fence", "thoughts", "order"],
)
def test_answer_may_have_fence_thoughts_and_any_key_order(
    text: str, tmp_path: Path
) -> None:
    found = reached(tmp_path, Endpoint(completion(text)))
    assert isinstance(found.answer, Given)
    assert (tuple(found.answer.grades), found.calls) == (ASPECTS, 1)


def bad(**grade: object) -> str:
    return json.dumps(GRADES | {"tdd": {"score": 3, "sentence": "So."} | grade})


@pytest.mark.parametrize(
    "text",
    [
        *("Looks fine to me!", "[]", "", f"{GOOD} I hope this helps."),
        *(bad(score=0), bad(score=6), bad(score=2.5), bad(score="3"), bad(score=True)),
        *(bad(sentence=""), bad(sentence="x" * 601), bad(verdict="pass")),
        json.dumps({key: GRADES[key] for key in ASPECTS[:4]}),
        json.dumps(GRADES | {"beauty": GRADES["tdd"]}),
    ],
)
def test_unparseable_answer_is_retried_once(text: str, tmp_path: Path) -> None:
    endpoint = Endpoint(completion(text), completion(text))
    found = reached(tmp_path, endpoint)
    assert isinstance(found.answer, Unparseable)
    assert found.answer.why
    assert found.calls == 2
    messages = endpoint.body(1)["messages"]
    assert isinstance(messages, list)
    assert [one["role"] for one in messages] == [
        *("system", "user", "assistant", "user"),
    ]
    assert found.answer.why in messages[-1]["content"]


def test_readable_second_answer_is_the_judges_answer(tmp_path: Path) -> None:
    found = reached(tmp_path, Endpoint(completion("Hm."), completion(GOOD)))
    assert isinstance(found.answer, Given)
    assert found.calls == 2


def test_answer_without_choice_or_cut_off_gives_the_reason(tmp_path: Path) -> None:
    cut = completion(GOOD[:40], finish_reason="length")
    found = reached(tmp_path, Endpoint({"choices": []}, cut))
    assert isinstance(found.answer, Unparseable)
    assert found.answer.why == "it was cut off at its token limit"


@pytest.mark.parametrize(
    "answer",
    [
        completion(None, refusal="I cannot grade this."),
        completion("", finish_reason="content_filter"),
    ],
    ids=["model", "filter"],
)
def test_a_refusal_is_data_and_not_asked_again(
    answer: dict[str, object], tmp_path: Path
) -> None:
    found = reached(tmp_path, Endpoint(answer))
    assert isinstance(found.answer, Refused)
    assert found.calls == 1


def test_a_request_that_is_too_long_for_the_endpoint_is_data(tmp_path: Path) -> None:
    too_long = httpx.Response(400, text=f"context exceeded, dear {KEY}")
    found = reached(tmp_path, Endpoint(too_long))
    assert found.answer == Declined(
        status=400, text="context exceeded, dear [redacted]"
    )


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (httpx.Response(401, text=f"bad key {KEY}"), "--key-env"),
        (httpx.Response(404, text="no such page"), "HTTP 404: no such page"),
        (httpx.Response(503, text="later"), "HTTP 503: later"),
        (httpx.Response(200, text="<html>"), "no OpenAI-compatible endpoint"),
        (httpx.Response(302, headers={"Location": "http://x/"}), "HTTP 302"),
    ],
)
def test_an_endpoint_that_does_not_work_stops_without_showing_the_key(
    answer: httpx.Response, said: str, tmp_path: Path
) -> None:
    with pytest.raises(MeasureError) as raised:
        reached(tmp_path, Endpoint(answer))
    assert said in str(raised.value)
    assert KEY not in str(raised.value)
    assert "answers so far are kept" in str(raised.value)


def test_unreachable_judge_is_an_error(tmp_path: Path) -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(MeasureError, match="refused"):
        reached(tmp_path, refuse)


def test_a_key_in_the_answer_is_not_kept(tmp_path: Path) -> None:
    leaky = GRADES | {"critical": {"score": 1, "sentence": f"It shows {KEY}."}}
    found = reached(tmp_path, Endpoint(completion(json.dumps(leaky))))
    assert isinstance(found.answer, Given)
    assert found.answer.grades["critical"].sentence == "It shows [redacted]."
