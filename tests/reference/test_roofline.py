"""The hardware's limits, from shapes and data sheets, by hand-checked arithmetic."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.reference.synthetic_sets import CLEAN, changed, loaded
from tests.reference.test_reference_set import shipped

from llamatrix.errors import ReportError
from llamatrix.provision.weights.fit import CACHE_BYTES
from llamatrix.provision.weights.synthetic.models import Experts
from llamatrix.provision.weights.tensor_types import least_bits_per_weight
from llamatrix.reference.gpu import load_gpus
from llamatrix.reference.model_work import Attention, ModelWork, known_work, work_of
from llamatrix.reference.roofline import (
    NoRoofline,
    Roofline,
    generation_limit,
    rooflines,
)

Q8 = CACHE_BYTES["q8_0"]


@dataclass(frozen=True)
class Part:
    name: str
    elements: int
    bytes: int


TABLE = Part("token_embd.weight", 1000, 500)
OUTPUT = Part("output.weight", 1000, 800)
DENSE = Part("blk.0.attn_q.weight", 300, 200)
EXPERTS = Part("blk.0.ffn_up_exps.weight", 800, 400)


def known(model: str) -> ModelWork:
    found = known_work(model)
    assert found
    return found


def test_the_token_table_is_not_read_where_the_output_is_a_matrix_of_its_own() -> None:
    work = work_of((TABLE, DENSE, OUTPUT), experts=None)
    assert (work.read_bytes, work.prompt_params) == (200 + 800, 300)
    assert (work.tensor_bytes, work.total_params) == (1500, 2300)


def test_a_tied_token_table_is_read_as_the_output() -> None:
    assert work_of((TABLE, DENSE), experts=None).read_bytes == 500 + 200


def test_of_the_experts_only_the_used_share_counts() -> None:
    experts = Experts(count=8, used=2, feed_forward=1)
    work = work_of((TABLE, DENSE, EXPERTS, OUTPUT), experts=experts)
    assert work.read_bytes == 200 + 400 / 4 + 800
    assert work.prompt_params == 300 + 800 / 4


def test_a_window_bounds_what_a_token_sees() -> None:
    kind = Attention(layers=1, kv_width=1, query_width=1, window_tokens=4)
    assert kind.seen(3) == 3
    assert kind.seen(100) == 4
    assert kind.mean_seen(3) == 2  # 1, 2, 3
    assert kind.mean_seen(8) == (1 + 2 + 3 + 4 + 4 * 4) / 8


@pytest.mark.parametrize(
    ("model", "context_tokens", "mib"),
    [
        # llama-fit-params of these shapes, less the delta net's state and with Gemma's
        # window at its own 1024 cells instead of the 1536 that are allocated
        ("qwen35-27b", 65536, 2325 - 149),
        ("qwen35-35b-a3b", 65536, 742 - 63),
        ("gemma4-26b-a4b", 65536, 839 - 25 * 2 * 8 * 256 * 512 * Q8 / 2**20),
        ("gemma4-31b", 65536, 3357 - 50 * 2 * 16 * 256 * 512 * Q8 / 2**20),
    ],
)
def test_the_cache_is_as_large_as_llama_cpp_says(
    model: str, context_tokens: int, mib: float
) -> None:
    found = known(model).cache_bytes(context_tokens, element_bytes=Q8) / 2**20
    assert found == pytest.approx(mib, abs=2)


def test_the_state_of_a_delta_net_is_as_large_as_llama_cpp_says() -> None:
    assert known("qwen35-27b").state_bytes / 2**20 == pytest.approx(149.6, abs=0.5)
    assert known("gemma4-31b").state_bytes == 0


@pytest.mark.parametrize(
    ("model", "billions"),
    [
        ("qwen35-27b", 24.4),
        ("qwen35-35b-a3b", 2.4),
        ("gemma4-26b-a4b", 3.1),
        ("gemma4-31b", 29.3),
    ],
)
def test_active_parameters_are_near_the_published_ones_less_the_token_tables(
    model: str, billions: float
) -> None:
    assert known(model).prompt_params / 1e9 == pytest.approx(billions, abs=0.1)


def test_an_unknown_model_has_no_known_work() -> None:
    assert known_work("small") is None


def test_generation_is_bandwidth_over_bytes() -> None:
    work = ModelWork(
        tensor_bytes=100,
        total_params=1,
        read_bytes=80,
        prompt_params=1,
        attention=(Attention(layers=1, kv_width=2, query_width=1),),
        state_bytes=10,
    )
    assert generation_limit(work, bandwidth=900) == 10
    assert generation_limit(work, bandwidth=900, file_bytes=200) == 900 / 170
    assert (
        generation_limit(work, bandwidth=900, depth_tokens=5, cache_element_bytes=0.5)
        == 9
    )


def test_prompt_operations_grow_with_the_prompt() -> None:
    work = ModelWork(
        tensor_bytes=1,
        total_params=1,
        read_bytes=1,
        prompt_params=50,
        attention=(Attention(layers=2, kv_width=1, query_width=5),),
    )
    assert work.prompt_operations(1) == 140
    assert work.prompt_operations(5) == 220


def lines(name: str) -> dict[str, Roofline | NoRoofline]:
    return {line.claim: line for line in rooflines(shipped(name), load_gpus())}


def test_the_blogs_dense_models_reach_most_of_the_bandwidth() -> None:
    found = lines("blog-2026-04-05")
    for claim, share in (
        ("generation/qwen35-27b/tg128", 0.78),
        ("generation/gemma4-31b/tg128", 0.83),
        ("generation/qwen35-35b-a3b/tg128", 0.46),
    ):
        line = found[claim]
        assert isinstance(line, Roofline)
        assert line.fraction == pytest.approx(share, abs=0.01)
        assert (line.peak, line.floor) == ("memory bandwidth", False)


def test_prefill_is_reported_against_every_peak_and_limited_by_the_highest() -> None:
    line = lines("blog-2026-04-05")["prefill/gemma4-31b/512"]
    assert isinstance(line, Roofline)
    assert line.peak == "matrix peak, int8"
    assert line.fraction == line.shares["int8"] == min(line.shares.values())
    assert (
        line.shares["fp16 with fp32 accumulate"] > 1
    )  # so those kernels were not used


def test_a_file_of_unknown_size_is_taken_at_its_least() -> None:
    line = lines("khmel-2026-06-07")["generation/gemma4-31b/h200-sxm"]
    assert isinstance(line, Roofline)
    assert line.floor


def test_a_prompt_in_micro_batches_of_one_is_bound_by_bandwidth() -> None:
    line = lines("llamacpp-29152")["rtx-5090-dense/gemma4-31b/pp256"]
    assert isinstance(line, Roofline)
    assert line.peak == "memory bandwidth"


@pytest.mark.parametrize(
    ("name", "claim", "reason"),
    [
        (
            "ai-navigate-rtx5090-vllm",
            "generation/gemma4-26b-a4b/dflash",
            "no limit is known for several streams or speculative decoding",
        ),
        (
            "ai-navigate-rtx5090-vllm",
            "generation/gemma4-26b-a4b/plain",
            "neither file size nor bits per weight are known",
        ),
        (
            "reddit-1rei65v",
            "experts-cpu/qwen35-35b-a3b/generation-rate",
            "not on the GPU alone: all experts on the CPU",
        ),
    ],
)
def test_a_speed_without_a_limit_says_why(name: str, claim: str, reason: str) -> None:
    line = lines(name)[claim]
    assert isinstance(line, NoRoofline)
    assert line.reason == reason


def test_a_model_or_gpu_that_nobody_knows_is_a_reason(tmp_path: Path) -> None:
    found = rooflines(loaded(CLEAN, tmp_path), load_gpus())
    reasons = {one.reason for one in found if isinstance(one, NoRoofline)}
    assert reasons == {"the shape of small is neither in the matrix nor in the set"}
    without = loaded(changed('gpu = "rtx-4090"\n', ""), tmp_path)
    assert all(
        isinstance(one, NoRoofline) and one.reason == "GPU not stated"
        for one in rooflines(without, load_gpus())
    )


@pytest.mark.parametrize(
    ("quant", "bits"),
    [
        ("UD-Q4_K_XL", 4.5),
        ("Q4_K - Medium", 4.5),
        ("q8_0", 8.5),
        ("UD-Q8_K_XL", 8.5),
        ("IQ3_XXS", 3.0625),
        ("IQ3_M", 3.0625),
        ("IQ4_XS", 4.25),
        ("IQ1_S", 1.5625),
        ("TQ1_0", 1.6875),
        ("MXFP4", 4.25),
        ("MXFP4_MOE", 4.25),
        ("NVFP4", 4.5),
        ("BF16", 16),
        ("FP16", 16),
        ("FP8", 8),
        ("Q4", 4.5),
        ("Q6_K", 6.5625),
        ("GPTQ-Int4", 4),
        ("W4A16", 4),
        ("EXL2 4.25bpw", 4.25),
        ("8-bit", 8),
        ("Q2_0", 2.25),
        ("AWQ", None),
        (None, None),
    ],
)
def test_bits_are_read_off_a_quantisations_name(
    quant: str | None, bits: float | None
) -> None:
    assert least_bits_per_weight(quant) == bits


def test_every_type_of_ggml_that_a_file_may_have_is_known_by_its_name() -> None:
    from gguf.constants import GGML_QUANT_SIZES

    for kind, (elements, size) in GGML_QUANT_SIZES.items():
        if kind.name not in {"Q8_1", "Q8_K"}:
            assert least_bits_per_weight(kind.name) == 8 * size / elements


def test_every_gpu_has_a_source_and_plausible_peaks() -> None:
    gpus = load_gpus()
    assert gpus["rtx-4090"].bandwidth_gb_s == 1008
    assert gpus["h200-sxm"].memory_gib == 141
    for gpu in gpus.values():
        assert gpu.source
        assert gpu.fp16_fp32_tflops <= gpu.fp16_tflops < gpu.int8_tops


def test_a_gpu_row_with_a_slip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gpus.toml"
    path.write_text('schema_version = 1\n[gpus.x]\nname = "X"\nmemory_gb = 1\n')
    with pytest.raises(ReportError, match=r"gpus\.x\.memory_gb: unknown key"):
        load_gpus(path)
