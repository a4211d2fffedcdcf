"""Weights that are not made up: facts are recalled, and the file is known by its bytes."""

import json
from pathlib import Path

import pytest
from tests.campaigns.conftest import record_lines
from tests.campaigns.context.conftest import Run

from llamatrix.project import Project
from llamatrix.provision.integrity import shown_sha256
from llamatrix.provision.synthetic.spec import Scale, SyntheticSpec
from llamatrix.provision.synthetic.write import write

_MATRIX = """
[models.mine]
name = "Mine"
architecture = "Dense"
quant = "Q4_K"
active_params = "1 M"
repository = "me/mine"
file = "mine.gguf"
template = "google-gemma-4-31B-it.jinja"
ctx_size = 4096
temp = 1.0

[profiles.mine]
about = "a file of one's own on a CPU"
pins = ["current"]
builds = ["cpu"]
models = ["mine"]
weights = "hub"
measure = ["speed"]
sweep = "smoke"
server = "smoke"
"""


@pytest.fixture
def mine(served: Project, tmp_path: Path) -> Path:
    """A folder with the file of the model `mine`, which the matrix names."""
    with served.matrix_file.open("a") as matrix:
        matrix.write(_MATRIX)
    path = tmp_path / "own" / "mine.gguf"
    path.parent.mkdir()
    spec = SyntheticSpec(model="gemma4-31b", scale=Scale.TINY, chat_template="")
    write(spec, path, on_bytes=lambda _: None)
    return path


def test_planted_facts_are_recalled_and_the_record_names_the_file(
    served: Project, search: Run, mine: Path
) -> None:
    asked = ("context", "--profile", "mine", "--weights-dir", str(mine.parent))
    ended = search(*asked, "--most", "4096")
    assert ended.returncode == 0, ended.stderr
    assert "| 3 of 3" in ended.stdout
    assert "recall at 4,096" in ended.stdout
    (line,) = record_lines(served)
    weights = json.loads(line)["weights"]
    assert weights["sha256"] == shown_sha256(mine)
    assert weights["weights_pin"] == "own file"
    again = search(*asked, "--most", "4096")
    assert "reused from records" in again.stderr


def test_forgotten_facts_bound_the_answer(search: Run, mine: Path) -> None:
    ended = search(
        *("context", "--profile", "mine", "--weights-dir", str(mine.parent)),
        *("--most", "4096", "--json"),
        forgets=["cobalt-heron"],
    )
    told = json.loads(ended.stdout)
    assert (told["largest_context_tokens"], told["limit"]) == (None, "recall")


@pytest.mark.usefixtures("mine")
def test_a_file_that_nobody_has_is_told_with_the_remedy(search: Run) -> None:
    ended = search("context", "--profile", "mine")
    assert ended.returncode == 3
    assert "--weights-dir" in ended.stderr
    assert "Traceback" not in ended.stderr
