"""Published weights in serve, bench-self and regress: a folder of one's own, or the hub."""

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.commands.conftest import (
    CONTENT,
    MODEL,
    OTHER_CONTENT,
    RunInvoke,
    record_lines,
)
from tests.provision.weights.hub_stub import HubStub, sha256
from tests.shipped import FAKES, ROOT

from llamatrix.config.load import load_matrix
from llamatrix.config.lock import load_lock
from llamatrix.project import Project

Serve = Callable[..., tuple[int, str]]
REGRESS = (
    *("regress", "--profile", "hub", "--metric", "tg", "--max-background-load", "100"),
    *("--baseline", "current", "--candidate", "current"),
)

_DRAFTS = """
[models.main]
file = "{folder}/main.gguf"

[models.small]
file = "{folder}/small.gguf"

[drafts.local]
type = "draft-simple"
model = "small"

[drafts.published]
type = "draft-simple"
model = "{model}"

[sweeps.drafting]
n_prompt = [256]
n_gen = [64]
drafts = ["local", "published"]
repetitions = 2
cache_type_k = "q8_0"
cache_type_v = "q8_0"
flash_attn = true
batch_size = 2048
ubatch_size = 512
timeout_s = 120

[profiles.drafting]
about = "drafts from a file of the user's"
pins = ["current"]
builds = ["cpu"]
models = ["main"]
weights = "hub"
measure = ["serve-speed"]
sweep = "drafting"
"""


@pytest.fixture
def own(asking: Project, tmp_path: Path) -> Path:
    """A folder that has the model's published file."""
    folder = tmp_path / "own"
    folder.mkdir()
    file = load_matrix(asking.matrix_file).models[MODEL].file
    (folder / file).write_bytes(CONTENT)
    return folder


