"""What an entry leaves open follows from the header of its file."""

from pathlib import Path

import pytest
from tests.mini_gguf import F16, F32, Q4_K, Q8_0, Metadata, write_gguf
from tests.provision.weights.reported_files import TABLES, keys_of

from llamatrix.config.matrix import Model
from llamatrix.errors import ProvisionError
from llamatrix.provision.weights.local_model import complete

_DENSE: Metadata = {"general.architecture": "llama", "llama.context_length": 8192}
_MOE: Metadata = {
    "general.architecture": "qwen3moe",
    "qwen3moe.context_length": 40960,
    "qwen3moe.expert_count": 8,
    "qwen3moe.expert_used_count": 2,
}


def test_dense_model_is_completed_from_its_header(tmp_path: Path) -> None:
    tensors = [
        ("token_embd.weight", (256, 4096), Q8_0),
        ("output_norm.weight", (256,), F32),
    ]
    path = write_gguf(tmp_path / "Some-Model.gguf", _DENSE, tensors)
    assert complete(Model(file=str(path)), path) == Model(
        file=str(path),
        name="Some-Model",
        architecture="Dense",
        quant="Q8_0",
        active_params="1.05 M",
        ctx_size=8192,
    )


def test_experts_that_a_token_is_not_sent_to_are_not_active(tmp_path: Path) -> None:
    tensors = [
        ("token_embd.weight", (1024, 1000), F16),
        ("blk.0.ffn_up_exps.weight", (1024, 1024, 8), Q4_K),
    ]
    path = write_gguf(tmp_path / "moe.gguf", _MOE, tensors)
    model = complete(Model(file=str(path)), path)
    assert (model.architecture, model.active_params) == ("MoE", "~3.1 M")
    assert model.quant == "Q4_K"


@pytest.mark.parametrize(
    ("stem", "quant"),
    [
        ("Qwen3.5-27B-UD-Q4_K_XL", "Q4_K_XL"),
        ("llama-3.2-1b-instruct-q4_k_m", "q4_k_m"),
        ("model.IQ3_M", "IQ3_M"),
        ("gpt-oss-20b-MXFP4", "MXFP4"),
        ("Q-model-F16-v2", "F16"),  # the type of its tensors: no quant ends the name
    ],
)
def test_quant_is_the_name_s_else_that_of_most_bytes(
    tmp_path: Path, stem: str, quant: str
) -> None:
    tensors = [("token_embd.weight", (256, 64), F16)]
    path = write_gguf(tmp_path / f"{stem}.gguf", _DENSE, tensors)
    assert complete(Model(file=str(path)), path).quant == quant


def test_values_of_the_entry_are_kept(tmp_path: Path) -> None:
    path = write_gguf(
        tmp_path / "x.gguf", _DENSE, [("token_embd.weight", (256, 64), F16)]
    )
    written = Model(
        file=str(path),
        name="mine",
        quant="4-bit",
        active_params="1 B",
        architecture="MoE",
        ctx_size=512,
    )
    assert complete(written, path) == written


def test_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_text("<!DOCTYPE html>")
    with pytest.raises(ProvisionError, match="a web page, saved as a file"):
        complete(Model(file=str(path)), path)


def trained_on(folder: Path, *, tokens: int) -> Path:
    keys = keys_of(
        "llama",
        block_count=8,
        context_length=tokens,
        embedding_length=256,
        attention__head_count=8,
        attention__head_count_kv=2,
        attention__key_length=64,
        attention__value_length=64,
    )
    return write_gguf(folder / "long.gguf", keys, TABLES)


def test_context_is_capped_by_this_machines_memory_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cache of kilobytes for each of 2^31 tokens fits nowhere."""
    path = trained_on(tmp_path, tokens=2**31)
    context_tokens = complete(Model(file=str(path)), path).ctx_size
    assert 0 < context_tokens < 2**31
    assert context_tokens % 256 == 0
    assert f"{context_tokens:,} of the 2,147,483,648 tokens" in capsys.readouterr().err
    assert complete(Model(file=str(path), ctx_size=512), path).ctx_size == 512


def test_context_that_fits_is_the_trained_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = trained_on(tmp_path, tokens=1000)
    assert complete(Model(file=str(path)), path).ctx_size == 1000
    assert capsys.readouterr().err == ""
