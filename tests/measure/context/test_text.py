"""What a context is filled with: the steps, the filler, the facts, the scoring."""

import json
import time
from collections.abc import Iterator
from functools import partial

import httpx
import msgspec
import pytest

from llamatrix.engines.llama_cpp.output import end_tokens
from llamatrix.engines.llama_cpp.server import tokenize
from llamatrix.engines.outcome import Stage
from llamatrix.measure.context.generation import (
    CompletionTimings,
    FailedRequest,
    context_steps,
    generate,
)
from llamatrix.measure.context.recall import (
    FACTS,
    FillerText,
    filler_line,
    is_exact,
    recall,
    recall_prompt,
)
from llamatrix.web import site


def test_context_steps_end_at_the_largest_without_a_step_just_below() -> None:
    assert context_steps(4096) == (512, 768, 1024, 1536, 2048, 3072, 4096)
    assert context_steps(4352) == (512, 768, 1024, 1536, 2048, 3072, 4352)
    assert context_steps(192256)[-3:] == (98304, 131072, 192256)


def test_filler_lines_are_unique() -> None:
    lines = [filler_line(number) for number in range(5000)]
    assert len(set(lines)) == len(lines)
    assert not any(fact.word in one for one in lines for fact in FACTS)


def words(request: httpx.Request) -> httpx.Response:
    content = msgspec.json.decode(request.content)["content"]
    return httpx.Response(200, json={"tokens": [len(one) for one in content.split()]})


def test_smaller_prompt_is_a_prefix_of_a_larger_one() -> None:
    with site("http://here", transport=httpx.MockTransport(words)) as server:
        filler = FillerText(partial(tokenize, server, timeout_s=5))
        small, large = filler.tokens(100), filler.tokens(1000)
    assert (len(small), len(large)) == (100, 1000)
    assert large[:100] == small


def test_filler_lines_fit_into_the_token_limit() -> None:
    with site("http://here", transport=httpx.MockTransport(words)) as server:
        lines = FillerText(partial(tokenize, server, timeout_s=5)).lines(1000)
    count = sum(len(one.split()) for one in lines)
    assert 800 < count <= 1000


def test_facts_stand_at_their_depths_and_the_question_does_not_answer_itself() -> None:
    lines = recall_prompt([filler_line(number) for number in range(1000)]).splitlines()
    for fact in FACTS:
        place = lines.index(fact.sentence) / 1003
        assert abs(100 * place - fact.depth_percent) < 1
    assert not any(fact.word in lines[-1] for fact in FACTS)


@pytest.mark.parametrize(
    ("answer", "exact"),
    [
        ("lighthouse: cobalt-heron", True),
        ("- **Lighthouse:** `cobalt-heron`", True),
        ("lighthouse: cobalt-heron, I think", False),
        ("lighthouse: cobalt heron", False),
        ("observatory: cobalt-heron", False),
        ("", False),
    ],
)
def test_recall_counts_the_exact_word_only(answer: str, *, exact: bool) -> None:
    assert is_exact(FACTS[0], answer) is exact


@pytest.mark.parametrize("context_tokens", [512, 1024, 8192])
def test_question_fills_most_of_its_context(context_tokens: int) -> None:
    asked: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if "tok" in request.url.path:
            return words(request)
        body = json.loads(request.content)
        prompt = len(body["messages"][0]["content"].split())
        asked.append(prompt + body["max_tokens"])
        reply = {"choices": [{"message": {"content": ""}}]}
        return httpx.Response(200, json=reply | {"usage": {"prompt_tokens": prompt}})

    with site("http://here", transport=httpx.MockTransport(answer)) as server:
        recall(
            server,
            FillerText(partial(tokenize, server, timeout_s=5)),
            context_tokens=context_tokens,
            timeout_s=5,
        )
    assert 0.6 * context_tokens < asked[0] < context_tokens


def test_refused_recall_is_kept_with_its_reason() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        return words(request) if "tok" in request.url.path else httpx.Response(500)

    with site("http://here", transport=httpx.MockTransport(refuse)) as server:
        found = recall(
            server,
            FillerText(partial(tokenize, server, timeout_s=5)),
            context_tokens=4096,
            timeout_s=5,
        )
    assert found.prompt_tokens is None
    assert not found.all_exact
    assert "HTTP 500" in found.said


def test_end_tokens_are_read_from_the_log() -> None:
    log = (
        "0.00.1 I print_info: EOG token             = 296 '<|im_end|>'\n"
        "0.00.1 I load: printing all EOG tokens:\n"
        "print_info: EOG token        = 294 '<|endoftext|>'\n"
    )
    assert end_tokens(log) == (294, 296)


def test_keep_alive_comment_is_not_an_answer() -> None:
    """Seen from the 30th second of one (llama.cpp 0c1e57098, 192,256 tokens)."""
    timings = '{"prompt_n":9,"prompt_ms":1,"predicted_n":128,"predicted_ms":2}'
    text = (
        ":\n\n:\n\n"
        'data: {"stop": false}\n\n'
        f'data: {{"stop": true, "timings": {timings}}}\n\n'
    )
    transport = httpx.MockTransport(lambda _: httpx.Response(200, text=text))
    with site("http://here", transport=transport) as server:
        found = generate(server, [1, 2], end_tokens=(), timeout_s=5)
    assert isinstance(found, CompletionTimings)
    assert found.prompt_n == 9


def test_keep_alive_comments_do_not_extend_the_timeout() -> None:
    """A card that hangs under a server that lives."""

    def living() -> Iterator[bytes]:
        while True:
            time.sleep(0.05)
            yield b":\n\n"

    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=living()))
    with site("http://here", transport=transport) as server:
        found = generate(server, [1, 2], end_tokens=(), timeout_s=0.3)
    assert isinstance(found, FailedRequest)
    assert found.timed_out
    assert found.stage is Stage.PREFILL


@pytest.mark.parametrize(
    ("answer", "stage", "said"),
    [
        (httpx.Response(400, text="exceeds the context"), Stage.PREFILL, "HTTP 400"),
        (httpx.Response(200, text='error: {"error": {}}\n\n'), Stage.PREFILL, "error"),
        (
            httpx.Response(200, text='data: {"error": {"code": 500}}\n\n'),
            Stage.PREFILL,
            "500",
        ),
        (
            httpx.Response(200, text='data: {"stop": false}\n\n'),
            Stage.GENERATION,
            "without its timings",
        ),
        (httpx.Response(200, text=":\n\n"), Stage.PREFILL, "without its timings"),
    ],
)
def test_failed_request_records_its_stage(
    answer: httpx.Response, stage: Stage, said: str
) -> None:
    transport = httpx.MockTransport(lambda _: answer)
    with site("http://here", transport=transport) as server:
        found = generate(server, [1, 2], end_tokens=(), timeout_s=5)
    assert isinstance(found, FailedRequest)
    assert found.stage is stage
    assert said in found.reason
