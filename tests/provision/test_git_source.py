"""Pins by git, from local servers: a rev is found, one commit is fetched and proven."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.provision.conftest import git
from tests.provision.git_server import serve_git
from tests.shipped import ROOT

from llamatrix.config.load import load_matrix
from llamatrix.config.lock import Lock, LockedPin, NumberSource, load_lock
from llamatrix.config.matrix import Matrix, Pin
from llamatrix.errors import ProvisionError
from llamatrix.provision.git_source import find_commit
from llamatrix.provision.python import UnreachableError
from llamatrix.provision.resolve import compare, resolve, write_lock
from llamatrix.provision.source import nar_hash, provide_source


class Repository:
    """A repository with a branch, tags and a pull request, as a server keeps it."""

    def __init__(self, folder: Path) -> None:
        self.tree = folder / "work"
        self.tree.mkdir(parents=True)
        git(self.tree, "init", "--quiet", "--initial-branch=master")
        self.first = self.commit("one")
        git(self.tree, "tag", "b17")
        self.second = self.commit("two")
        git(self.tree, "tag", "--annotate", "-m", "release", "v1")
        self.pull = self.commit("three")
        git(self.tree, "update-ref", "refs/pull/7/head", self.pull)
        git(self.tree, "reset", "--quiet", "--hard", self.second)
        self.bare = folder / "served" / "llama.cpp"
        git(folder, "clone", "--quiet", "--mirror", str(self.tree), str(self.bare))

    def commit(self, text: str) -> str:
        (self.tree / "CMakeLists.txt").write_text(f"project({text})\n")
        git(self.tree, "add", ".")
        git(self.tree, "commit", "--quiet", "-m", text)
        return git(self.tree, "rev-parse", "HEAD")

    def push(self) -> None:
        git(self.tree, "push", "--quiet", "--mirror", "--force", str(self.bare))


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "git")


@pytest.fixture(params=["file", "http"])
def url(request: pytest.FixtureRequest, repository: Repository) -> Iterator[str]:
    if request.param == "file":
        yield f"file://{repository.bare}"
        return
    with serve_git(repository.bare.parent) as address:
        yield f"{address}/llama.cpp"


def matrix_of(git_url: str, rev: str) -> Matrix:
    """Return the shipped matrix with one pin by git."""
    return msgspec.structs.replace(
        load_matrix(ROOT / "matrix.toml"),
        pins={"mine": Pin(git=git_url, rev=rev)},
        opencode={},
        pi={},
        context7={},
    )


@pytest.mark.parametrize(
    ("rev", "name"),
    [
        ("master", "second"),
        ("refs/heads/master", "second"),
        ("b17", "first"),
        ("v1", "second"),
        ("refs/pull/7/head", "pull"),
    ],
)
def test_branch_tag_and_pull_request_become_their_commit(
    repository: Repository, rev: str, name: str
) -> None:
    found = find_commit(str(repository.bare), rev)
    assert found.commit == getattr(repository, name)
    assert found.build_number == (17 if name == "first" else 0)


def test_commit_is_locked_proven_and_unpacked_and_fetched_once(
    repository: Repository,
    url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By its number, though no branch or tag names the middle commit."""
    matrix = matrix_of(url, repository.first)
    lock = resolve(matrix, tmp_path / "cache", None)
    write_lock(lock, tmp_path / "matrix.lock")
    assert load_lock(tmp_path / "matrix.lock") == lock
    locked = lock.pins["mine"]
    assert (locked.git, locked.commit) == (url, repository.first)
    assert lock.build_numbers["mine"].number == 17
    assert lock.build_numbers["mine"].source is NumberSource.TAG
    tree = provide_source(locked, tmp_path / "cache", git=url)
    assert [path.name for path in tree.iterdir()] == ["CMakeLists.txt"]
    assert nar_hash(tree) == locked.nar_hash
    assert capsys.readouterr().err.count("without its history") == 1
    assert list(compare(matrix, lock, tmp_path / "cache")) == []


def test_tree_with_another_hash_than_the_lock_is_refused(
    repository: Repository, tmp_path: Path
) -> None:
    wrong = LockedPin(
        git="g", rev="master", commit=repository.second, nar_hash=f"sha256-{'A' * 43}="
    )
    with pytest.raises(ProvisionError, match=r"NAR hash is sha256-.*run `invoke lock`"):
        provide_source(wrong, tmp_path / "cache", git=str(repository.bare))
    assert not (tmp_path / "cache" / "sources" / repository.second).exists()