@pytest.fixture
def argv_file(asking: Project) -> Path:
    """What the last server was started with; the build's llama-server is a fake."""
    (program,) = (asking.cache / "builds").rglob("llama-server")
    commit = load_lock(asking.lock_file).pins["current"].commit[:9]
    argv_file = asking.cache / "argv"
    program.write_text(
        f"#!/bin/sh\nexport FAKE_COMMIT={commit}\n"
        f'case "$*" in *--model*) echo "$*" > {argv_file};; esac\n'
        f'exec "{sys.executable}" "{FAKES / "llama_server.py"}" "$@"\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return argv_file


@pytest.fixture
def serve(
    asking: Project, invoke_environment: dict[str, str], argv_file: Path
) -> Serve:
    """Serve the model by a fake until it is up; its exit code and all it said."""
    matrix = asking.matrix_file.read_text()
    asking.matrix_file.write_text(
        matrix.replace('chat_template_file = "qwen35.jinja"\n', "")
    )

    def run(*flags: str) -> tuple[int, str]:
        with subprocess.Popen(
            [sys.executable, "-m", "invoke", "serve", "--profile", "hub", *flags],
            cwd=ROOT,
            env=invoke_environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            assert process.stdout
            said = []
            for line in process.stdout:
                said.append(line)
                if line.startswith("Ctrl-C"):
                    os.kill(process.pid, signal.SIGINT)
        if argv_file.exists():
            said.append(argv_file.read_text())
        return process.returncode, "".join(said)

    return run


def test_local_file_is_served_in_place(
    asking: Project, serve: Serve, own: Path
) -> None:
    before = asking.lock_file.read_bytes()
    code, said = serve("--weights-dir", str(own))
    assert code == 0, said
    assert f"--model {own}/" in said
    assert asking.lock_file.read_bytes() == before


def test_served_weights_are_resolved_by_the_hub_and_locked(
    hub: HubStub, asking: Project, serve: Serve
) -> None:
    code, said = serve()
    assert code == 0, said
    assert f"weights.{MODEL}: resolved here" in said
    assert load_lock(asking.lock_file).weights[MODEL].sha256 == sha256(CONTENT)
    assert len(hub.fetched) == 1


@pytest.mark.usefixtures("asking")
def test_serving_without_hub_and_file_names_the_remedy(serve: Serve) -> None:
    code, said = serve()
    assert code == 3
    assert "--weights-dir" in said
    assert "Traceback" not in said


def test_bench_self_measures_a_local_file_and_leaves_it(
    asking: Project, run_invoke: RunInvoke, own: Path
) -> None:
    ended = run_invoke("bench-self", "--profile", "hub", "--weights-dir", str(own))
    assert ended.returncode == 0, ended.stderr
    pins = {json.loads(line)["weights"]["weights_pin"] for line in record_lines(asking)}
    assert pins == {"own file"}
    assert [path.read_bytes() for path in own.iterdir()] == [CONTENT]


def regress_weights(project: Project) -> set[str]:
    paths = (project.reports / "regress").rglob("*.jsonl")
    lines = [line for path in paths for line in path.read_text().splitlines()]
    return {json.loads(line)["weights"]["weights_pin"] for line in lines}


def test_regress_runs_pairs_on_a_local_file(
    asking: Project, run_invoke: RunInvoke, own: Path
) -> None:
    ended = run_invoke(*REGRESS, "--weights-dir", str(own), noise=True)
    assert ended.returncode == 0, ended.stderr
    assert regress_weights(asking) == {"own file"}
    (path,) = own.iterdir()
    path.write_bytes(OTHER_CONTENT)
    again = run_invoke(*REGRESS, "--weights-dir", str(own), noise=True)
    assert "nothing measured" not in again.stderr, "other bytes are another comparison"


def test_pairs_on_published_weights_are_resolved_once(
    hub: HubStub, asking: Project, run_invoke: RunInvoke
) -> None:
    assert run_invoke(*REGRESS, "--dry-run").returncode == 0
    assert hub.asked == []
    ended = run_invoke(*REGRESS, noise=True)
    assert ended.returncode == 0, ended.stderr
    assert regress_weights(asking) == {"resolved here"}
    asked = len(hub.asked)
    assert "nothing measured" in run_invoke(*REGRESS).stderr
    assert len(hub.asked) == asked


@pytest.mark.parametrize("draft", ["local", "published"])
def test_a_draft_in_a_folder_of_ones_own_is_known_by_its_bytes(
    asking: Project, run_invoke: RunInvoke, argv_file: Path, own: Path, draft: str
) -> None:
    (published,) = own.iterdir()
    file = published if draft == "published" else own / "small.gguf"
    (own / "main.gguf").write_bytes(CONTENT)
    with asking.matrix_file.open("a") as matrix:
        matrix.write(_DRAFTS.format(folder=own, model=MODEL))
    for content in (CONTENT, OTHER_CONTENT):
        file.write_bytes(content)
        ended = run_invoke(
            *("bench", "--profile", "drafting", "--cells", f"*/{draft}"),
            *("--weights-dir", str(own)),
        )
        assert ended.returncode == 0, ended.stderr
        assert f"--spec-draft-model {file}" in argv_file.read_text()
    cells = [json.loads(line)["cell"] for line in record_lines(asking)]
    assert len({cell["digest"] for cell in cells}) == 2


def test_a_draft_from_the_hub_drafts_for_a_local_model(
    hub: HubStub, asking: Project, run_invoke: RunInvoke, argv_file: Path, own: Path
) -> None:
    (own / "main.gguf").write_bytes(CONTENT)
    with asking.matrix_file.open("a") as matrix:
        matrix.write(_DRAFTS.format(folder=own, model=MODEL))
    ended = run_invoke("bench", "--profile", "drafting", "--cells", "*/published")
    assert ended.returncode == 0, ended.stderr
    assert len(hub.fetched) == 1
    assert "--spec-draft-model" in argv_file.read_text()


def test_arms_of_a_comparison_draft_from_a_local_file(
    asking: Project, run_invoke: RunInvoke, argv_file: Path, own: Path
) -> None:
    for name in ("main.gguf", "small.gguf"):
        (own / name).write_bytes(CONTENT)
    with asking.matrix_file.open("a") as matrix:
        matrix.write(_DRAFTS.format(folder=own, model=MODEL))
    arms = ("--baseline", "draft:local", "--candidate", "draft:published")
    words = ("--profile", "drafting", "--metric", "tg", "--max-background-load", "100")
    ended = run_invoke("regress", *arms, *words, "--weights-dir", str(own))
    assert ended.returncode in {0, 12}, ended.stderr
    assert "--spec-draft-model" in argv_file.read_text()
