"""The closed form gives llama-fit-params' figures, and what fits a card."""

import json
from collections.abc import Iterator

import pytest
from tests.shipped import ROOT

from llamatrix.errors import ProvisionError
from llamatrix.provision.weights.fit import (
    CUDA_CONTEXT_BYTES,
    MemoryNeed,
    MemorySettings,
    card_weight_bytes,
    known_shape,
    largest_context,
    memory_need,
    padded,
)
from llamatrix.provision.weights.synthetic.models import MODELS

CONTEXTS = (32768, 65536, 131072, 262144)


def cache_mib(found: MemoryNeed) -> float:
    return (found.cache + found.state) / 2**20


@pytest.mark.parametrize(
    ("model", "printed"),
    [
        ("qwen35-27b", (1237, 2325, 4501, 8853)),
        ("qwen35-35b-a3b", (402, 742, 1422, 2782)),
        ("gemma4-26b-a4b", (499, 839, 1519, 2879)),
        ("gemma4-31b", (1997, 3357, 6077, 11517)),
    ],
)
def test_cache_and_state_are_those_llama_fit_params_printed(
    model: str, printed: tuple[int, ...]
) -> None:
    """b11434, cut to whole MiB."""
    found = [
        int(
            cache_mib(
                memory_need(known_shape(model), MemorySettings(), context_tokens=tokens)
            )
        )
        for tokens in CONTEXTS
    ]
    assert tuple(found) == printed


@pytest.mark.parametrize(
    ("model", "printed"),
    [
        ("qwen35-27b", (567, 791)),
        ("qwen35-35b-a3b", (537, 761)),
        ("gemma4-26b-a4b", (574, 798)),
        ("gemma4-31b", (599, 823)),
    ],
)
def test_graph_of_a_micro_batch_is_as_printed_to_a_mebibyte(
    model: str, printed: tuple[int, int]
) -> None:
    shape = known_shape(model)
    found = [
        memory_need(shape, MemorySettings(), context_tokens=tokens).compute / 2**20
        for tokens in (CONTEXTS[0], CONTEXTS[-1])
    ]
    assert found == pytest.approx(printed, abs=1.1)


def test_april_keeps_the_sliding_window_in_f16() -> None:
    shape = known_shape("gemma4-31b")
    found = memory_need(
        shape, MemorySettings(window_in_f16=True), context_tokens=131072
    )
    assert cache_mib(found) == 6640
    qwen = known_shape("qwen35-27b")
    assert memory_need(
        qwen, MemorySettings(window_in_f16=True), context_tokens=4096
    ) == memory_need(qwen, MemorySettings(), context_tokens=4096)


def test_embeddings_stay_on_the_host_unless_they_are_the_output_too() -> None:
    qwen, gemma = known_shape("qwen35-27b"), known_shape("gemma4-31b")
    assert card_weight_bytes(qwen) == qwen.tensor_bytes - qwen.embedding_bytes
    assert round(qwen.embedding_bytes / 2**20) == 682
    assert card_weight_bytes(gemma) == gemma.tensor_bytes


def test_short_context_needs_no_full_window() -> None:
    shape = known_shape("gemma4-31b")
    short = memory_need(shape, MemorySettings(), context_tokens=512)
    assert short.cache < memory_need(shape, MemorySettings(), context_tokens=2048).cache


def test_f16_cache_needs_no_copy_of_itself() -> None:
    shape = known_shape("qwen35-27b")
    plain = MemorySettings(cache_type_k="f16", cache_type_v="f16")
    assert memory_need(shape, plain, context_tokens=131072).scratch == 0
    assert (
        memory_need(shape, MemorySettings(), context_tokens=131072).scratch
        == 512 * 2**20
    )


def test_total_includes_all_parts_and_cuda() -> None:
    found = memory_need(
        known_shape("qwen35-27b"), MemorySettings(), context_tokens=130672
    )
    parts = (found.weights, found.cache, found.state, found.compute, found.scratch)
    assert found.total == sum(parts) + CUDA_CONTEXT_BYTES


def test_cells_come_in_multiples_of_256() -> None:
    assert (padded(1), padded(256), padded(130672)) == (256, 256, 130816)


@pytest.mark.parametrize("model", MODELS)
def test_largest_context_fits_and_the_next_does_not(model: str) -> None:
    shape = known_shape(model)
    found = largest_context(shape, MemorySettings(), card_bytes=22 * 2**30)
    assert found
    assert (
        memory_need(shape, MemorySettings(), context_tokens=found).total <= 22 * 2**30
    )
    if found < shape.trained_tokens:
        after = memory_need(shape, MemorySettings(), context_tokens=found + 256)
        assert after.total > 22 * 2**30


def test_card_too_small_for_the_weights_fits_nothing() -> None:
    shape = known_shape("qwen35-27b")
    assert largest_context(shape, MemorySettings(), card_bytes=16 * 2**30) is None


def test_no_context_is_longer_than_the_trained_one() -> None:
    shape = known_shape("qwen35-27b")
    assert (
        largest_context(shape, MemorySettings(), card_bytes=2**40)
        == shape.trained_tokens
    )


def held_by_servers() -> Iterator[tuple[str, str, int, int]]:
    """Model, pin, context, and the most bytes that its server held, of shipped records."""
    for path in sorted((ROOT / "reports/examples").rglob("records/*/context/*/*/*")):
        model, pin = path.parts[-3].removesuffix(".full"), path.parts[-2]
        for line in path.read_text().splitlines():
            record = json.loads(line)
            found = record["found"]
            if len(found["attempts"]) == 1 and record["host"].get("gpus"):
                held = [
                    one["footprint"]["card_own_peak_bytes"] for one in found["rungs"]
                ]
                yield model, pin, found["attempts"][0]["context_tokens"], max(held)


def test_recorded_servers_hold_at_most_the_estimate() -> None:
    servers = list(held_by_servers())
    assert len(servers) >= 5
    for model, pin, tokens, held_bytes in servers:
        use = MemorySettings(window_in_f16=pin == "april")
        predicted = memory_need(known_shape(model), use, context_tokens=tokens).total
        assert 0.98 * predicted <= held_bytes <= predicted, (model, pin, tokens)


def test_unknown_cache_type_is_refused_with_the_nearest() -> None:
    with pytest.raises(ProvisionError, match="did you mean 'q8_0'"):
        memory_need(
            known_shape("qwen35-27b"),
            MemorySettings(cache_type_k="q8_9"),
            context_tokens=4096,
        )
