"""Ranges of commits: by history in a repository, by time among the provable ones."""

from pathlib import Path

import pytest
from tests.provision.conftest import git
from tests.provision.git_server import serve_git
from tests.shipped import ROOT

from llamatrix.config.context import Context
from llamatrix.config.load import load_matrix
from llamatrix.config.lock import load_lock
from llamatrix.errors import MatrixError
from llamatrix.project import Project
from llamatrix.provision.commit_range import CommitRange, git_range, known_range


@pytest.fixture
def context(project: Project) -> Context:
    return Context(
        project=project,
        matrix=load_matrix(ROOT / "matrix.toml"),
        lock=load_lock(ROOT / "matrix.lock"),
        profile="engines",
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits, a side branch of two that is merged, and one more."""
    folder = tmp_path / "llama.cpp"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=master")
    for subject in ("first", "second"):
        git(folder, "commit", "--quiet", "--allow-empty", "-m", subject)
    git(folder, "checkout", "--quiet", "-b", "side")
    for subject in ("side 1", "side 2"):
        git(folder, "commit", "--quiet", "--allow-empty", "-m", subject)
    git(folder, "checkout", "--quiet", "master")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "third")
    git(folder, "merge", "--quiet", "--no-ff", "-m", "merge", "side")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "last")
    return folder


def subjects(commits: CommitRange) -> list[str]:
    return [commit.about.partition(" ")[2] for commit in commits.commits]


def test_range_has_all_commits_from_good_end_to_bad_end(
    context: Context, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commits = git_range(
        context, str(repository), "master~4", "master", first_parent=False
    )
    found = subjects(commits)
    assert found[:1] == ["first"]
    assert found[-2:] == ["merge", "last"]
    assert sorted(found[1:-2]) == ["second", "side 1", "side 2", "third"]
    assert "1 of 6 commits are merges" in capsys.readouterr().err
    assert commits.repository == "llama.cpp"


def test_first_parent_leaves_side_branches_out(
    context: Context, repository: Path
) -> None:
    commits = git_range(
        context, str(repository), "master~4", "master", first_parent=True
    )
    assert subjects(commits) == ["first", "second", "third", "merge", "last"]


def test_history_of_an_address_is_fetched_without_files(
    context: Context, repository: Path
) -> None:
    git(repository, "config", "uploadpack.allowFilter", "true")
    with serve_git(repository.parent) as address:
        url = f"{address}/llama.cpp/.git"
        commits = git_range(context, url, "master~2", "master", first_parent=True)
        assert subjects(commits) == ["third", "merge", "last"]
        assert commits.repository == url
        git(repository, "commit", "--quiet", "--allow-empty", "-m", "newer")
        moved = git_range(context, url, "master~2", "master", first_parent=True)
    assert subjects(moved) == ["merge", "last", "newer"]


def test_provable_commits_are_in_order_of_time_and_share_the_pins_of_the_matrix(
    context: Context,
) -> None:
    commits = known_range(context, "april", "b9553").commits
    assert [commit.key for commit in commits[:2]] == ["april", "57ace0d612a1"]
    assert commits[-1].key == "june"
    assert commits[0].about == "2026-04-03 b8643"
    assert len({commit.sha for commit in commits}) == len(commits)


def test_end_that_no_package_proves_asks_for_the_repository(
    context: Context, tmp_path: Path
) -> None:
    (tmp_path / "CMakeLists.txt").touch()
    with pytest.raises(MatrixError, match="name the repository that has it, as --repo"):
        known_range(context, "april", str(tmp_path))
