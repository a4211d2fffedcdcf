"""A source is used only if package, objects, commit and tree are the locked ones."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.provision.conftest import Index

from llamatrix.errors import ProvisionError
from llamatrix.provision.integrity import file_sha256
from llamatrix.provision.python import UnreachableError
from llamatrix.provision.source import NOTE, nar_hash, provide_source


def test_verified_source_is_unpacked_with_its_modes(
    index: Index, tmp_path: Path
) -> None:
    tree = provide_source(index.publish(), tmp_path / "cache")
    assert (tree / "CMakeLists.txt").read_text() == "project(engine)\n"
    assert (tree / "run.sh").stat().st_mode & 0o100
    assert not (tree / ".git").exists()


def test_source_in_the_cache_needs_no_index(
    index: Index, tmp_path: Path, unreachable: Callable[[], None]
) -> None:
    locked = index.publish()
    first = provide_source(locked, tmp_path / "cache")
    unreachable()
    assert provide_source(locked, tmp_path / "cache") == first


def test_download_with_another_hash_is_refused(index: Index, tmp_path: Path) -> None:
    locked = msgspec.structs.replace(index.publish(), sdist_sha256="0" * 64)
    with pytest.raises(
        ProvisionError, match=r"does not have the sha256 of matrix\.lock"
    ):
        provide_source(locked, tmp_path / "cache")
    assert not (tmp_path / "cache" / "sources" / locked.commit).exists()


def test_truncated_package_in_the_cache_is_refused_and_kept(
    index: Index, tmp_path: Path
) -> None:
    locked = index.publish()
    kept = tmp_path / "cache" / "sdists" / index.sdist.name
    kept.parent.mkdir(parents=True)
    kept.write_bytes(index.sdist.read_bytes()[:-100])
    with pytest.raises(ProvisionError) as caught:
        provide_source(locked, tmp_path / "cache")
    assert locked.sdist_sha256 in str(caught.value)
    assert "Delete it to download it again" in str(caught.value)
    assert kept.exists()


def test_package_that_carries_another_commit_is_refused(
    index: Index, tmp_path: Path
) -> None:
    locked = msgspec.structs.replace(index.publish(), commit="1" * 40)
    with pytest.raises(ProvisionError) as caught:
        provide_source(locked, tmp_path / "cache")
    assert f"carries {index.commit}, not {'1' * 40}" in str(caught.value)
    assert not list((tmp_path / "cache" / "sources").glob("[0-9a-f]*"))


def test_tree_with_another_nar_hash_is_refused(index: Index, tmp_path: Path) -> None:
    wrong = "sha256-" + "A" * 43 + "="
    locked = msgspec.structs.replace(index.publish(), nar_hash=wrong)
    with pytest.raises(ProvisionError, match="its NAR hash is sha256-"):
        provide_source(locked, tmp_path / "cache")


def test_changed_template_in_the_cache_is_named_and_unpacked_again(
    index: Index, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    locked = index.publish()
    tree = provide_source(locked, tmp_path / "cache")
    template = tree / "models" / "templates" / "Qwen3.5-4B.jinja"
    before, content = file_sha256(template), template.read_bytes()
    template.write_bytes(content.replace(b"messages", b"massages"))
    after = file_sha256(template)
    assert provide_source(locked, tmp_path / "cache") == tree
    assert template.read_bytes() == content
    said = capsys.readouterr().err
    assert before in said
    assert after in said


def test_tree_in_the_cache_is_refused_when_the_lock_has_another_nar_hash(
    index: Index, tmp_path: Path
) -> None:
    locked = index.publish()
    tree = provide_source(locked, tmp_path / "cache")
    wrong = "sha256-" + "A" * 43 + "="
    with pytest.raises(ProvisionError) as caught:
        provide_source(msgspec.structs.replace(locked, nar_hash=wrong), tree.parents[1])
    assert wrong in str(caught.value)
    assert locked.nar_hash in str(caught.value)
    assert provide_source(locked, tmp_path / "cache") == tree


@pytest.mark.usefixtures("index")
def test_tree_without_a_record_must_have_the_locked_nar_hash(
    index: Index, tmp_path: Path, unreachable: Callable[[], None]
) -> None:
    """A tree brought to a machine without network, with a note in it."""
    locked = index.publish()
    tree = provide_source(locked, tmp_path / "cache")
    (record,) = tree.parent.glob(".*.files.json")
    record.unlink()
    (tree / NOTE).write_text("carried here\n")
    unreachable()
    for sdist in (tmp_path / "cache" / "sdists").iterdir():
        sdist.unlink()
    assert provide_source(locked, tmp_path / "cache") == tree
    record.unlink()
    (tree / "CMakeLists.txt").write_text("project(other)\n")
    with pytest.raises(UnreachableError, match=r"its NAR hash is sha256-\S+, but"):
        provide_source(locked, tmp_path / "cache")


def test_damaged_git_object_is_refused(index: Index, tmp_path: Path) -> None:
    objects = [path for path in index.tree.glob(".git/objects/??/*") if path.is_file()]
    victim = objects[0]
    other = objects[1].read_bytes()
    victim.chmod(0o644)
    victim.write_bytes(other)
    with pytest.raises(ProvisionError, match="git objects are damaged"):
        provide_source(index.publish(), tmp_path / "cache")


def test_configuration_and_hooks_of_the_package_are_never_read(
    index: Index, tmp_path: Path
) -> None:
    trap = tmp_path / "trapped"
    config = index.tree / ".git" / "config"
    config.write_text(f"[core]\n\tfsmonitor = touch {trap}\n\tpager = touch {trap}\n")
    provide_source(index.publish(), tmp_path / "cache")
    assert not trap.exists()


def test_index_out_of_reach_is_reported_apart_from_a_wrong_package(
    index: Index, tmp_path: Path, unreachable: Callable[[], None]
) -> None:
    locked = index.publish()
    unreachable()
    with pytest.raises(UnreachableError, match="check the network"):
        provide_source(locked, tmp_path / "cache")


def test_package_without_git_objects_is_refused(index: Index, tmp_path: Path) -> None:
    import shutil

    shutil.rmtree(index.tree / ".git")
    (index.tree / ".git").mkdir()
    with pytest.raises(ProvisionError, match="carries no git objects"):
        provide_source(index.publish(), tmp_path / "cache")


# `nix hash path` of the same trees: an empty folder is Nix' best known constant
EMPTY_FOLDER = "sha256-pQpattmS9VmO3ZIQUFn66az8GSmB4IvYhTTCFn6SUmo="


def test_empty_folder_has_the_well_known_hash(tmp_path: Path) -> None:
    assert nar_hash(tmp_path) == EMPTY_FOLDER


def test_contents_names_links_and_execute_bits_count(tmp_path: Path) -> None:
    def tree(name: str) -> Path:
        folder = tmp_path / name
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / "file").write_text("text")
        (folder / "link").symlink_to("sub/file")
        return folder

    plain = nar_hash(tree("plain"))
    assert nar_hash(tree("same")) == plain
    changed = tree("content")
    (changed / "sub" / "file").write_text("texts")
    executable = tree("executable")
    (executable / "sub" / "file").chmod(0o755)
    renamed = tree("renamed")
    (renamed / "sub" / "file").rename(renamed / "sub" / "File")
    relinked = tree("relinked")
    (relinked / "link").unlink()
    (relinked / "link").symlink_to("sub/other")
    others = [nar_hash(folder) for folder in (changed, executable, renamed, relinked)]
    assert len({plain, *others}) == 5


def test_group_bits_and_times_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    before = nar_hash(tmp_path)
    (tmp_path / "file").chmod(0o664)
    subprocess.run(["touch", "-d", "2001-01-01", tmp_path / "file"], check=True)
    assert nar_hash(tmp_path) == before


@pytest.mark.parametrize("size", [0, 7, 8, 9, (1 << 20) + 3])
def test_padding_and_chunks_follow_the_format(tmp_path: Path, size: int) -> None:
    """Against the serialisation written out by hand for a single file."""
    import base64
    import hashlib

    def text(data: bytes) -> bytes:
        return len(data).to_bytes(8, "little") + data + b"\0" * (-len(data) % 8)

    content = bytes(range(256)) * (size // 256 + 1)
    path = tmp_path / "file"
    path.write_bytes(content[:size])
    words = (b"nix-archive-1", b"(", b"type", b"regular", b"contents")
    by_hand = b"".join(map(text, (*words, content[:size], b")")))
    digest = base64.b64encode(hashlib.sha256(by_hand).digest()).decode()
    assert nar_hash(path) == f"sha256-{digest}"


def test_older_complete_commit_of_a_package_is_unpacked(
    index: Index, tmp_path: Path
) -> None:
    """Ten packages carry two: HEAD and the tip of the day."""
    older = index.publish()
    (index.tree / "CMakeLists.txt").write_text("project(newer)\n")
    index.renew()
    sdist_sha256 = index.publish().sdist_sha256
    locked = msgspec.structs.replace(older, sdist_sha256=sdist_sha256)
    tree = provide_source(locked, tmp_path / "cache")
    assert (tree / "CMakeLists.txt").read_text() == "project(engine)\n"
