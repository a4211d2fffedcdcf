"""The lock names the weights' bytes, or says that the hub was unreachable."""

import errno
import os
from pathlib import Path

import msgspec
import pytest
from tests.mini_gguf import F16, gguf_bytes
from tests.provision.weights.hub_stub import MAIN, HubStub, sha256
from tests.shipped import ROOT

from llamatrix.config.expand import expand_plan
from llamatrix.config.load import load_matrix
from llamatrix.config.lock import UNRESOLVED, Lock, LockedWeights, WeightsPin, load_lock
from llamatrix.config.matrix import Matrix
from llamatrix.errors import MatrixError, ProvisionError
from llamatrix.project import Project
from llamatrix.provision.resolve import write_lock
from llamatrix.provision.resolve_weights import (
    compare_weights,
    resolve_weights,
    resolved_here,
    with_own_files,
)

MODEL = "qwen35-27b"
CONTENT = b"weights"
OTHER = gguf_bytes(
    {"general.architecture": "qwen35"}, [("token_embd.weight", [64, 64], F16)]
)
NEXT = "b" * 40


@pytest.fixture
def matrix() -> Matrix:
    """The shipped matrix with one model and the profile that fetches it."""
    shipped = load_matrix(ROOT / "matrix.toml")
    profile = msgspec.structs.replace(shipped.profiles["published"], models=(MODEL,))
    return msgspec.structs.replace(
        shipped,
        models={MODEL: shipped.models[MODEL]},
        profiles={"published": profile},
    )


@pytest.fixture
def lock() -> Lock:
    """The shipped lock before the hub was reached."""
    return msgspec.structs.replace(load_lock(ROOT / "matrix.lock"), weights={})


def publish(hub: HubStub, matrix: Matrix, content: bytes, revision: str) -> None:
    model = matrix.models[MODEL]
    hub.publish(
        content, repository=model.repository, file=model.file, revision=revision
    )


def resolved(matrix: Matrix, lock: Lock) -> Lock:
    return msgspec.structs.replace(lock, weights=resolve_weights(matrix, lock))


def differences(matrix: Matrix, lock: Lock) -> dict[str, tuple[str, bool]]:
    return {
        drift.entry: (drift.found, drift.checked)
        for drift in compare_weights(matrix, lock)
    }


def spec_digest(matrix: Matrix, lock: Lock) -> str:
    (cell,) = expand_plan(matrix, lock, "published").speed
    return cell.spec_digest


def test_entry_has_the_newest_revision_its_hash_and_its_size(
    hub: HubStub, matrix: Matrix, lock: Lock, tmp_path: Path
) -> None:
    publish(hub, matrix, OTHER, MAIN)
    publish(hub, matrix, CONTENT, NEXT)
    known = resolved(matrix, lock)
    entry = known.weights[MODEL]
    assert (entry.revision, entry.sha256) == (NEXT, sha256(CONTENT))
    assert (entry.size_bytes, entry.pin) == (len(CONTENT), WeightsPin.LOCKED)
    assert hub.fetched == []
    write_lock(known, tmp_path / "matrix.lock")
    assert load_lock(tmp_path / "matrix.lock") == known