def test_moved_branch_is_reported_and_the_lock_stays(
    repository: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    matrix = matrix_of(str(repository.bare), "master")
    cache = tmp_path / "cache"
    old = resolve(matrix, cache, None)
    third = repository.commit("four")
    repository.push()
    assert resolve(matrix, cache, old).pins == old.pins
    said = capsys.readouterr().err
    assert f"master has moved to {third[:12]}; the locked" in said
    assert list(compare(matrix, old, cache)) == []


def test_commit_that_is_gone_is_a_difference_in_one_line(
    repository: Repository, tmp_path: Path
) -> None:
    matrix = matrix_of(str(repository.bare), "master")
    cache = tmp_path / "cache"
    lock = resolve(matrix, cache, None)
    gone = msgspec.structs.replace(lock.pins["mine"], commit="1" * 40)
    (drift,) = compare(matrix, Lock(lock_version=1, pins={"mine": gone}), cache)
    assert drift.checked
    assert "\n" not in drift.found
    assert "master has moved from 111111111111" in drift.found


def test_server_that_hands_out_tips_only_is_asked_for_the_ref(
    repository: Repository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As protocol 0 does; a tip is fetched by its number, another commit is refused."""
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "protocol.version")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "0")
    address, cache = f"file://{repository.bare}", tmp_path / "cache"
    assert resolve(matrix_of(address, "v1"), cache, None).pins["mine"].commit == (
        repository.second
    )
    git(repository.bare, "tag", "--annotate", "-m", "old", "v0", repository.first)
    git(repository.bare, "tag", "--delete", "b17")
    assert resolve(matrix_of(address, "v0"), cache, None).pins["mine"].commit == (
        repository.first
    )
    assert "does not hand out a commit by its number; fetching" in (
        capsys.readouterr().err
    )
    git(repository.bare, "tag", "--delete", "v0")
    with pytest.raises(ProvisionError, match="write a ref that contains it"):
        resolve(matrix_of(address, repository.first), cache, None)


@pytest.mark.parametrize(
    ("address", "why"),
    [("http://127.0.0.1:9/llama.cpp", "Failed to connect"), ("/nowhere/x", "")],
)
def test_unreachable_repository_is_reported_in_one_line(address: str, why: str) -> None:
    with pytest.raises(UnreachableError) as caught:
        find_commit(address, "master")
    assert "\n" not in str(caught.value)
    assert f"{address}: cannot be reached" in str(caught.value)
    assert why in str(caught.value)


def test_unknown_and_ambiguous_revs_are_refused(repository: Repository) -> None:
    with pytest.raises(ProvisionError, match="has no branch, tag or ref 'mastre'"):
        find_commit(str(repository.bare), "mastre")
    git(repository.bare, "branch", "v1", repository.first)
    with pytest.raises(ProvisionError, match="write refs/tags/v1 or refs/heads/v1"):
        find_commit(str(repository.bare), "v1")


def test_submodules_are_left_empty_with_a_message(
    repository: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = f"160000,{repository.first},ggml/kompute"
    git(repository.tree, "update-index", "--add", "--cacheinfo", entry)
    git(repository.tree, "commit", "--quiet", "-m", "submodule")
    repository.push()
    lock = resolve(matrix_of(str(repository.bare), "master"), tmp_path / "cache", None)
    assert "submodules are left empty: ggml/kompute" in capsys.readouterr().err
    tree = provide_source(
        lock.pins["mine"], tmp_path / "cache", git=str(repository.bare)
    )
    assert list((tree / "ggml/kompute").iterdir()) == []


def test_fork_is_known_by_its_tree(repository: Repository, tmp_path: Path) -> None:
    folder = repository.tree / "ggml" / "src" / "iqk"
    folder.mkdir(parents=True)
    (folder / "iqk.cpp").write_text("")
    repository.commit("fork")
    repository.push()
    lock = resolve(matrix_of(str(repository.bare), "master"), tmp_path / "cache", None)
    assert lock.pins["mine"].fork == "ik_llama.cpp"


def test_pins_by_path_or_binaries_are_not_locked(
    repository: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    matrix = matrix_of(str(repository.bare), "master")
    local = {"tree": Pin(path="../llama.cpp"), "distro": Pin(binaries="/usr/bin")}
    matrix = msgspec.structs.replace(matrix, pins={**matrix.pins, **local})
    lock = resolve(matrix, tmp_path / "cache", None)
    assert lock.pins.keys() == {"mine"}
    assert list(compare(matrix, lock, tmp_path / "cache")) == []
    said = capsys.readouterr().err
    assert "pins.tree: by path: not locked, but hashed when it is built" in said
    assert "pins.distro: by binaries: not locked" in said


@pytest.mark.slow
def test_provable_commit_has_the_locked_hash_from_a_git_server(
    user_cache: Path, tmp_path: Path
) -> None:
    """The objects of the newest package, served over HTTP as a repository."""
    from llamatrix.provision.source import _take_objects

    name, locked = list(load_lock(ROOT / "matrix.lock").pins.items())[-1]
    sdist = user_cache / "sdists" / f"llama_cpp_python-{locked.version}.tar.gz"
    if not sdist.exists():
        pytest.skip(f"{sdist.name} is not in the cache")
    bare = tmp_path / "served" / "llama.cpp"
    _take_objects(sdist, bare)
    git(bare, "update-ref", "refs/heads/master", locked.commit)
    with serve_git(bare.parent) as address:
        matrix = matrix_of(f"{address}/llama.cpp", "master")
        found = resolve(matrix, tmp_path / "cache", None).pins["mine"]
    assert (found.commit, found.nar_hash) == (locked.commit, locked.nar_hash), name
