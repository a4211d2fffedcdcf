"""Pins by git: a rev becomes a commit, and one commit is fetched and proven.

Only the commit is trusted: git re-hashes every object on the way, so that whoever serves
them cannot change them. A branch, a tag or a pull request is a way to find the commit
while the lock is written.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llamatrix import shell
from llamatrix.errors import ProvisionError
from llamatrix.progress import say
from llamatrix.project import find_project, user_path
from llamatrix.provision.python import UnreachableError

_ASK_TIMEOUT_S = 120
_FETCH_TIMEOUT_S = 3600
_COMMIT = re.compile(r"[0-9a-f]{40}")
_BUILD_TAG = re.compile(r"refs/tags/b(\d+)")
_TIP = "refs/llamatrix/tip"
_ENV = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "true",
    "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
    "LC_ALL": "C",
}
_SSH = {"GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=30"}
_SLOW = ("-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=120")
"""Bytes per second and seconds after which a stalled transfer is given up."""
_UNREACHABLE = re.compile(
    r"Could not resolve|Connection refused|Connection reset|timed out|Failed to connect"
    r"|Could not read from remote|Operation too slow|early EOF|hung up|unable to access"
)
_REFUSED = re.compile(r"not our ref|unadvertised object|couldn't find remote ref")


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What a repository answers about a rev."""

    commit: str
    build_number: int = 0
    """Of a tag `bN` on the commit; 0 without one."""
    ref: str = ""
    """The full ref that the rev names; empty for a commit."""


def address(git: str) -> str:
    """Return what git takes: a URL as it is, a path relative to matrix.toml absolute."""
    if "://" in git or re.match(r"[\w.-]+@[\w.-]+:", git):
        return git
    return str((find_project().root / user_path(git)).resolve())


def find_commit(git: str, rev: str) -> Found:
    """Ask the repository which commit a rev is now; UnreachableError without an answer."""
    refs = _list_refs(git, "" if _COMMIT.fullmatch(rev) else rev)
    commit, ref = rev, ""
    if not _COMMIT.fullmatch(rev):
        names = [rev, f"refs/tags/{rev}", f"refs/heads/{rev}"]
        named = [name for name in names if name in refs]
        if not named:
            raise ProvisionError(
                f"{git}: has no branch, tag or ref {rev!r}; `git ls-remote {git}` lists "
                "what it has"
            )
        if len(named) > 1:
            raise ProvisionError(
                f"{git}: {rev!r} is a tag and a branch; write {' or '.join(named)}"
            )
        (ref,) = named
        commit = refs[ref]
    numbers = [
        int(tag[1])
        for name, tagged in refs.items()
        if tagged == commit and (tag := _BUILD_TAG.fullmatch(name))
    ]
    return Found(commit=commit, build_number=max(numbers, default=0), ref=ref)


def fetch_commit(git: str, commit: str, rev: str, git_dir: Path) -> None:
    """Fetch one commit without its history into a new bare repository.

    A server that hands out only what a ref names is asked for the ref, and for a full
    commit for a ref that names it; the commit must be the same.
    """
    git_dir.mkdir(parents=True)
    _run(git_dir, "init", "--quiet", "--bare")
    ended = _fetch(git_dir, git, commit)
    if not ended.ok and _REFUSED.search("\n".join(ended.tail)):
        ref = rev
        if _COMMIT.fullmatch(rev):
            refs = _list_refs(git, "*")
            ref = next((name for name, tip in refs.items() if tip == commit), "")
        if not ref:
            raise ProvisionError(
                f"{git}: does not hand out {commit[:12]}: it has no such commit, or none "
                "that a branch or tag still names; write a ref that contains it as rev"
            )
        say(f"{git}: does not hand out a commit by its number; fetching {ref}")
        ended = _fetch(git_dir, git, f"{ref}:{_TIP}")
        if ended.ok:
            tip = _run(git_dir, "rev-parse", f"{_TIP}^{{commit}}").strip()
            if tip != commit:
                raise ProvisionError(
                    f"{git}: {ref} has moved from {commit[:12]} to {tip[:12]}, and the "
                    "server hands out no other commit; remove the pin's entry from "
                    "matrix.lock and run `invoke lock` to follow it"
                )
    if not ended.ok:
        raise failure(git, ended)
    kind = _run(git_dir, "cat-file", "-t", commit).strip()
    if kind != "commit":
        raise ProvisionError(
            f"{git}: {commit[:12]} is a {kind}, not a commit; write the tag's name as rev"
        )


def submodules(git_dir: Path, commit: str) -> list[str]:
    """List the paths of a commit's submodules; a tree without them has empty folders."""
    entries = _run(git_dir, "ls-tree", "-r", commit).splitlines()
    return [entry.partition("\t")[2] for entry in entries if entry[:6] == "160000"]


def _list_refs(git: str, rev: str) -> Mapping[str, str]:
    """Return the commit of each ref that a rev may mean, and of tags `bN`."""
    wanted = [rev, f"{rev}^{{}}"] if rev not in {"", "*"} else []
    patterns = [] if rev == "*" else [*wanted, "refs/tags/b*"]
    argv = ["git", "ls-remote", "--quiet", "--", address(git), *patterns]
    ended = shell.run(argv, timeout_s=_ASK_TIMEOUT_S, env=git_environment())
    if not ended.ok:
        raise failure(git, ended)
    refs: dict[str, str] = {}
    for line in ended.out.splitlines():
        commit, _, name = line.partition("\t")
        refs[name.removesuffix("^{}")] = (
            commit  # an annotated tag's commit comes second
        )
    return refs


def _fetch(git_dir: Path, git: str, what: str) -> shell.Ended:
    argv = [
        *("git", f"--git-dir={git_dir}", *_SLOW),
        *("fetch", "--depth=1", "--no-tags", "--no-recurse-submodules"),
        *("--no-auto-maintenance", "--no-write-fetch-head", "--", address(git), what),
    ]
    say(f"fetching {what[:12]} from {git}, without its history")
    return shell.run(argv, timeout_s=_FETCH_TIMEOUT_S, env=git_environment())


def failure(git: str, ended: shell.Ended) -> ProvisionError:
    """Say in one line why git did not get an answer or the objects."""
    lines = [line for line in ended.tail if line.startswith(("fatal:", "error:"))]
    why = lines[0].partition(": ")[2] if lines else f"exit code {ended.returncode}"
    if ended.limit:
        why = f"no end after {ended.seconds:.0f} s"
    text = "\n".join(ended.tail)
    if ended.limit or _UNREACHABLE.search(text):
        return UnreachableError(
            f"{git}: cannot be reached: {why}; check the address and the network, then "
            "run the command again"
        )
    return ProvisionError(f"{git}: git could not fetch from it: {why}")


def _run(git_dir: Path, *arguments: str) -> str:
    ended = shell.run(
        ["git", f"--git-dir={git_dir}", *arguments],
        timeout_s=_ASK_TIMEOUT_S,
        env=git_environment(),
    )
    if not ended.ok:
        raise ProvisionError(f"{git_dir}: {ended.complaint()}")
    return ended.out


def git_environment() -> dict[str, str]:
    """Return the user's environment, for proxies and keys, in which git asks nothing."""
    return {**_SSH, **os.environ, **_ENV}


def git_in(folder: Path, *arguments: str) -> shell.Ended:
    """Run git in a folder of the user's, whoever owns it."""
    flags = ("-c", "safe.directory=*", "-c", "core.fsmonitor=false")
    return shell.run(
        ["git", *flags, *arguments],
        timeout_s=_FETCH_TIMEOUT_S,
        cwd=folder,
        env=git_environment(),
    )
