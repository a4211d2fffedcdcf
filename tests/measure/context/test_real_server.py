"""Both pins' real llama-server: filled step by step, asked for facts, refused too much."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engines.llama_cpp.real import PINS, real_launch

from llamatrix.engines.llama_cpp.output import end_tokens
from llamatrix.engines.llama_cpp.server import Serving, running
from llamatrix.engines.outcome import Stage
from llamatrix.measure.context.generation import (
    CompletionTimings,
    FailedRequest,
    generate,
)
from llamatrix.measure.context.recall import FillerText, recall
from llamatrix.shell import read_log

pytestmark = pytest.mark.slow
CONTEXT_TOKENS = 4096


@pytest.fixture(params=PINS)
def serving(
    request: pytest.FixtureRequest, user_cache: Path, tmp_path: Path
) -> Iterator[Serving]:
    launch = real_launch(
        *(request.param, "qwen35-27b"),
        cache=user_cache,
        folder=tmp_path,
        ctx_size=CONTEXT_TOKENS,
    )
    with running(launch, log=tmp_path / "server.log") as ready:
        yield ready


def test_growing_prompt_uses_the_cache_and_answers_are_complete(
    serving: Serving,
) -> None:
    filler = FillerText(serving.tokenize)
    ends = end_tokens(read_log(serving.log))
    assert ends
    for tokens, cached in ((384, 0), (896, 300), (1920, 800)):
        found = generate(
            serving.site, filler.tokens(tokens), end_tokens=ends, timeout_s=120
        )
        assert isinstance(found, CompletionTimings)
        assert found.prompt_n + found.cache_n == tokens
        assert found.cache_n >= cached
        assert found.predicted_n == 128


def test_prompt_beyond_the_context_is_refused_before_generation(
    serving: Serving,
) -> None:
    prompt = FillerText(serving.tokenize).tokens(CONTEXT_TOKENS + 1)
    found = generate(serving.site, prompt, end_tokens=(), timeout_s=120)
    assert isinstance(found, FailedRequest)
    assert found.stage is Stage.PREFILL
    assert "exceed" in found.reason


def test_recall_question_fits_into_the_context(serving: Serving) -> None:
    """Synthetic weights answer nonsense: recall fails, but that is not an error."""
    found = recall(
        serving.site,
        FillerText(serving.tokenize),
        context_tokens=CONTEXT_TOKENS,
        timeout_s=120,
    )
    assert found.prompt_tokens is not None, found.said
    assert CONTEXT_TOKENS // 2 < found.prompt_tokens < CONTEXT_TOKENS
    assert not found.all_exact
