from dataclasses import replace

import pytest

from llamatrix.engines.llama_cpp.metrics import Counters, parse_metrics
from llamatrix.errors import ServeError

OLD = """\
# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed.
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 1701
# HELP llamacpp:prompt_seconds_total Prompt process time
# TYPE llamacpp:prompt_seconds_total counter
llamacpp:prompt_seconds_total 1.693
# HELP llamacpp:tokens_predicted_total Number of generation tokens processed.
# TYPE llamacpp:tokens_predicted_total counter
llamacpp:tokens_predicted_total 153
# HELP llamacpp:tokens_predicted_seconds_total Predict process time
# TYPE llamacpp:tokens_predicted_seconds_total counter
llamacpp:tokens_predicted_seconds_total 1.739
# HELP llamacpp:predicted_tokens_seconds Average generation throughput in tokens/s.
# TYPE llamacpp:predicted_tokens_seconds gauge
llamacpp:predicted_tokens_seconds 99999
"""
NEW = OLD + (
    "# HELP llamacpp:prompt_tokens_cached_total Reused from the cache\n"
    "# TYPE llamacpp:prompt_tokens_cached_total counter\n"
    "llamacpp:prompt_tokens_cached_total 554\n"
)


def counters(tokens: float, seconds: float) -> Counters:
    return Counters(
        prompt_tokens=tokens,
        prompt_s=seconds,
        generated_tokens=tokens,
        generation_s=seconds,
        cached_tokens=tokens,
    )


def test_counters_of_both_kinds_of_server_are_read() -> None:
    assert parse_metrics(OLD) == Counters(
        prompt_tokens=1701,
        prompt_s=1.693,
        generated_tokens=153,
        generation_s=1.739,
        cached_tokens=None,
    )
    assert parse_metrics(NEW).cached_tokens == 554


def test_what_was_taken_from_the_cache_is_counted_in_between() -> None:
    assert counters(30, 3).since(counters(10, 1)).cached_tokens == 20


@pytest.mark.parametrize("field", ["prompt_tokens", "generated_tokens"])
def test_counters_that_run_backwards_are_refused(field: str) -> None:
    later = replace(counters(2, 2), **{field: 1})
    with pytest.raises(ServeError, match="ran backwards"):
        later.since(counters(2, 2))


@pytest.mark.parametrize("text", ["", "no metrics here {", "<html></html>"])
def test_what_is_no_metrics_page_is_refused(text: str) -> None:
    with pytest.raises(ServeError, match="/metrics"):
        parse_metrics(text)
