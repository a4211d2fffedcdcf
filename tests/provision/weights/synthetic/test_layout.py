import subprocess
import sys

import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from llamatrix.errors import ProvisionError
from llamatrix.provision.weights.synthetic.layout import Layout, layout
from llamatrix.provision.weights.synthetic.models import MODELS, Scale, SyntheticSpec
from llamatrix.provision.weights.synthetic.tensors import BLOCKS, GgmlType, Tensor

_GIB = 2**30


def _layout(model: str, scale: Scale) -> Layout:
    return layout(SyntheticSpec(model=model, scale=scale, chat_template=""))


@pytest.mark.parametrize(
    ("model", "tensors", "parameters", "published_gib"),
    [
        ("qwen35-27b", 851, 26_895_998_464, "16.40"),
        ("qwen35-35b-a3b", 733, 34_660_610_688, "20.70"),
        ("gemma4-26b-a4b", 658, 25_233_142_046, "15.95"),
        ("gemma4-31b", 833, 30_697_345_596, "17.46"),
    ],
)
def test_full_model_has_the_published_tensors_parameters_and_size(
    model: str, tensors: int, parameters: int, published_gib: str
) -> None:
    plan = _layout(model, Scale.FULL)
    assert len(plan.tensors) == tensors
    assert _parameters(plan) == parameters
    assert f"{plan.tensor_bytes / _GIB:.2f}" == published_gib


@pytest.mark.parametrize(
    ("model", "more", "parameters"),
    [
        ("qwen35-27b", 15, 27_320_697_856),
        ("qwen35-35b-a3b", 20, 35_505_251_456),
    ],
)
def test_prediction_head_adds_one_block_and_changes_no_other_tensor(
    model: str, more: int, parameters: int
) -> None:
    plain = SyntheticSpec(model=model, scale=Scale.FULL, chat_template="")
    with_head = SyntheticSpec(
        model=model, scale=Scale.FULL, chat_template="", head=True
    )
    plan = layout(with_head)
    assert _parameters(plan) == parameters
    assert len(plan.tensors) == len(layout(plain).tensors) + more
    assert set(layout(plain).tensors) < set(plan.tensors)
    assert plain.digest() != with_head.digest()


def test_assistant_of_unknown_shape_is_refused() -> None:
    with pytest.raises(
        ProvisionError, match="'gemma4-31b': the shape of its assistant"
    ):
        SyntheticSpec(model="gemma4-31b", scale=Scale.TINY, chat_template="", head=True)


@pytest.mark.parametrize("model", MODELS)
def test_tiny_model_has_the_same_kinds_of_tensors_in_a_few_megabytes(
    model: str,
) -> None:
    tiny, full = (_layout(model, scale) for scale in (Scale.TINY, Scale.FULL))
    assert _roles(tiny) == _roles(full)
    assert tiny.tensor_bytes < 9e6


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("scale", Scale)
def test_no_two_tensors_share_a_name(model: str, scale: Scale) -> None:
    names = [tensor.name for tensor in _layout(model, scale).tensors]
    assert len(set(names)) == len(names)


def test_block_sizes_are_those_of_ggml() -> None:
    for kind in GgmlType:
        assert BLOCKS[kind] == GGML_QUANT_SIZES[GGMLQuantizationType[kind]]


def test_row_that_is_no_multiple_of_the_block_is_refused() -> None:
    with pytest.raises(ValueError, match="rows of 704 in Q4_K"):
        Tensor(name="x", shape=(704, 2), type=GgmlType.Q4_K)


def test_unknown_model_is_refused_with_the_nearest_known_name() -> None:
    with pytest.raises(ProvisionError, match=r"'gemma4-31'.*did you mean 'gemma4-31b'"):
        _layout("gemma4-31", Scale.TINY)


def test_planning_imports_neither_numpy_nor_gguf() -> None:
    program = (
        "import sys; from llamatrix.provision.weights.synthetic import layout, write;"
        "print(sorted({'numpy', 'gguf'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def _parameters(plan: Layout) -> int:
    return sum(tensor.elements for tensor in plan.tensors)


def _roles(plan: Layout) -> set[str]:
    return {".".join(t.name.split(".")[2:]) or t.name for t in plan.tensors}