def test_unreachable_hub_leaves_entry_unresolved(
    matrix: Matrix,
    lock: Lock,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    unknown = resolved(matrix, lock)
    entry = unknown.weights[MODEL]
    assert {entry.revision, entry.sha256, entry.size_bytes} == {UNRESOLVED}
    said = capsys.readouterr().err
    assert "the hub is unreachable" in said
    assert f"weights.{MODEL}: unresolved" in said
    write_lock(unknown, tmp_path / "matrix.lock")
    assert load_lock(tmp_path / "matrix.lock") == unknown


def test_unreachable_hub_keeps_resolved_entry(
    hub: HubStub, matrix: Matrix, lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(hub, matrix, CONTENT, MAIN)
    known = resolved(matrix, lock)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert resolved(matrix, known) == known


def test_unreachable_hub_drops_entry_of_another_file(
    hub: HubStub, matrix: Matrix, lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(hub, matrix, CONTENT, MAIN)
    known = resolved(matrix, lock)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    model = msgspec.structs.replace(matrix.models[MODEL], file="another.gguf")
    changed = msgspec.structs.replace(matrix, models={MODEL: model})
    assert resolved(changed, known).weights[MODEL].sha256 == UNRESOLVED


def test_changed_hash_is_reported(
    hub: HubStub, matrix: Matrix, lock: Lock, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(hub, matrix, CONTENT, MAIN)
    known = resolved(matrix, lock)
    publish(hub, matrix, OTHER, NEXT)
    capsys.readouterr()
    resolved(matrix, known)
    said = capsys.readouterr().err
    assert sha256(CONTENT) in said
    assert sha256(OTHER) in said


def test_small_file_without_a_sha256_is_no_weights_file(
    hub: HubStub, matrix: Matrix, lock: Lock
) -> None:
    publish(hub, matrix, b"", MAIN)
    with pytest.raises(ProvisionError, match="a weights file"):
        resolved(matrix, lock)


def test_check_holds_the_locked_revision_against_the_hub(
    hub: HubStub, matrix: Matrix, lock: Lock
) -> None:
    publish(hub, matrix, CONTENT, MAIN)
    known = resolved(matrix, lock)
    assert differences(matrix, known) == {}
    publish(hub, matrix, OTHER, NEXT)
    assert differences(matrix, known) == {}
    hub.files = dict.fromkeys(hub.files, OTHER)
    found, checked = differences(matrix, known)[f"weights.{MODEL}.sha256"]
    assert checked
    assert sha256(OTHER) in found
    hub.files = {key: OTHER for key in hub.files if key[1] == NEXT}
    found, checked = differences(matrix, known)[f"weights.{MODEL}"]
    assert checked
    assert "no longer has this revision" in found


def test_check_passes_entries_that_it_could_not_ask_for(
    hub: HubStub, matrix: Matrix, lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(hub, matrix, CONTENT, MAIN)
    known = resolved(matrix, lock)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    found, checked = differences(matrix, known)[f"weights.{MODEL}"]
    assert not checked
    assert "is unreachable" in found
    unknown = resolved(matrix, lock)
    found, checked = differences(matrix, unknown)[f"weights.{MODEL}"]
    assert not checked
    assert "unresolved" in found


def test_check_finds_entries_that_the_matrix_does_not_have(
    matrix: Matrix, lock: Lock
) -> None:
    assert differences(matrix, lock) == {f"weights.{MODEL}": ("not locked", True)}
    unknown = resolved(matrix, lock)
    moved = msgspec.structs.replace(unknown.weights[MODEL], file="another.gguf")
    entries = {MODEL: moved, "more": moved}
    found = differences(matrix, msgspec.structs.replace(lock, weights=entries))
    assert found["weights.more"] == ("not in matrix.toml", True)
    assert found[f"weights.{MODEL}"][1]


def test_plan_refuses_an_entry_of_another_file(matrix: Matrix, lock: Lock) -> None:
    unknown = resolved(matrix, lock)
    moved = msgspec.structs.replace(unknown.weights[MODEL], file="another.gguf")
    changed = msgspec.structs.replace(lock, weights={MODEL: moved})
    with pytest.raises(MatrixError, match=r"\.file: locked 'another\.gguf'"):
        expand_plan(matrix, changed, "published")


@pytest.mark.parametrize("key", ["revision", "sha256", "size_bytes"])
def test_entry_that_is_resolved_in_part_is_refused(
    lock: Lock, tmp_path: Path, key: str
) -> None:
    whole = LockedWeights(
        repository="a/b", file="c", revision=MAIN, sha256="0" * 64, size_bytes=1
    )
    part = msgspec.structs.replace(whole, **{key: UNRESOLVED})
    path = tmp_path / "matrix.lock"
    write_lock(msgspec.structs.replace(lock, weights={MODEL: part}), path)
    with pytest.raises(MatrixError, match="resolved together or not at all"):
        load_lock(path)


def test_bytes_and_not_the_revision_are_in_the_digest(
    hub: HubStub, matrix: Matrix, lock: Lock
) -> None:
    publish(hub, matrix, CONTENT, MAIN)
    first = resolved(matrix, lock)
    publish(hub, matrix, CONTENT, NEXT)
    same = resolved(matrix, first)
    publish(hub, matrix, OTHER, "c" * 40)
    other = resolved(matrix, first)
    assert spec_digest(matrix, first) == spec_digest(matrix, same)
    digests = [spec_digest(matrix, one) for one in (lock, first, other)]
    assert len(set(digests)) == 3


def test_first_command_that_needs_an_entry_writes_and_marks_it(
    hub: HubStub, matrix: Matrix, lock: Lock, project: Project
) -> None:
    write_lock(lock, project.lock_file)
    publish(hub, matrix, CONTENT, MAIN)
    known = resolved_here(matrix, [MODEL], project)
    assert known.weights[MODEL].pin is WeightsPin.RESOLVED_HERE
    assert load_lock(project.lock_file) == known
    asked = len(hub.asked)
    assert resolved_here(matrix, [MODEL], project) == known
    assert len(hub.asked) == asked
    assert resolved(matrix, known).weights[MODEL].pin is WeightsPin.LOCKED


def test_lock_that_cannot_be_written_does_not_stop_a_run(
    hub: HubStub,
    matrix: Matrix,
    lock: Lock,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def read_only(path: Path, target: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path), 0, str(target))

    write_lock(lock, project.lock_file)
    publish(hub, matrix, CONTENT, MAIN)
    monkeypatch.setattr(Path, "replace", read_only)
    known = resolved_here(matrix, [MODEL], project)
    assert known.weights[MODEL].sha256 == sha256(CONTENT)
    assert "holds for this run" in capsys.readouterr().err
    assert load_lock(project.lock_file) == lock


def test_unreachable_hub_names_the_folder_as_a_way_out(
    matrix: Matrix, lock: Lock, project: Project
) -> None:
    write_lock(lock, project.lock_file)
    with pytest.raises(ProvisionError, match="--weights-dir") as caught:
        resolved_here(matrix, [MODEL], project)
    assert caught.value.exit_code == 3


def test_own_file_fills_an_unresolved_entry_and_no_resolved_one(
    hub: HubStub, matrix: Matrix, lock: Lock, project: Project, tmp_path: Path
) -> None:
    (tmp_path / matrix.models[MODEL].file).write_bytes(OTHER)
    own = with_own_files(matrix, lock, [MODEL], project, tmp_path)
    assert own.weights[MODEL].pin is WeightsPin.OWN_FILE
    assert own.weights[MODEL].sha256 == sha256(OTHER)
    publish(hub, matrix, CONTENT, MAIN)
    known = resolved(matrix, lock)
    assert with_own_files(matrix, known, [MODEL], project, tmp_path) == known
