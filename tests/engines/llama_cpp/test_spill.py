"""A model that left the card is noticed by the words of llama.cpp's log."""

import pytest

from llamatrix.engines.llama_cpp.spill import off_card, split_graph


def spilled(log_text: str, *, host_bytes: int) -> tuple[str, ...]:
    return (*off_card(log_text, host_bytes=host_bytes), *split_graph(log_text))


EMBEDDINGS = 682 * 2**20
ON_CARD = """\
load_tensors: offloaded 65/65 layers to GPU
load_tensors:   CPU_Mapped model buffer size =   682.03 MiB
load_tensors:        CUDA0 model buffer size = 16115.97 MiB
llama_context:  CUDA_Host  output buffer size =     0.95 MiB
llama_kv_cache:      CUDA0 KV buffer size =  1088.00 MiB
llama_memory_recurrent:      CUDA0 RS buffer size =   149.62 MiB
sched_reserve:      CUDA0 compute buffer size =   505.00 MiB
sched_reserve:  CUDA_Host compute buffer size =    42.00 MiB
sched_reserve: graph splits = 2
"""
"""Formats of b8643 (llama-model.cpp, llama-kv-cache.cpp, llama-context.cpp)."""


def test_embeddings_on_the_host_are_no_spill() -> None:
    assert spilled(ON_CARD, host_bytes=EMBEDDINGS) == ()
    assert spilled("", host_bytes=0) == ()


@pytest.mark.parametrize(
    ("line", "instead", "word"),
    [
        ("65/65 layers", "40/65 layers", "only 40 of 65 layers"),
        ("=   682.03", "=  4682.03", "4682 MiB of weights are on the host"),
        (
            "CUDA0 KV buffer size =  1088",
            "CPU KV buffer size =  1088",
            "1088 MiB of the cache",
        ),
        ("CUDA0 RS", "CPU RS", "150 MiB of the state"),
        ("splits = 2", "splits = 34", "split 34 times"),
        ("splits = 2", "splits = 2 (with bs=512), 67 (with bs=1)", "split 67 times"),
    ],
)
def test_spilled_layers_and_buffers_are_named(
    line: str, instead: str, word: str
) -> None:
    assert line in ON_CARD
    (found,) = spilled(ON_CARD.replace(line, instead), host_bytes=EMBEDDINGS)
    assert word in found
