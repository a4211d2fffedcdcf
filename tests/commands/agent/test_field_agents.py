"""OpenCode as strangers met it: broken, never the model's failure, with its reason.

anomalyco/opencode#26509, #27559, #41469, #17516, #44782, #31152.
"""

import json
import subprocess
from pathlib import Path

import pytest
from gguf import GGUFReader, GGUFValueType, GGUFWriter
from tests.commands.conftest import record_lines
from tests.invoking import invoked_apart
from tests.shipped import FAKES, shipped_cells

from llamatrix.config.load import load_matrix
from llamatrix.project import Project
from llamatrix.provision.weights.provide import provide_weights

pytestmark = [pytest.mark.slow, pytest.mark.network]


def agent(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    asked = words or ("agent", "--profile", "smoke")
    return invoked_apart(*asked, "--cells", "*httpx*", env=environment)


def change(project: Project, **values: int) -> None:
    """Set keys of the smoke agent, and the context of its model."""
    text = project.matrix_file.read_text()
    head, agents = text.split("[agents.smoke]", 1)
    for key, value in values.items():
        lines = [line for line in agents.splitlines() if line.startswith(f"{key} =")]
        agents = agents.replace(lines[0], f"{key} = {value}", 1)
    project.matrix_file.write_text(f"{head}[agents.smoke]{agents}")


def causes(project: Project) -> set[str]:
    outcomes = [json.loads(line)["result"]["outcome"] for line in record_lines(project)]
    assert {outcome["type"] for outcome in outcomes} == {"broken"}
    return {outcome["cause"]["type"] for outcome in outcomes}


@pytest.mark.parametrize(
    ("way", "cause", "said"),
    [
        ("exit0", "agent-failed", "Model not found: local/qwen35-27b"),
        ("exit0-silent", "agent-failed", "NotFoundError Session not found: ses_x"),
        ("unknown", "agent-failed", "without a last word (finish `unknown`)"),
        ("hang", "agent-hung", "silent for"),
        ("silent-start", "agent-hung", "silent for"),
    ],
)
def test_failures_of_opencode_are_broken_trials_with_a_cause(
    real_project: Project,
    real_environment: dict[str, str],
    tmp_path: Path,
    way: str,
    cause: str,
    said: str,
) -> None:
    program = tmp_path / "oc" / "bin" / "opencode"
    program.parent.mkdir(parents=True)
    program.write_text((FAKES / "field_opencode.py").read_text().replace("@WAY@", way))
    program.chmod(0o755)
    offered = tmp_path / "shell.json"
    offered.write_text(json.dumps({"opencode": {"current": str(tmp_path / "oc")}}))
    change(real_project, turn_timeout_s=60, silence_timeout_s=5)
    ended = agent(real_environment | {"LLAMATRIX_NIX": str(offered)})
    assert ended.returncode == 8, ended.stderr
    assert causes(real_project) == {cause}
    assert said in ended.stdout


_OWN_FILES = """
[profiles.own-cpu]
about = "the user's own files on the CPU"
pins = ["current"]
builds = ["cpu"]
models = ["gemma4-31b"]
weights = "hub"
measure = ["speed", "agent"]
sweep = "smoke"
server = "smoke"
agent = "smoke"
"""


def without_template(source: Path, target: Path) -> None:
    """Write the same model without its chat template."""
    reader = GGUFReader(source)
    field = reader.fields["general.architecture"]
    writer = GGUFWriter(target, field.contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in {
            "general.architecture",
            "tokenizer.chat_template",
        }:
            continue
        kind = field.types[0]
        sub = field.types[-1] if kind == GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), kind, sub_type=sub)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_weights_without_a_template_are_proven_on_what_the_server_reports(
    real_project: Project, real_environment: dict[str, str], tmp_path: Path
) -> None:
    """unslothai/unsloth#2744, aaif-goose/goose#9110: the server falls back to chatml."""
    with real_project.matrix_file.open("a") as matrix:
        matrix.write(_OWN_FILES)
    weights = provide_weights(shipped_cells("smoke")[3], real_project.cache)
    mine = tmp_path / "mine"
    mine.mkdir()
    model = load_matrix(real_project.matrix_file).models["gemma4-31b"]
    without_template(weights.path, mine / model.file)
    words = ("agent", "--profile", "own-cpu", "--weights-dir", str(mine))
    refused = agent(real_environment, *words)
    assert refused.returncode == 8, refused.stderr
    assert f"llama-server's chatml ({model.file} has none) fails" in refused.stderr
    tried = agent(real_environment, *words, "--any-template")
    assert tried.returncode in {0, 8}, tried.stderr
    record = json.loads(record_lines(real_project)[-1])
    reported = record["served_template_sha256"]
    assert reported.startswith("cc145ac59732")
    assert record["served"]["template"]["template_sha256"] == reported
    failed = record["served"]["template"]["failed"]
    assert {"prompt-thinking-off", "arguments-as-text"} <= set(failed), "drops tools"


def test_a_context_without_room_for_the_first_prompt_is_ended_and_named(
    real_project: Project, real_environment: dict[str, str]
) -> None:
    text = real_project.matrix_file.read_text()
    real_project.matrix_file.write_text(
        text.replace("ctx_size = 130672", "ctx_size = 41000", 1)
    )
    change(real_project, output_tokens=32000)
    ended = agent(real_environment)
    assert ended.returncode == 8, ended.stderr
    assert causes(real_project) == {"compacted-for-ever"}
    assert "leaves 9000: the set-up's fault" in ended.stdout
