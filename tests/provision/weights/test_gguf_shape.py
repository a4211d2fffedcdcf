"""The shape derived from a file: what llama.cpp allocates, by architecture.

Figures of the reports are those of their load logs; figures of small models are what
llama-fit-params of the pins printed for the same metadata.
"""

from pathlib import Path

import pytest
from tests.mini_gguf import F16, Q8_0, TensorSpec, write_gguf
from tests.provision.weights import reported_files
from tests.provision.weights.reported_files import keys_of
from tests.shipped import ROOT

from llamatrix.config.load import load_matrix
from llamatrix.errors import ProvisionError
from llamatrix.provision.pin_source import PinLists, lists_of
from llamatrix.provision.weights.architectures import APRIL
from llamatrix.provision.weights.fit import (
    MemoryNeed,
    MemorySettings,
    MemoryShape,
    card_weight_bytes,
    known_shape,
    memory_need,
)
from llamatrix.provision.weights.gguf_shape import shape_of_file
from llamatrix.provision.weights.synthetic.models import MODELS, Scale, SyntheticSpec
from llamatrix.provision.weights.synthetic.write import write

MIB = 2**20
PINS = load_matrix(ROOT / "matrix.toml").pins


def need_of(path: Path, tokens: int, *, commit: str = "") -> MemoryNeed:
    shape = shape_of_file(path, commit=commit)
    return memory_need(
        shape, MemorySettings(window_in_f16=commit == APRIL), context_tokens=tokens
    )


