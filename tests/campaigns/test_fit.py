"""`invoke fit`, as a user runs it: no GPU, no download, a clear answer for every card."""

import json
import stat
from pathlib import Path

import msgspec
import pytest
from tests.campaigns.conftest import RunInvoke

from llamatrix.plan.cell import Cell
from llamatrix.project import Project
from llamatrix.provision.build import manifest_of
from llamatrix.provision.synthetic.spec import Scale, SyntheticSpec
from llamatrix.provision.synthetic.write import write


@pytest.fixture
def fit_params(project: Project, cells: tuple[Cell, ...]) -> Project:
    """A CPU build of `current` whose llama-fit-params prints fixed figures."""
    folder = project.cache / "builds" / "current-cpu-0000"
    program = folder / "bin" / "llama-fit-params"
    program.parent.mkdir(parents=True)
    program.write_text(
        '#!/bin/sh\nif [ "$1" = --help ]; then echo "--fit-print [on|off]"; exit; fi\n'
        'test -f "$2" && echo "Host 16798 1237 515"\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    manifest = msgspec.json.encode(manifest_of(cells[0]))
    (folder / "build.json").write_bytes(manifest)
    return project


@pytest.mark.usefixtures("fit_params")
def test_both_figures_and_their_difference_are_shown(run_invoke: RunInvoke) -> None:
    ended = run_invoke("fit", "--model", "qwen35-27b", "--vram", "24GiB")
    assert ended.returncode == 0, ended.stderr
    assert "192,256" in ended.stdout
    assert "16,798.0 / 16,798 (+0.0)" in ended.stdout
    assert "1,237.6 / 1,237 (+0.6)" in ended.stdout
    assert "682 MiB" in ended.stdout
    assert "130,672" in ended.stdout
    assert "april is not built for the CPU" in ended.stdout


@pytest.mark.usefixtures("project")
def test_without_a_build_the_prediction_stands_and_says_so(
    run_invoke: RunInvoke,
) -> None:
    ended = run_invoke("fit", "--model", "gemma4-31b", "--vram", "24GiB", "--json")
    assert ended.returncode == 0, ended.stderr
    april, current = json.loads(ended.stdout)
    assert (april["pin"], current["pin"]) == ("april", "current")
    assert april["largest_context_tokens"] < current["largest_context_tokens"]
    assert current["cross_checks"] == []
    assert "invoke build" in current["not_checked"]
    contexts = [one["context_tokens"] for one in current["forecasts"]]
    assert contexts == [8192, 32768, 65336, 65536, 131072, 262144]


@pytest.mark.usefixtures("project")
def test_a_card_that_is_too_small_is_a_clear_answer(run_invoke: RunInvoke) -> None:
    ended = run_invoke("fit", "--model", "qwen35-27b", "--vram", "16GiB")
    assert ended.returncode == 0
    assert "does not fit: 17.2 GiB at the smallest" in ended.stdout
    assert "yes" not in ended.stdout


@pytest.mark.usefixtures("project")
def test_all_models_of_the_profile_are_told(run_invoke: RunInvoke) -> None:
    ended = run_invoke("fit", "--profile", "published", "--json")
    found = json.loads(ended.stdout)
    assert [one["model"] for one in found] == [
        *("qwen35-27b", "qwen35-35b-a3b", "gemma4-26b-a4b", "gemma4-31b"),
    ]


@pytest.mark.usefixtures("project")
def test_a_file_of_ones_own_is_read(run_invoke: RunInvoke, tmp_path: Path) -> None:
    path = tmp_path / "own.gguf"
    spec = SyntheticSpec(model="gemma4-31b", scale=Scale.TINY, chat_template="")
    write(spec, path, on_bytes=lambda _: None)
    ended = run_invoke("fit", "--model", str(path), "--vram", "1GiB", "--json")
    assert ended.returncode == 0, ended.stderr
    _, current = json.loads(ended.stdout)
    assert (current["model"], current["largest_context_tokens"]) == ("own.gguf", 262144)


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("flag", "value", "word"),
    [
        ("--model", "qwen35-27", "did you mean 'qwen35-27b'"),
        ("--vram", "24 gigs", "write for example 24GiB"),
        ("--profile", "publishd", "did you mean 'published'"),
    ],
)
def test_a_wrong_word_is_exit_code_2_with_the_remedy(
    run_invoke: RunInvoke, flag: str, value: str, word: str
) -> None:
    ended = run_invoke("fit", flag, value)
    assert ended.returncode == 2
    assert word in ended.stderr
    assert "Traceback" not in ended.stderr
