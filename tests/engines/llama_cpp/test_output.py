from dataclasses import replace

import pytest

from llamatrix.engines.llama_cpp.output import CacheType, cache_types, parse_metrics
from llamatrix.engines.protocol import Counters
from llamatrix.errors import ServeError

APRIL_GEMMA = """\
llama_kv_cache_iswa: creating non-SWA KV cache, size = 4096 cells
llama_kv_cache: size =    1.06 MiB (  4096 cells,   1 layers,  1/1 seqs), K (q8_0):    0.53 MiB, V (q8_0):    0.53 MiB
llama_kv_cache_iswa: creating     SWA KV cache, size = 1536 cells
llama_kv_cache: size =    3.75 MiB (  1536 cells,   5 layers,  1/1 seqs), K (f16):    1.88 MiB, V (f16):    1.88 MiB
"""


def test_sliding_window_model_has_two_caches_in_log() -> None:
    q8, f16 = CacheType(k="q8_0", v="q8_0"), CacheType(k="f16", v="f16")
    assert cache_types(APRIL_GEMMA) == (q8, f16)


def test_log_without_cache_types_is_accepted() -> None:
    assert cache_types("srv  llama_server: model loaded\n") == ()


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


def test_counters_of_both_server_versions_are_parsed() -> None:
    assert parse_metrics(OLD) == Counters(
        prompt_tokens=1701,
        prompt_s=1.693,
        generated_tokens=153,
        generation_s=1.739,
        cached_tokens=None,
    )
    assert parse_metrics(NEW).cached_tokens == 554


def test_cached_tokens_are_counted_between_readings() -> None:
    assert counters(30, 3).since(counters(10, 1)).cached_tokens == 20


@pytest.mark.parametrize("field", ["prompt_tokens", "generated_tokens"])
def test_counters_that_decrease_are_refused(field: str) -> None:
    later = replace(counters(2, 2), **{field: 1})
    with pytest.raises(ServeError, match="counters decreased"):
        later.since(counters(2, 2))


@pytest.mark.parametrize("text", ["", "no metrics here {", "<html></html>"])
def test_invalid_metrics_page_is_refused(text: str) -> None:
    with pytest.raises(ServeError, match="/metrics"):
        parse_metrics(text)