@pytest.mark.parametrize("model", MODELS)
def test_file_and_its_hyper_parameters_need_the_same(
    model: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.gguf"
    spec = SyntheticSpec(model=model, scale=Scale.TINY, chat_template="")
    write(spec, path, on_bytes=lambda _: None)
    found, known = shape_of_file(path), known_shape(model, Scale.TINY)
    assert sorted(found.attention, key=repr) == sorted(known.attention, key=repr)
    for tokens in (256, 4096):
        assert memory_need(
            found, MemorySettings(), context_tokens=tokens
        ) == memory_need(known, MemorySettings(), context_tokens=tokens)
    assert found.trained_tokens == known.trained_tokens
    assert found.proven
    assert found.notes == ()


def test_gpt_oss_alternates_windows_without_a_pattern_in_the_file(
    tmp_path: Path,
) -> None:
    path = reported_files.gpt_oss(tmp_path)
    assert need_of(path, 131072).cache == 1_721_303_040
    assert need_of(path, 131072, commit=APRIL).cache == 1632 * MIB + 12 * 768 * 2048


def test_period_in_the_file_replaces_the_architectures_own(tmp_path: Path) -> None:
    path = reported_files.gpt_oss(tmp_path, attention__sliding_window_pattern=4)
    shape = shape_of_file(path)
    assert [(one.count, one.window_tokens) for one in shape.attention] == [
        (6, None),
        (18, 128),
    ]


def test_array_of_a_pattern_is_read_by_newer_pins_only(tmp_path: Path) -> None:
    pattern = [one % 4 != 3 for one in range(24)]
    path = reported_files.gpt_oss(tmp_path, attention__sliding_window_pattern=pattern)
    counts = {
        name: [one.count for one in shape_of_file(path, commit=pin.commit).attention]
        for name, pin in PINS.items()
    }
    assert counts["current"] == [6, 18]
    assert counts["april"] == counts["june"] == [12, 12]


def test_layers_that_share_a_cache_and_tables_of_the_host_are_left_out(
    tmp_path: Path,
) -> None:
    path = reported_files.gemma4_e4b(tmp_path)
    shape = shape_of_file(path)
    assert need_of(path, 131072).cache == 1_163_132_928
    assert card_weight_bytes(shape) == shape.tensor_bytes - 2_312_110_080
    assert shape.tied_bytes == 550_502_400


def test_april_keeps_per_layer_table_on_card_if_cuda_reads_rows(
    tmp_path: Path,
) -> None:
    path = reported_files.gemma4_e4b(tmp_path, table_type=Q8_0)
    april, newest = shape_of_file(path, commit=APRIL), shape_of_file(path)
    table = 42 * 256 * 262144 // 32 * 34
    assert card_weight_bytes(april) - card_weight_bytes(newest) == table
    quantised = reported_files.gemma4_e4b(tmp_path)
    assert shape_of_file(quantised, commit=APRIL) == shape_of_file(quantised)


def test_prediction_block_keeps_no_state_and_is_not_loaded(tmp_path: Path) -> None:
    shape = shape_of_file(reported_files.qwen35_prediction(tmp_path))
    assert shape.state_bytes == 156_893_184
    assert card_weight_bytes(shape) == 2 * 5120 * 64 + 5120 * 17408 // 256 * 144
    assert sum(one.count for one in shape.attention) == 16
    assert any("prediction block (MTP) left out" in note for note in shape.notes)


def test_aprils_loader_refuses_a_prediction_block_it_does_not_know(
    tmp_path: Path,
) -> None:
    path = reported_files.qwen35_prediction(tmp_path)
    assert "prediction block" in shape_of_file(path, commit=APRIL).refusal
    assert shape_of_file(path, commit=PINS["current"].commit).refusal == ""


def test_more_prediction_blocks_than_layers_are_refused(tmp_path: Path) -> None:
    keys = keys_of("llama", block_count=4, nextn_predict_layers=4)
    path = write_gguf(tmp_path / "a.gguf", keys, reported_files.TABLES)
    with pytest.raises(ProvisionError, match="nextn_predict_layers is 4, of 4"):
        shape_of_file(path)


@pytest.mark.parametrize(("number", "known"), [(42, True), (57, False)])
def test_newer_tensor_type_is_sized_by_its_offsets(
    tmp_path: Path, number: int, *, known: bool
) -> None:
    shape = shape_of_file(reported_files.newer_type(tmp_path, number))
    elements = 5120 * 17408
    size = elements // 64 * 18 if known else elements // 32 * 10
    assert card_weight_bytes(shape) == 2 * 5120 * 64 + size
    assert shape.proven is known
    assert any("type 57 is newer" in note for note in shape.notes) is not known


@pytest.mark.parametrize(
    ("pin", "word"), [("april", "tensor type 42 (q2_0)"), ("current", "")]
)
def test_pin_that_does_not_know_a_tensor_type_refuses_the_file(
    tmp_path: Path, pin: str, word: str
) -> None:
    commit = PINS[pin].commit
    path = reported_files.newer_type(tmp_path, 42)
    shape = shape_of_file(path, commit=commit, lists=lists_of(commit, tmp_path))
    assert word in shape.refusal
    assert bool(word) is bool(shape.refusal)


def test_pins_own_source_says_which_architectures_and_types_it_knows(
    tmp_path: Path,
) -> None:
    tree = tmp_path / ("a" * 40)
    for name, text in (
        ("src/llama-arch.cpp", '{ LLM_ARCH_LLAMA, "llama" },\n'),
        ("ggml/include/ggml.h", "GGML_TYPE_COUNT   = 50,\n"),
    ):
        (tree / name).parent.mkdir(parents=True)
        (tree / name).write_text(text)
    lists = lists_of("a" * 40, tmp_path)
    assert lists == PinLists(tensor_types=50, architectures=frozenset({"llama"}))
    path = reported_files.qwen35_27b(tmp_path)
    assert shape_of_file(path, lists=lists).refusal == (
        "it knows no architecture 'qwen35'"
    )


def small(
    path: Path, architecture: str, commit: str = "", /, **more: object
) -> MemoryShape:
    """Eight layers, two key heads of 64, and what an architecture adds or replaces."""
    values: dict[str, object] = {
        "block_count": 8,
        "context_length": 131072,
        "embedding_length": 256,
        "attention__head_count": 8,
        "attention__head_count_kv": 2,
        "attention__key_length": 64,
        "attention__value_length": 64,
        **more,
    }
    table: list[TensorSpec] = [("token_embd.weight", [256, 512], F16)]
    keys = keys_of(
        architecture, **{key: one for key, one in values.items() if one is not None}
    )
    file = write_gguf(path / "small.gguf", keys, table)
    return shape_of_file(file, commit=commit)


KEPT = {
    "ssm__conv_kernel": 4,
    "ssm__inner_size": 512,
    "ssm__state_size": 64,
    "ssm__time_step_rank": 8,
    "ssm__group_count": 2,
}
HYBRID = [0, 0, 0, 2, 0, 0, 0, 2]
LATENT = {
    "attention__key_length": 192,
    "attention__value_length": 128,
    "attention__key_length_mla": 96,
    "attention__value_length_mla": 64,
}


PERIOD_4 = {"attention__sliding_window": 128, "attention__sliding_window_pattern": 4}
PRINTED_BY_APRIL = [
    ("llama", {}, 272.0),
    ("llama", {"attention__sliding_window": 4096}, 272.0),
    ("gpt-oss", {"attention__sliding_window": 128}, 137.5),
    ("gpt-oss", PERIOD_4, 70.25),
    ("gemma2", {"attention__sliding_window": 4096}, 145.0),
    ("gemma2", {}, 145.0),
    ("gemma3", {"block_count": 12, "attention__sliding_window": 1024}, 75.5),
    ("gemma3", {"block_count": 12}, 408.0),
    ("llama4", {}, 93.5),
    ("smallthinker", {"attention__sliding_window": 128}, 81.5),
    ("afmoe", {"attention__sliding_window": 2048}, 75.5),
    (
        "exaone-moe",
        {"attention__sliding_window": 128, "nextn_predict_layers": 1},
        70.25,
    ),
    ("glm4moe", {"nextn_predict_layers": 1}, 238.0),
    ("deepseek2", {"attention__head_count_kv": 1, **LATENT}, 204.0),
    ("mamba", {"attention__head_count": 0, **KEPT, "ssm__group_count": None}, 1.05),
    ("mamba2", {"attention__head_count": 0, **KEPT}, 1.07),
    ("jamba", {"attention__head_count_kv": HYBRID, **KEPT}, 68.79),
    ("plamo2", {"attention__head_count_kv": [0, 2] * 4, **KEPT}, 136.54),
    ("qwen35", KEPT, 68.80),
    ("qwen3next", KEPT, 68.80),
    ("lfm2", {"attention__head_count_kv": HYBRID, "shortconv__l_cache": 3}, 68.01),
]


@pytest.mark.parametrize(("architecture", "more", "printed_mib"), PRINTED_BY_APRIL)
def test_small_models_keep_what_llama_fit_params_of_april_printed(
    tmp_path: Path, architecture: str, more: dict[str, object], printed_mib: float
) -> None:
    """131072 tokens, q8_0: `size = … MiB` of its caches and states."""
    shape = small(tmp_path, architecture, APRIL, **more)
    found = memory_need(
        shape, MemorySettings(window_in_f16=True), context_tokens=131072
    )
    assert (found.cache + found.state) / MIB == pytest.approx(printed_mib, abs=0.01)


@pytest.mark.parametrize(
    ("more", "widths"),
    [
        ({"attention__head_count_kv": None}, (512, 512)),
        ({"attention__key_length": None}, (64, 128)),
        ({"attention__value_length": 32}, (128, 64)),
    ],
)
def test_lengths_that_a_file_does_not_name_follow_from_others(
    tmp_path: Path, more: dict[str, object], widths: tuple[int, int]
) -> None:
    (layers,) = small(tmp_path, "llama", **more).attention
    assert (layers.key_width, layers.value_width) == widths


def test_layers_without_key_heads_keep_nothing(tmp_path: Path) -> None:
    heads = [2, 0, 2, 2, 0, 4, 2, 2]
    shape = small(tmp_path, "deci", attention__head_count_kv=heads)
    counts = {one.key_width: one.count for one in shape.attention}
    assert counts == {128: 5, 256: 1}


def test_window_of_nothing_keeps_one_micro_batch(tmp_path: Path) -> None:
    shape = small(tmp_path, "gemma2", attention__sliding_window=0)
    assert [one.window_tokens for one in shape.attention] == [None, 0]
    full = memory_need(shape, MemorySettings(), context_tokens=131072).cache
    assert full == 4 * 256 * (131072 + 512) * 34 // 32


def test_rwkv_keeps_a_state_of_its_head_size_and_no_cache(tmp_path: Path) -> None:
    shape = small(tmp_path, "rwkv7", wkv__head_size=64, attention__head_count=0)
    assert shape.state_bytes == 4 * 8 * (2 * 256 + 256 * 64)
    assert memory_need(shape, MemorySettings(), context_tokens=4096).cache == 0


def test_embedding_model_keeps_no_cache(tmp_path: Path) -> None:
    assert small(tmp_path, "bert").attention == ()


@pytest.mark.parametrize("architecture", ["falcon", "cohere2"])
def test_architecture_without_comparison_is_called_unproven(
    tmp_path: Path, architecture: str
) -> None:
    shape = small(tmp_path, architecture, attention__sliding_window=128)
    assert not shape.proven
    assert "unproven for this architecture" in shape.notes[0]


def test_unknown_architecture_is_named_with_its_odd_keys(
    tmp_path: Path,
) -> None:
    shape = small(
        tmp_path, "deepseek9", attention__sliding_window=128, indexer__top_k=8
    )
    assert "is not among those whose loader was read" in shape.notes[0]
    assert "deepseek9.attention.sliding_window" in shape.notes[1]
    assert "deepseek9.indexer.top_k" in shape.notes[1]


@pytest.mark.parametrize(
    ("architecture", "more", "word"),
    [
        ("llama", {"block_count": None}, "llama.block_count"),
        ("llama", {"block_count": 0}, "block_count is 0"),
        ("llama", {"block_count": 2**31}, "at most 512"),
        ("llama", {"context_length": None}, "llama.context_length"),
        ("llama", {"embedding_length": "wide"}, "llama.embedding_length"),
        ("llama", {"attention__head_count_kv": [2, 2]}, "2 entries for 8 layers"),
        ("gemma4", {"attention__sliding_window": 512}, "sliding_window_pattern"),
        ("gpt-oss", {}, "gpt-oss.attention.sliding_window"),
        ("mamba", {}, "mamba.ssm.conv_kernel"),
    ],
)
def test_number_that_the_file_lacks_is_named(
    tmp_path: Path, architecture: str, more: dict[str, object], word: str
) -> None:
    with pytest.raises(ProvisionError) as caught:
        small(tmp_path, architecture, **more)
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)
