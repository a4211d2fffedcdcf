"""Published weights, as a user meets them: resolved once, then locked, or of one's own."""

import json
from pathlib import Path

import pytest
from tests.commands.conftest import (
    CONTENT,
    MODEL,
    OTHER_CONTENT,
    RunInvoke,
    record_lines,
)
from tests.mini_gguf import F16, gguf_bytes
from tests.provision.weights.hub_stub import MAIN, HubStub, sha256
from tests.records.made import reread

from llamatrix.config.load import load_matrix
from llamatrix.config.lock import WeightsPin, load_lock
from llamatrix.project import Project
from llamatrix.provision.resolve import write_lock


def weights_of(project: Project) -> list[dict[str, object]]:
    return [json.loads(line)["weights"] for line in record_lines(project)]


def pins_of(project: Project) -> set[str]:
    return {str(weights["weights_pin"]) for weights in weights_of(project)}


def test_first_run_resolves_weights_writes_the_lock_and_marks_records(
    hub: HubStub, asking: Project, run_invoke: RunInvoke
) -> None:
    first = run_invoke("bench", "--profile", "hub")
    assert first.returncode == 0, first.stderr
    assert f"weights.{MODEL}: resolved here to revision {MAIN}" in first.stderr
    assert load_lock(asking.lock_file).weights[MODEL].sha256 == sha256(CONTENT)
    found = weights_of(asking)
    assert {weights["sha256"] for weights in found} == {sha256(CONTENT)}
    assert {weights["revision"] for weights in found} == {MAIN}
    assert pins_of(asking) == {"resolved here"}
    asked = len(hub.asked)
    second = run_invoke("bench", "--profile", "hub")
    assert "nothing measured" in second.stderr
    assert len(hub.asked) == asked


def test_weights_resolved_by_lock_are_recorded_as_locked(
    hub: HubStub, asking: Project, run_invoke: RunInvoke
) -> None:
    run_invoke("weights", "--profile", "hub")
    lock = load_lock(asking.lock_file)
    text = asking.lock_file.read_text()
    assert 'pin = "resolved here"' in text
    asking.lock_file.write_text(text.replace('pin = "resolved here"\n', ""))
    ended = run_invoke("bench", "--profile", "hub")
    assert ended.returncode == 0, ended.stderr
    assert pins_of(asking) == {"locked"}
    assert lock.weights[MODEL].sha256 == sha256(CONTENT)
    assert hub.asked


def test_changed_bytes_in_the_lock_are_measured_again(
    hub: HubStub, asking: Project, run_invoke: RunInvoke
) -> None:
    run_invoke("bench", "--profile", "hub")
    before = len(record_lines(asking))
    model = load_matrix(asking.matrix_file).models[MODEL]
    hub.publish(
        OTHER_CONTENT, repository=model.repository, file=model.file, revision="b" * 40
    )
    lock = load_lock(asking.lock_file)
    lock.weights.clear()
    write_lock(lock, asking.lock_file)
    run_invoke("bench", "--profile", "hub")
    assert len(record_lines(asking)) == 2 * before
    hashes = {weights["sha256"] for weights in weights_of(asking)}
    assert hashes == {sha256(CONTENT), sha256(OTHER_CONTENT)}


