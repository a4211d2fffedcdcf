"""Published weights are fetched once, whole, with the locked bytes, or not used."""

import shutil
from pathlib import Path

import msgspec
import pytest
from tests.provision.weights.hub_stub import (
    FILE,
    MAIN,
    REPOSITORY,
    HubStub,
    sha256,
)

from llamatrix.config.lock import UNRESOLVED, LockedWeights, WeightsPin
from llamatrix.errors import ProvisionError
from llamatrix.provision.weights import provide
from llamatrix.provision.weights.hub import HubUnreachableError
from llamatrix.provision.weights.provide import provide_published

CONTENT = bytes(range(256)) * 40_000
OTHER = CONTENT[::-1]
LOCKED = LockedWeights(
    repository=REPOSITORY,
    file=FILE,
    revision=MAIN,
    sha256=sha256(CONTENT),
    size_bytes=len(CONTENT),
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up at the second attempt that brings nothing, and at once."""
    monkeypatch.setattr(provide, "_PAUSES_S", (0.0,))


def provided(
    tmp_path: Path, locked: LockedWeights = LOCKED, *, weights_dir: Path | None = None
) -> Path:
    return provide_published(locked, tmp_path / "cache", weights_dir=weights_dir)


def refusal(tmp_path: Path, locked: LockedWeights = LOCKED) -> str:
    with pytest.raises(ProvisionError) as caught:
        provided(tmp_path, locked)
    assert caught.value.exit_code == 3
    return str(caught.value)


def kept_files(tmp_path: Path) -> list[str]:
    """What lies in the hub's cache under the name of the weights."""
    return [path.name for path in (tmp_path / "hf").rglob("*.gguf")]


def test_file_is_fetched_into_the_hubs_own_cache_and_only_once(
    hub: HubStub, tmp_path: Path
) -> None:
    hub.publish(CONTENT)
    path = provided(tmp_path)
    assert path.read_bytes() == CONTENT
    assert path.name == FILE
    assert path.is_relative_to(tmp_path / "hf" / "hub")
    asked = len(hub.asked)
    assert provided(tmp_path) == path
    assert len(hub.asked) == asked


def test_fetched_file_is_visible_to_other_programs(
    hub: HubStub, tmp_path: Path
) -> None:
    from huggingface_hub import try_to_load_from_cache

    hub.publish(CONTENT)
    found = try_to_load_from_cache(
        REPOSITORY, FILE, cache_dir=tmp_path / "hf" / "hub", revision=MAIN
    )
    assert found is None
    path = provided(tmp_path)
    found = try_to_load_from_cache(
        REPOSITORY, FILE, cache_dir=tmp_path / "hf" / "hub", revision=MAIN
    )
    assert found == str(path)


def test_file_fetched_by_another_program_is_reused(
    hub: HubStub, tmp_path: Path
) -> None:
    from huggingface_hub import hf_hub_download

    hub.publish(CONTENT)
    cache = tmp_path / "hf" / "hub"
    theirs = hf_hub_download(
        REPOSITORY, FILE, endpoint=hub.endpoint, cache_dir=cache, revision=MAIN
    )
    fetched = len(hub.fetched)
    assert provided(tmp_path) == Path(theirs)
    assert len(hub.fetched) == fetched


def test_same_bytes_under_another_revision_are_not_fetched_again(
    hub: HubStub, tmp_path: Path
) -> None:
    hub.publish(CONTENT)
    first = provided(tmp_path)
    hub.publish(CONTENT, revision="b" * 40)
    moved = msgspec.structs.replace(LOCKED, revision="b" * 40)
    asked = len(hub.asked)
    assert provided(tmp_path, moved) == first
    assert len(hub.asked) == asked


def test_lost_connection_is_resumed(hub: HubStub, tmp_path: Path) -> None:
    hub.publish(CONTENT)
    hub.cuts = [3_000_000, 5_000_000]
    assert provided(tmp_path).read_bytes() == CONTENT
    begins = [int((one.range or "=0-").split("=")[1][:-1]) for one in hub.fetched]
    assert begins[0] == 0
    assert 0 < begins[1] <= 3_000_000 < begins[2] <= 8_000_000


def test_interrupted_run_is_resumed_by_the_next(
    hub: HubStub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hub.publish(CONTENT)
    hub.cuts = [4_000_000, 0, 0]
    with pytest.raises(HubUnreachableError, match="the same command resumes"):
        provided(tmp_path)
    assert kept_files(tmp_path) == []
    before = len(hub.fetched)
    assert provided(tmp_path).read_bytes() == CONTENT
    (last,) = hub.fetched[before:]
    assert last.range
    assert last.range != "bytes=0-"
    assert "of which" in capfd.readouterr().err


def test_hub_without_ranges_is_read_from_the_beginning_again(
    hub: HubStub, tmp_path: Path
) -> None:
    hub.publish(CONTENT)
    hub.ranges = False
    hub.cuts = [4_000_000]
    assert provided(tmp_path).read_bytes() == CONTENT


def test_wrong_bytes_are_refused_with_both_hashes_and_not_kept(
    hub: HubStub, tmp_path: Path
) -> None:
    hub.publish(CONTENT)
    hub.sends[sha256(CONTENT)] = OTHER
    text = refusal(tmp_path)
    assert sha256(CONTENT) in text
    assert sha256(OTHER) in text
    assert kept_files(tmp_path) == []
    hub.sends.clear()
    assert provided(tmp_path).read_bytes() == CONTENT


def test_more_bytes_than_announced_are_refused(hub: HubStub, tmp_path: Path) -> None:
    hub.publish(CONTENT)
    hub.sends[sha256(CONTENT)] = CONTENT + b"more"
    assert "it was discarded" in refusal(tmp_path)


def test_other_hash_on_hub_is_reported_before_download(
    hub: HubStub, tmp_path: Path
) -> None:
    hub.publish(OTHER)
    text = refusal(tmp_path)
    assert sha256(CONTENT) in text
    assert sha256(OTHER) in text
    assert "nothing was fetched" in text
    assert hub.fetched == []


def test_locked_revision_is_requested_even_if_main_moved(
    hub: HubStub, tmp_path: Path
) -> None:
    hub.publish(CONTENT)
    hub.publish(OTHER, revision="b" * 40)
    assert provided(tmp_path).read_bytes() == CONTENT


def test_missing_revision_is_reported_with_both_remedies(
    hub: HubStub, tmp_path: Path
) -> None:
    hub.publish(OTHER, revision="b" * 40)
    text = refusal(tmp_path)
    assert MAIN in text
    assert "no longer has this revision" in text
    assert "invoke lock" in text
    assert "--weights-dir" in text


def test_missing_file_names_the_line_to_correct(hub: HubStub, tmp_path: Path) -> None:
    hub.publish(CONTENT, file="another.gguf")
    assert "correct models.*.file in matrix.toml" in refusal(tmp_path)


def test_missing_repository_names_the_line_to_correct(
    hub: HubStub, tmp_path: Path
) -> None:
    hub.publish(CONTENT, repository="someone/else")
    assert "correct models.*.repository" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("status", "code"), [(401, "GatedRepo"), (403, "GatedRepo"), (403, "")]
)
def test_gated_repository_names_licence_and_token(
    hub: HubStub, tmp_path: Path, status: int, code: str
) -> None:
    hub.publish(CONTENT)
    hub.gate, hub.gate_code = status, code
    text = refusal(tmp_path)
    assert "accept the licence" in text
    assert "HF_TOKEN" in text


def test_token_goes_to_the_hub_and_to_no_other_host(
    hub: HubStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.publish(CONTENT)
    provided(tmp_path)
    assert {one.token for one in hub.fetched} == {None}
    to_hub = [one.token for one in hub.asked if one not in hub.fetched]
    assert set(to_hub) == {"Bearer hf_secret"}


def test_small_disk_is_reported_before_any_request(
    hub: HubStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.publish(CONTENT)
    usage = shutil.disk_usage(tmp_path)._replace(free=len(CONTENT) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    text = refusal(tmp_path)
    assert "downloading some.gguf needs 9.77 MiB, but only 9.77 MiB are free" in text
    assert "HF_HOME" in text
    assert hub.asked == []


def test_partial_download_needs_only_remaining_space(
    hub: HubStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.publish(CONTENT)
    hub.cuts = [6_000_000, 0, 0]
    with pytest.raises(HubUnreachableError):
        provided(tmp_path)
    usage = shutil.disk_usage(tmp_path)._replace(free=6_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert provided(tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [500, 503])
def test_failing_hub_is_unreachable(hub: HubStub, tmp_path: Path, status: int) -> None:
    hub.publish(CONTENT)
    hub.gate = status
    with pytest.raises(HubUnreachableError, match="is unreachable"):
        provided(tmp_path)


@pytest.mark.usefixtures("hub")
def test_damaged_file_in_the_hubs_cache_is_refused_and_left(
    hub: HubStub, tmp_path: Path
) -> None:
    hub.publish(CONTENT)
    path = provided(tmp_path)
    path.resolve().write_bytes(OTHER)
    text = refusal(tmp_path)
    assert sha256(CONTENT) in text
    assert sha256(OTHER) in text
    assert path.read_bytes() == OTHER


def test_own_file_is_used_without_the_hub(hub: HubStub, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / FILE).write_bytes(CONTENT)
    assert provided(tmp_path, weights_dir=own) == own / FILE
    assert hub.asked == []


@pytest.mark.parametrize("content", [OTHER, CONTENT[:-1]], ids=["hash", "size"])
def test_own_file_with_other_bytes_is_refused_and_kept(
    tmp_path: Path, content: bytes
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / FILE).write_bytes(content)
    with pytest.raises(ProvisionError, match="was not used and is left as it is"):
        provided(tmp_path, weights_dir=own)
    assert (own / FILE).read_bytes() == content


def test_folder_without_the_file_leads_to_the_hub(hub: HubStub, tmp_path: Path) -> None:
    hub.publish(CONTENT)
    own = tmp_path / "own"
    own.mkdir()
    assert provided(tmp_path, weights_dir=own).read_bytes() == CONTENT
    assert list(own.iterdir()) == []


def test_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ProvisionError, match="no such folder"):
        provided(tmp_path, weights_dir=tmp_path / "none")


def test_file_in_a_folder_of_the_repository_is_found_by_its_last_name(
    hub: HubStub, tmp_path: Path
) -> None:
    hub.publish(CONTENT, file="UD/some.gguf")
    nested = msgspec.structs.replace(LOCKED, file="UD/some.gguf")
    assert provided(tmp_path, nested).read_bytes() == CONTENT
    own = tmp_path / "own"
    own.mkdir()
    (own / "some.gguf").write_bytes(CONTENT)
    assert provided(tmp_path, nested, weights_dir=own) == own / "some.gguf"


def test_unresolved_weights_are_not_fetched(hub: HubStub, tmp_path: Path) -> None:
    hub.publish(CONTENT)
    unresolved = msgspec.structs.replace(
        LOCKED, revision=UNRESOLVED, sha256=UNRESOLVED, size_bytes=UNRESOLVED
    )
    assert "unresolved; run `invoke lock`" in refusal(tmp_path, unresolved)
    assert hub.asked == []


def test_own_file_that_changed_during_the_run_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / FILE).write_bytes(CONTENT)
    locked = msgspec.structs.replace(
        LOCKED, revision=UNRESOLVED, pin=WeightsPin.OWN_FILE
    )
    assert provided(tmp_path, locked, weights_dir=own) == own / FILE
    (own / FILE).write_bytes(OTHER)
    with pytest.raises(ProvisionError, match="is left as it is"):
        provided(tmp_path, locked, weights_dir=own)
