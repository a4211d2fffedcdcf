"""A GGUF of the user's: by path, or as an entry with nothing but its file."""

import json
import os
from pathlib import Path

import pytest
from tests.commands.conftest import MODEL, RunInvoke, record_lines
from tests.mini_gguf import F16, Q8_0, Metadata, gguf_bytes, write_gguf
from tests.provision.weights.hub_stub import HubStub

from llamatrix.commands.add import add
from llamatrix.commands.flags import AddFlags
from llamatrix.config.context import load_context, with_model
from llamatrix.config.load import load_matrix
from llamatrix.errors import MatrixError
from llamatrix.project import Project

_METADATA: Metadata = {"general.architecture": "llama", "llama.context_length": 8192}
_TENSORS = [("token_embd.weight", (256, 64), Q8_0)]
_CELL = "speed/my-model.local/current/cpu"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "a folder of mine"
    folder.mkdir()
    return write_gguf(folder / "My-Model.gguf", _METADATA, _TENSORS)


def add_entry(project: Project, file: Path, key: str = "my-model") -> None:
    with project.matrix_file.open("a") as matrix:
        matrix.write(f'\n[models.{key}]\nfile = "{file}"\n')


def test_path_is_measured_in_place_of_the_profile_s_models(
    stocked: Project, run_invoke: RunInvoke, file: Path
) -> None:
    ended = run_invoke("bench", "--model", str(file), "--pin", "current")
    assert ended.returncode == 0, ended.stderr
    records = [json.loads(line) for line in record_lines(stocked)]
    assert {record["cell"]["id"] for record in records} == {_CELL}
    assert records[0]["cell"]["quant"] == "Q8_0"
    weights = records[0]["weights"]
    assert (weights["kind"], weights["file"]) == ("local", "My-Model.gguf")
    assert str(file.parent) not in "".join(record_lines(stocked))
    again = run_invoke("bench", "--model", str(file))
    assert "nothing measured: all 8 tests reused" in again.stderr


def test_entry_of_the_same_file_is_the_model_of_a_path(
    stocked: Project, file: Path
) -> None:
    add_entry(stocked, file, key="mine")
    matrix = load_context("smoke", project=stocked).matrix
    assert with_model(matrix, str(file), flag="--model") == (matrix, "mine")


def test_changed_file_has_another_digest(
    stocked: Project, run_invoke: RunInvoke, file: Path
) -> None:
    def digest() -> str:
        ended = run_invoke("plan", "--json", "--cells", "speed/my-model*")
        return str(json.loads(ended.stdout)[0]["digest"])

    add_entry(stocked, file)
    text = stocked.matrix_file.read_text()
    smoke = f'models = ["{MODEL}", '
    stocked.matrix_file.write_text(text.replace(smoke, f'{smoke}"my-model", ', 1))
    before = digest()
    write_gguf(file, {**_METADATA, "general.name": "another"}, _TENSORS)
    assert digest() != before


def test_missing_file_is_named_by_its_entry(
    stocked: Project, run_invoke: RunInvoke, file: Path
) -> None:
    add_entry(stocked, file)
    file.unlink()
    ended = run_invoke("bench", "--model", "my-model")
    assert ended.returncode == 3
    assert f"models.my-model.file: {file}: no such file" in ended.stderr
    assert run_invoke("plan", "--profile", "smoke").returncode == 0


def test_unknown_path_names_the_nearest_file(stocked: Project, file: Path) -> None:
    with pytest.raises(MatrixError, match=r"did you mean '.*My-Model\.gguf'"):
        load_context("smoke", model=str(file.parent / "My-Mode.gguf"), project=stocked)
    with pytest.raises(MatrixError, match="neither a model nor a file; did you mean"):
        load_context("smoke", model="qwen35-28b", project=stocked)


def test_added_entry_is_complete_and_all_else_is_kept(
    project: Project, file: Path
) -> None:
    before = project.matrix_file.read_bytes()
    assert "[models.my-model]" in add(AddFlags(file=str(file), dry_run=True))
    assert project.matrix_file.read_bytes() == before
    text = add(AddFlags(file=str(file)))
    assert "`invoke bench --model my-model`" in text
    assert project.matrix_file.read_bytes().startswith(before)
    model = load_matrix(project.matrix_file).models["my-model"]
    assert (model.quant, model.ctx_size, model.architecture) == ("Q8_0", 8192, "Dense")
    with pytest.raises(
        MatrixError, match=r"is models\.my-model of matrix\.toml already"
    ):
        add(AddFlags(file=str(file)))


def test_sampling_settings_come_from_the_file(project: Project, file: Path) -> None:
    sampling = {"general.sampling.temp": 0.6, "general.sampling.top_k": 20}
    write_gguf(file, {**_METADATA, **sampling}, _TENSORS)
    add(AddFlags(file=str(file), name="mine"))
    model = load_matrix(project.matrix_file).models["mine"]
    assert (model.temp, model.top_k) == (0.6, 20)


def test_hub_file_is_added_by_its_header_alone(hub: HubStub, asking: Project) -> None:
    content = gguf_bytes(_METADATA, [("token_embd.weight", (256, 64), F16)])
    hub.publish(content, repository="a/b-GGUF", file="b-f16.gguf")
    text = add(AddFlags(file="a/b-GGUF/b-f16.gguf"))
    assert "`invoke lock` pins the file" in text
    model = load_matrix(asking.matrix_file).models["b-f16"]
    assert (model.repository, model.quant) == ("a/b-GGUF", "f16")


def test_name_that_is_neither_file_nor_hub_name_is_refused(project: Project) -> None:
    with pytest.raises(MatrixError, match="no such file; a file on the hub is written"):
        add(AddFlags(file="nothing.gguf"))
    assert project.matrix_file.exists()


def test_path_that_is_not_utf_8_is_refused(project: Project, file: Path) -> None:
    odd = file.rename(file.with_name(os.fsdecode(b"m\xff.gguf")))
    before = project.matrix_file.read_bytes()
    with pytest.raises(MatrixError, match="is not UTF-8"):
        add(AddFlags(file=str(odd)))
    with pytest.raises(MatrixError, match=r"--model .* is not UTF-8"):
        load_context("smoke", model=str(odd), project=project)
    assert project.matrix_file.read_bytes() == before


def test_two_files_are_the_arms_of_a_comparison(
    stocked: Project, run_invoke: RunInvoke, file: Path
) -> None:
    other = write_gguf(file.with_name("Other-F16.gguf"), _METADATA, _TENSORS)
    arms = ("--baseline", f"model:{file}", "--candidate", f"model:{other}")
    ended = run_invoke("regress", *arms, "--dry-run")
    assert ended.returncode == 0, ended.stderr
    case = "speed/my-model.local..other-f16.local/current/cpu/pp512: to compare"
    assert case in ended.stderr
    assert stocked.records.exists() is False
