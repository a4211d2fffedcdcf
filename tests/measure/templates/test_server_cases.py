"""The server's side, against recorded manners of answering."""

import json
from collections.abc import Callable
from functools import partial

import httpx
import pytest
from tests.measure.templates.test_bad_templates import TALK

from llamatrix.engines.llama_cpp.server import tokenize
from llamatrix.measure.templates.checks import CaseResult
from llamatrix.measure.templates.conversation import Json
from llamatrix.measure.templates.qwen35 import Qwen35
from llamatrix.measure.templates.render import RenderError, ServerRenderer
from llamatrix.measure.templates.server_cases import server_cases, switches_problem
from llamatrix.web import site

ON: dict[str, Json] = {"enable_thinking": True}
FORCED_CALL = {
    "role": "assistant",
    "tool_calls": [{"function": {"name": "set_level", "arguments": '{"level":42}'}}],
}
Answers = Callable[[httpx.Request], httpx.Response]


def cases(answers: Answers) -> dict[str, CaseResult]:
    with site("http://host", transport=httpx.MockTransport(answers)) as served:
        tokens = partial(tokenize, served, timeout_s=5)
        cases = server_cases(Qwen35(), served, ON, tokenize=tokens)
        return {case.id: case for case in cases}


def april(request: httpx.Request) -> httpx.Response:
    """As b8643 answers: no begun answers with thinking, no images, one forced call."""
    body = json.loads(request.content)
    begun = body.get("messages", [{}])[-1].get("role") == "assistant"
    if request.url.path == "/tokenize":
        return httpx.Response(200, json={"tokens": [7]})
    if begun:
        return httpx.Response(400, json={"error": {"message": "prefill"}})
    if request.url.path == "/apply-template":
        return httpx.Response(200, json={"prompt": "…"})
    if "image_url" in request.content.decode():
        return httpx.Response(
            500, json={"error": {"message": "image input is not supported"}}
        )
    message = FORCED_CALL if "tools" in body else _spoken(body.get("grammar", ""))
    return httpx.Response(200, json={"choices": [{"message": message}]})


def _spoken(grammar: str) -> dict[str, str]:
    text = json.loads(grammar.removeprefix("root ::= "))
    thought, mark, rest = text.rpartition("</think>")
    return (
        {"content": rest, "reasoning_content": thought} if mark else {"content": text}
    )


def test_parser_of_an_old_server_is_tested_by_a_forced_call() -> None:
    found = cases(april)
    assert not found["answer-begun"].passed
    assert found["image-refused"].passed
    assert found["parser-thought"].passed
    assert found["parser-not-thinking"].passed
    assert found["parser-forced-call"].passed
    assert "parser-text-and-calls" not in found


def test_call_that_comes_back_as_text_is_reported() -> None:
    def deaf(request: httpx.Request) -> httpx.Response:
        said = httpx.Response(
            200, json={"choices": [{"message": {"content": "<tool_call>"}}]}
        )
        if request.url.path == "/chat/completions" or b'"tools"' not in request.content:
            return april(request)
        return said

    assert not cases(deaf)["parser-forced-call"].passed


@pytest.mark.parametrize(
    ("arguments", "passed"),
    [
        ('{"level":42}', True),
        ("{}", True),
        ('{"level":"8183E"}', True),
        ('{"level":"42"}', False),
        ('{"level":41}', False),
        ('{"level":null}', False),
        ('{"level":42,"loud":true}', False),
        ("[42]", False),
        ('{"level":4', False),
    ],
)
def test_forced_argument_is_the_number_or_random_text(
    arguments: str, *, passed: bool
) -> None:
    def answers(request: httpx.Request) -> httpx.Response:
        if b'"tool_choice"' not in request.content:
            return april(request)
        call = {"function": {"name": "set_level", "arguments": arguments}}
        said = {"choices": [{"message": {"tool_calls": [call]}}]}
        return httpx.Response(200, json=said)

    assert cases(answers)["parser-forced-call"].passed is passed


def test_thought_that_leaks_into_the_text_is_reported() -> None:
    def leaky(request: httpx.Request) -> httpx.Response:
        if b"grammar" not in request.content:
            return april(request)
        text = "I think.\n</think>\n\nThe answer."
        return httpx.Response(200, json={"choices": [{"message": {"content": text}}]})

    assert cases(leaky)["parser-thought"].reason.startswith("thought: ")


def test_silently_accepted_image_is_a_problem() -> None:
    def blind(request: httpx.Request) -> httpx.Response:
        if b"image_url" not in request.content:
            return april(request)
        return httpx.Response(200, json={"choices": []})

    assert "cannot see it" in cases(blind)["image-refused"].reason


@pytest.mark.parametrize("value", ["false", 0, None])
def test_switch_of_the_wrong_type_is_reported(value: Json) -> None:
    with site("http://host", transport=httpx.MockTransport(april)) as served:
        told = switches_problem(served, {"enable_thinking": value})
    assert told == f"enable_thinking is {value!r}, not true or false"


def test_refusal_of_the_server_is_quoted() -> None:
    transport = httpx.MockTransport(
        lambda _: httpx.Response(500, text="no such filter")
    )
    with (
        site("http://host", transport=transport) as served,
        pytest.raises(RenderError, match="HTTP 500: no such filter"),
    ):
        ServerRenderer(served).render(TALK)
