"""A GGUF of the user's: by path, or as an entry with nothing but its file."""

import json
from pathlib import Path

import pytest
from tests.commands.conftest import MODEL, RunInvoke, record_lines
from tests.mini_gguf import Q8_0, Metadata, write_gguf

from llamatrix.config.context import load_context, with_model
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
