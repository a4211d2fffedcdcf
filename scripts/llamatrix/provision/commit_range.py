"""The commits between a good and a bad end: provable ones, or those of a repository."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from llamatrix.config.context import Context
from llamatrix.config.known_builds import PACKAGE, find_pin, known_builds
from llamatrix.config.matrix import Pin
from llamatrix.errors import MatrixError, ProvisionError
from llamatrix.exclusive import exclusive
from llamatrix.progress import say
from llamatrix.project import user_path
from llamatrix.provision.git_source import address, failure, git_in

_LOG = ("log", "--reverse", "--topo-order", "--format=%H%x09%P%x09%cs %s")
_REFS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
_CREDENTIALS = re.compile(r"://[^/@]*@")


@dataclass(frozen=True, kw_only=True, slots=True)
class Commit:
    sha: str
    about: str
    """Date and subject, or date and build number."""
    key: str
    """The name of its pin: that of matrix.toml, whose build is shared, or its sha."""
    pin: Pin


@dataclass(frozen=True, kw_only=True, slots=True)
class CommitRange:
    repository: str
    """The package, or the repository without the folders that it lies in."""
    commits: tuple[Commit, ...]
    """The good end first, the bad end last."""


def known_range(context: Context, good: str, bad: str) -> CommitRange:
    """Return the provable commits from one pin to another, in order of time."""
    builds = known_builds()
    shas = [build.commit for build in builds]
    ends = []
    for flag, word in (("--good", good), ("--bad", bad)):
        try:
            key, pin = find_pin(
                word, context.matrix, context.lock.pins.items(), flag=flag
            )
        except MatrixError as error:
            raise MatrixError(
                f"{error}; a commit of a git repository needs --repo PATH-or-URL"
            ) from error
        locked = context.lock.pins.get(key)
        sha = pin.commit or (locked.commit if locked else "")
        if sha not in shas:
            raise MatrixError(
                f"{flag} {word!r}: not among the commits that a package proves; name "
                "the repository that has it, as --repo PATH-or-URL"
            )
        ends.append(shas.index(sha))
    _require_order(good, bad, same=ends[0] == ends[1], swapped=ends[0] > ends[1])
    return CommitRange(
        repository=PACKAGE,
        commits=tuple(
            _commit(
                build.commit,
                f"{build.committed} "
                + (f"b{build.build_number}" if build.build_number else build.version),
                Pin(package=PACKAGE, version=build.version, commit=build.commit),
                context,
            )
            for build in builds[ends[0] : ends[1] + 1]
        ),
    )


def git_range(
    context: Context, repo: str, good: str, bad: str, *, first_parent: bool
) -> CommitRange:
    """Return the commits of a repository that are descendants of one and lead to another."""
    if not _is_remote(repo):
        repo = str(user_path(repo).resolve())
    history = _history(repo, context.project.cache)
    older, newer = (
        _resolved(history, word, flag, repo, context)
        for flag, word in (("--good", good), ("--bad", bad))
    )
    before = git_in(history, "merge-base", "--is-ancestor", older, newer).ok
    after = git_in(history, "merge-base", "--is-ancestor", newer, older).ok
    _require_order(good, bad, same=older == newer, swapped=after)
    if not before:
        raise MatrixError(
            f"--good {good} is no ancestor of --bad {bad} in {repo}: they are on two "
            f"branches; `git merge-base {good} {bad}` names where these begin"
        )
    way = "--first-parent" if first_parent else "--ancestry-path"
    ended = git_in(history, *_LOG, way, f"{older}..{newer}")
    if not ended.ok:
        raise ProvisionError(f"{repo}: its history cannot be read\n{ended.complaint()}")
    lines = [line.split("\t", 2) for line in ended.out.splitlines()]
    merges = sum(" " in parents for _, parents, _ in lines)
    if merges and not first_parent:
        say(
            f"{repo}: {merges} of {len(lines)} commits are merges: commits of side "
            "branches are put in one line; --first-parent tries the merges alone"
        )
    about = git_in(history, "show", "--no-patch", "--format=%cs %s", older).out.strip()
    return CommitRange(
        repository=_CREDENTIALS.sub("://", repo)
        if _is_remote(repo)
        else Path(repo).name,
        commits=tuple(
            _commit(sha, text, Pin(git=repo, rev=sha), context)
            for sha, _, text in ([older, "", about], *lines)
        ),
    )


def _commit(sha: str, about: str, pin: Pin, context: Context) -> Commit:
    pins = context.lock.pins.items()
    named = (key for key, locked in pins if locked.commit == sha)
    return Commit(sha=sha, about=about, key=next(named, sha[:12]), pin=pin)


def _require_order(good: str, bad: str, *, same: bool, swapped: bool) -> None:
    if same:
        raise MatrixError(
            f"--good {good} and --bad {bad} are the same commit: there is nothing between"
        )
    if swapped:
        raise MatrixError(
            f"--good {good} is newer than --bad {bad}: swapped? Search from the older to "
            f"the newer: --good {bad} --bad {good}"
        )


def _is_remote(repo: str) -> bool:
    return address(repo) == repo and not Path(repo).is_absolute()


def _history(repo: str, cache: Path) -> Path:
    """Return a folder of git with all commits: a local one, or a copy without files."""
    if not _is_remote(repo):
        folder = Path(repo)
        if not (folder.is_dir() and git_in(folder, "rev-parse", "--git-dir").ok):
            raise ProvisionError(f"--repo {repo}: not a git repository")
        return folder
    mirror = cache / "histories" / hashlib.sha256(os.fsencode(repo)).hexdigest()[:12]
    with exclusive(mirror.with_suffix(".lock"), purpose=f"fetching {repo}"):
        mirror.mkdir(parents=True, exist_ok=True)
        git_in(mirror, "init", "--quiet", "--bare")
        say(f"fetching the history of {repo}, without its files")
        fetch = ("fetch", "--quiet", "--filter=tree:0", "--no-auto-maintenance")
        ended = git_in(mirror, *fetch, "--prune", "--", repo, *_REFS)
        if not ended.ok:
            raise failure(repo, ended)
    return mirror


def _resolved(history: Path, word: str, flag: str, repo: str, context: Context) -> str:
    """Return the commit that a word names in the repository, else in matrix.lock."""
    ended = git_in(history, "rev-parse", "--verify", "--quiet", f"{word}^{{commit}}")
    if ended.ok and not word.startswith("-"):
        return ended.out.strip()
    locked = context.lock.pins.get(word)
    if locked and git_in(history, "cat-file", "-e", f"{locked.commit}^{{commit}}").ok:
        return locked.commit
    raise MatrixError(
        f"{flag} {word!r}: {repo} has no such commit, branch or tag"
        + (f", nor the locked {locked.commit[:12]}" if locked else "")
    )