def test_local_file_is_measured_under_its_own_hash_without_a_hub(
    asking: Project, run_invoke: RunInvoke, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    file = load_matrix(asking.matrix_file).models[MODEL].file
    (own / file).write_bytes(CONTENT)
    before = asking.lock_file.read_bytes()
    flags = ("bench", "--profile", "hub", "--weights-dir", str(own))
    ended = run_invoke(*flags)
    assert ended.returncode == 0, ended.stderr
    assert pins_of(asking) == {"own file"}
    assert {weights["sha256"] for weights in weights_of(asking)} == {sha256(CONTENT)}
    assert str(own) not in "".join(record_lines(asking))
    assert asking.lock_file.read_bytes() == before
    assert "nothing measured" in run_invoke(*flags).stderr
    assert "0 tests and 0 trials to make" in run_invoke(*flags, "--dry-run").stdout
    (own / file).write_bytes(OTHER_CONTENT)
    assert "8 tests measured, 0 reused" in run_invoke(*flags).stderr


def test_missing_hub_and_file_name_the_remedy(
    asking: Project, run_invoke: RunInvoke
) -> None:
    ended = run_invoke("weights", "--profile", "hub")
    assert ended.returncode == 3
    assert "--weights-dir" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not asking.reports.exists()


def test_plan_and_dry_run_make_no_request(
    hub: HubStub, asking: Project, run_invoke: RunInvoke
) -> None:
    before = asking.lock_file.read_bytes()
    assert run_invoke("plan", "--profile", "hub").returncode == 0
    assert run_invoke("all", "--profile", "hub", "--dry-run").returncode == 0
    assert hub.asked == []
    assert asking.lock_file.read_bytes() == before


def test_flipped_bit_in_synthetic_weights_is_named_and_weights_are_rewritten(
    asking: Project, run_invoke: RunInvoke
) -> None:
    flags = ("weights", "--profile", "smoke", "--cells", "*qwen35-27b*")
    run_invoke(*flags)
    (path,) = (asking.cache / "weights").glob("*/*.gguf")
    content = bytearray(path.read_bytes())
    before = sha256(bytes(content))
    content[-1] ^= 1
    path.write_bytes(content)
    after = sha256(bytes(content))
    ended = run_invoke(*flags)
    assert ended.returncode == 0, ended.stderr
    assert f"sha256 is {after}, but {before} was recorded" in ended.stderr
    assert sha256(path.read_bytes()) == before


def test_synthetic_weights_need_no_hub(asking: Project, run_invoke: RunInvoke) -> None:
    assert asking.lock_file.exists()
    ended = run_invoke("weights", "--profile", "smoke", "--cells", "*qwen35-27b*")
    assert ended.returncode == 0, ended.stderr


def test_a_record_from_before_the_pin_is_read_as_locked(
    asking: Project, run_invoke: RunInvoke
) -> None:
    run_invoke("bench", "--profile", "smoke", "--cells", "*qwen35-27b*")
    older = json.loads(record_lines(asking)[0])
    for key in ("weights_pin", "repository", "revision"):
        del older["weights"][key]
    record = reread(older)
    assert record.weights.weights_pin is WeightsPin.LOCKED
    assert record.weights.repository == ""


NO_MODELS = (
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "git lfs pull"),
    (b"Entry not found", "15 bytes"),
    (CONTENT[:-64], "truncated"),
)


@pytest.mark.parametrize(("content", "word"), NO_MODELS)
def test_local_file_that_is_no_model_is_refused_in_one_line(
    asking: Project, run_invoke: RunInvoke, tmp_path: Path, content: bytes, word: str
) -> None:
    file = load_matrix(asking.matrix_file).models[MODEL].file
    (tmp_path / file).write_bytes(content)
    ended = run_invoke("weights", "--profile", "hub", "--weights-dir", str(tmp_path))
    assert ended.returncode == 3
    *_, last = ended.stderr.strip().splitlines()
    assert last.startswith(f"llamatrix: {tmp_path / file}: ")
    assert word in last
    assert "taken as" not in ended.stderr


def test_a_file_without_a_chat_template_is_reported_to_have_none(
    asking: Project, run_invoke: RunInvoke, tmp_path: Path
) -> None:
    file = load_matrix(asking.matrix_file).models[MODEL].file
    keys = {"general.architecture": "qwen35"}
    flags = ("weights", "--profile", "hub", "--weights-dir", str(tmp_path))
    for more, said in (({}, True), ({"tokenizer.chat_template": "{{ x }}"}, False)):
        tensors = [("token_embd.weight", [64, 64], F16)]
        (tmp_path / file).write_bytes(gguf_bytes({**keys, **more}, tensors))
        ended = run_invoke(*flags)
        assert ended.returncode == 0, ended.stderr
        assert ("falls back to chatml" in ended.stderr) is said


def test_a_file_of_the_hub_that_is_no_model_is_refused(
    hub: HubStub, asking: Project, run_invoke: RunInvoke
) -> None:
    model = load_matrix(asking.matrix_file).models[MODEL]
    projector = gguf_bytes(
        {"general.architecture": "clip"}, [("v.a.weight", [64], F16)]
    )
    hub.publish(projector, repository=model.repository, file=model.file)
    ended = run_invoke("weights", "--profile", "hub")
    assert ended.returncode == 3
    assert "a projector (mmproj)" in ended.stderr


def test_header_without_facts_is_reported_and_stops_nothing(
    hub: HubStub, asking: Project, run_invoke: RunInvoke
) -> None:
    """The bytes are the locked ones; llama.cpp has the last word about them."""
    model = load_matrix(asking.matrix_file).models[MODEL]
    content = b"GGUF" + bytes(4092)
    hub.publish(content, repository=model.repository, file=model.file)
    ended = run_invoke("weights", "--profile", "hub")
    assert ended.returncode == 0, ended.stderr
    assert "GGUF version 0" in ended.stderr
