from llamatrix.engines.llama_cpp.props import CacheType, cache_types

APRIL_GEMMA = """\
llama_kv_cache_iswa: creating non-SWA KV cache, size = 4096 cells
llama_kv_cache: size =    1.06 MiB (  4096 cells,   1 layers,  1/1 seqs), K (q8_0):    0.53 MiB, V (q8_0):    0.53 MiB
llama_kv_cache_iswa: creating     SWA KV cache, size = 1536 cells
llama_kv_cache: size =    3.75 MiB (  1536 cells,   5 layers,  1/1 seqs), K (f16):    1.88 MiB, V (f16):    1.88 MiB
"""


def test_every_cache_of_a_sliding_window_model_is_told() -> None:
    q8, f16 = CacheType(k="q8_0", v="q8_0"), CacheType(k="f16", v="f16")
    assert cache_types(APRIL_GEMMA) == (q8, f16)


def test_a_log_that_tells_no_cache_type_is_no_complaint() -> None:
    assert cache_types("srv  llama_server: model loaded\n") == ()
