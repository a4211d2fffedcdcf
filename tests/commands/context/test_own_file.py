"""Weights that are not synthetic: facts are recalled, and the file is known by its bytes."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.commands.conftest import record_lines
from tests.commands.context.conftest import Run
from tests.invoking import invoked_apart
from tests.mini_gguf import write_gguf
from tests.provision.weights.reported_files import keys_of
from tests.shipped import FAKES

from llamatrix.project import Project
from llamatrix.provision.integrity import shown_sha256
from llamatrix.provision.weights.synthetic.models import Scale, SyntheticSpec
from llamatrix.provision.weights.synthetic.write import write

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
max_context = 4096
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


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder of programs, which can be a pin."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name, before, fake in (
        ("llama-bench", '[ "$1" = --help ] && exit', "llama_bench.py"),
        ("llama-server", "", "context_server.py"),
    ):
        path = folder / name
        run = f'exec "{sys.executable}" "{FAKES / fake}" "$@"'
        path.write_text(f"#!/bin/sh\n{before}\n{run}\n")
        path.chmod(0o755)
    return folder


@pytest.mark.parametrize("cluster", [(), ("--cluster", "local")], ids=["here", "there"])
def test_all_searches_with_the_model_pin_and_folder_that_it_is_given(
    served: Project,
    environment: dict[str, str],
    wishes_of: Callable[..., dict[str, str]],
    mine: Path,
    programs: Path,
    cluster: tuple[str, ...],
) -> None:
    file = shutil.copy(mine, mine.parent.with_name("Given.gguf"))
    for given, searched in (
        (("--weights-dir", mine.parent, "--pin", programs), "mine/bin-programs"),
        (("--model", file), "given.local/current"),
    ):
        asked = ("all", "--profile", "mine", *map(str, given), *cluster)
        ended = invoked_apart(*asked, env={**environment, **wishes_of()})
        assert ended.returncode == 0, ended.stderr
        assert list(served.records.glob(f"*/context/{searched}/cpu.jsonl"))


def test_planted_facts_are_recalled_and_the_record_names_the_file(
    served: Project, search: Run, mine: Path
) -> None:
    asked = ("context", "--profile", "mine", "--weights-dir", str(mine.parent))
    ended = search(*asked, "--max-context", "4096")
    assert ended.returncode == 0, ended.stderr
    assert "| 3 of 3" in ended.stdout
    assert "recall at 4,096" in ended.stdout
    (line,) = record_lines(served)
    weights = json.loads(line)["weights"]
    assert weights["sha256"] == shown_sha256(mine)
    assert weights["weights_pin"] == "own file"
    again = search(*asked, "--max-context", "4096")
    assert "reused from records" in again.stderr


def test_forgotten_facts_limit_the_usable_context(search: Run, mine: Path) -> None:
    ended = search(
        *("context", "--profile", "mine", "--weights-dir", str(mine.parent)),
        *("--max-context", "4096", "--json"),
        forgets=["cobalt-heron"],
    )
    told = json.loads(ended.stdout)
    assert (told["largest_context_tokens"], told["limit"]) == (None, "recall")


@pytest.mark.usefixtures("mine")
def test_missing_file_is_reported_with_the_remedy(search: Run) -> None:
    ended = search("context", "--profile", "mine")
    assert ended.returncode == 3
    assert "--weights-dir" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_file_that_the_pin_does_not_load_is_refused_before_it_is_served(
    search: Run, mine: Path
) -> None:
    keys = keys_of(
        "llama",
        block_count=1,
        context_length=4096,
        embedding_length=64,
        attention__head_count=1,
    )
    write_gguf(
        mine, keys, [("token_embd.weight", [64, 64], 57)], block_sizes={57: (1, 1)}
    )
    asked = ("context", "--profile", "mine", "--weights-dir", str(mine.parent))
    ended = search(*asked)
    assert ended.returncode == 5
    *_, last = ended.stderr.strip().splitlines()
    assert "mine.gguf: current refuses this file: it knows no tensor type 57" in last


@pytest.mark.parametrize("vram", ["0GiB", "0", "-1GiB", "9999TiB"])
def test_a_card_of_no_size_is_refused_in_one_line(search: Run, vram: str) -> None:
    ended = search("context", "--profile", "smoke", "--vram", vram)
    assert ended.returncode == 2
    assert len(ended.stderr.strip().splitlines()) == 1
    assert "--vram: " in ended.stderr
