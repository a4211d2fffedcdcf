"""`invoke bisect` over a small repository whose builds are the fake llama-bench."""

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import tasks
from invoke import Collection, Program
from tests.commands.regress.conftest import ONE_CELL, Regress, stock
from tests.invoking import invoked, invoked_apart
from tests.provision.conftest import git

from llamatrix.commands.flags import RegressFlags
from llamatrix.commands.registry import Command
from llamatrix.config.context import load_context
from llamatrix.config.matrix import Pin
from llamatrix.project import Project
from llamatrix.provision.resolve import with_commit

Bisect = Callable[..., subprocess.CompletedProcess[str]]
_TG = "--metric", "tg"
_GEMMA = "--cells", "*gemma4-31b*"
"""A model that is served with the template inside its weights."""


class Repository:
    """Commits of a small tree; each has a build unless a test takes it away."""

    def __init__(self, project: Project, folder: Path, count: int) -> None:
        self.project, self.folder = project, folder
        folder.mkdir()
        git(folder, "init", "--quiet", "--initial-branch=master")
        for number in range(count):
            self.commit(f"change {number}")
        self.shas = git(folder, "rev-list", "--reverse", "HEAD").split()

    def commit(self, subject: str) -> None:
        program = self.folder / "tools/llama-bench/llama-bench.cpp"
        program.parent.mkdir(parents=True, exist_ok=True)
        flag = "-mg" if subject.startswith("change") else "-dev"
        program.write_text(f'if (arg == "{flag}") {{}}\n')
        (self.folder / "CMakeLists.txt").write_text(f"# {subject}\n")
        git(self.folder, "add", ".")
        git(self.folder, "commit", "--quiet", "-m", subject)

    def stock(self, *, without: tuple[int, ...] = ()) -> None:
        for number, sha in enumerate(self.shas):
            context = load_context("engines", project=self.project)
            pin = Pin(git=str(self.folder), rev=sha)
            context = with_commit(context, sha[:12], pin).narrowed(pins=(sha[:12],))
            if number not in without:
                stock(self.project, context.plan().speed[0])

    def slow_from(self, first: int, **wish: object) -> dict[str, object]:
        """What the builds from a commit on do; a tenth slower unless said otherwise."""
        return {sha[:12]: wish or {"speed": 0.9} for sha in self.shas[first:]}


@pytest.fixture
def repository(pins: Project, tmp_path: Path) -> Repository:
    return Repository(pins, tmp_path / "llama.cpp", 5)


@pytest.fixture
def bisect(invoke_environment: dict[str, str], repository: Repository) -> Bisect:
    def run(*arguments: str, **wishes: object) -> subprocess.CompletedProcess[str]:
        env = dict(invoke_environment)
        for name in ("LLAMATRIX_FAKE_BENCH", "LLAMATRIX_FAKE_REPLAY"):
            env[name] = json.dumps(wishes)
        words = {
            "--good": "master~4",
            "--bad": "master",
            "--repo": str(repository.folder),
            "--profile": "engines",
            "--cells": ONE_CELL,
            "--max-background-load": "100",
        }
        shared = [w for pair in words.items() if pair[0] not in arguments for w in pair]
        return invoked("bisect", *shared, *arguments, env=env)

    return run


def test_the_slow_commit_is_found_and_known_from_then_on(
    repository: Repository, bisect: Bisect, tmp_path: Path
) -> None:
    repository.stock()
    page = tmp_path / "out" / "result.md"
    wishes = {"pins": repository.slow_from(3)}
    ended = bisect(*_TG, "--json", "--markdown", str(page), **wishes)
    assert ended.returncode == 10, ended.stderr
    found = json.loads(ended.stdout)
    assert found["culprits"] == [repository.shas[3]]
    assert found["repository"] == "llama.cpp"
    assert len(found["steps"]) == 3
    assert found["steps"][-1]["ratio"] == pytest.approx(0.9, rel=1e-2)
    assert "change 3" in found["answer"]
    assert f"| {repository.shas[3][:12]}" in page.read_text()
    again = bisect(*_TG, "--json", **wishes)
    assert json.loads(again.stdout) == found
    assert "3 of them are known" in again.stderr
    assert "plan: nothing is left to try" in again.stderr
    assert "step" not in again.stdout.split("{")[0]


def test_bad_end_that_is_not_slower_ends_the_search_after_one_comparison(
    repository: Repository, bisect: Bisect
) -> None:
    repository.stock()
    ended = bisect(*_TG)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("SAME: no change: master does as well as master~4")
    assert "compared with the good end: 1 of 4" in ended.stdout
    faster = bisect(*_TG, "--again", pins=repository.slow_from(4, speed=1.2))
    assert "no loss: master is faster" in faster.stdout


def test_commits_that_do_not_build_are_skipped(
    repository: Repository, bisect: Bisect
) -> None:
    repository.stock(without=(2,))
    ended = bisect(*_TG, "--json", pins=repository.slow_from(3))
    assert ended.returncode == 10, ended.stderr
    found = json.loads(ended.stdout)
    assert found["candidates"] == 2
    assert found["culprits"] == repository.shas[2:4]
    skipped = [step for step in found["steps"] if step["mark"] == "skipped"]
    assert len(skipped) == 1
    assert skipped[0]["reason"].startswith("does not build")
    assert "/cache/" not in skipped[0]["reason"]


def test_a_crash_is_searched_for_by_the_exit_status(
    repository: Repository, bisect: Bisect
) -> None:
    repository.stock()
    wishes = {"pins": repository.slow_from(1, fail={"32": "crash"})}
    ended = bisect(*_TG, "--json", **wishes)
    assert ended.returncode == 11, ended.stderr
    found = json.loads(ended.stdout)
    assert found["culprits"] == [repository.shas[1]]
    assert "crashed with exit code -6" in found["steps"][-1]["reason"]


def test_another_output_at_the_same_seed_is_searched_for(
    repository: Repository, bisect: Bisect
) -> None:
    repository.stock()
    wishes = {"pins": repository.slow_from(3, writes="y")}
    ended = bisect("--check", "output", "--json", *_GEMMA, **wishes)
    assert ended.returncode == 11, ended.stderr
    found = json.loads(ended.stdout)
    assert found["culprits"] == [repository.shas[3]]
    assert "the output differs from character 1 on: 'yyyy" in found["answer"]
    assert found["case"] == "gemma4-31b"
    assert "plan: output of gemma4-31b, at most 3 steps" in ended.stderr
    assert "unless the cache has it; the good end" in ended.stderr


def test_a_server_that_no_longer_starts_is_broken_too(
    repository: Repository, bisect: Bisect
) -> None:
    repository.stock()
    wishes = {"pins": repository.slow_from(4, starts=False)}
    ended = bisect("--check", "template", *_GEMMA, **wishes)
    assert ended.returncode == 11, ended.stderr
    assert " change 4): does not serve" in ended.stdout


def test_a_template_that_no_longer_loads_is_named_with_what_the_server_said(
    repository: Repository, bisect: Bisect
) -> None:
    repository.stock()
    wishes = {"pins": repository.slow_from(3, mode="template-refused")}
    ended = bisect("--check", "template", *_GEMMA, **wishes)
    assert ended.returncode == 11, ended.stderr
    said = "loads: llama-server: error: the supplied chat template is not supported"
    assert re.search(f"first broken commit .*change 3.*{said}", ended.stdout)


def test_search_that_the_budget_ended_continues(
    repository: Repository, bisect: Bisect
) -> None:
    repository.stock()
    wishes = {"pins": repository.slow_from(3)}
    first = bisect(*_TG, "--budget", "1s", "--json", **wishes)
    assert first.returncode in {2, 12}, first.stderr
    ended = bisect(*_TG, "--json", **wishes)
    assert json.loads(ended.stdout)["culprits"] == [repository.shas[3]]


def test_another_sweep_build_or_model_is_another_search(
    repository: Repository, bisect: Bisect
) -> None:
    repository.stock()
    assert bisect(*_TG).returncode == 0
    matrix = repository.project.matrix_file
    text = matrix.read_text()
    for old, new, known in (
        ("timeout_s = 120", "timeout_s = 130", True),
        ("ubatch_size = 512", "ubatch_size = 256", False),
        ('GGML_BMI2 = "ON"', 'GGML_BMI2 = "OFF"', False),
        ("seed = 0", "seed = 1", False),
    ):
        assert old in text
        matrix.write_text(text.replace(old, new))
        said = bisect(*_TG, "--dry-run").stderr
        assert ("known from an earlier run" in said) is known, new
        assert ("plan: nothing is left to try" in said) is known, new


def test_flags_of_the_server_belong_to_a_search_by_check(
    repository: Repository, bisect: Bisect
) -> None:
    repository.stock()
    words = ("--check", "output", *_GEMMA)
    assert bisect(*words).returncode == 0
    assert "known from an earlier run" in bisect(*words, "--dry-run").stderr
    matrix = repository.project.matrix_file
    text = matrix.read_text()
    assert "context_shift = true" in text
    matrix.write_text(text.replace("context_shift = true", "context_shift = false"))
    assert "known from an earlier run" not in bisect(*words, "--dry-run").stderr


def test_a_flag_that_a_commit_does_not_know_is_left_out(
    repository: Repository, bisect: Bisect
) -> None:
    matrix = repository.project.matrix_file
    text = matrix.read_text()
    matrix.write_text(
        text.replace("[sweeps.smoke]\n", "[sweeps.smoke]\nmain_gpu = 0\n")
    )
    repository.commit("without the flag")
    repository.shas = git(repository.folder, "rev-list", "--reverse", "HEAD").split()
    repository.stock()
    ended = bisect("--good", "master~1", *_TG, "--json")
    assert ended.returncode == 0, ended.stderr
    (step,) = json.loads(ended.stdout)["steps"]
    sha = repository.shas[-1][:12]
    assert step["reason"] == f"{sha} does not know -mg: left out there alone"
    assert step["verdict"] == "SAME"


def test_a_moved_branch_begins_a_search_of_its_own(
    repository: Repository, bisect: Bisect
) -> None:
    repository.stock()
    good = "--good", repository.shas[0]
    assert bisect(*_TG, *good).returncode == 0
    repository.commit("one more")
    ended = bisect(*_TG, *good, "--dry-run")
    assert f"master has moved from {repository.shas[4][:12]} to" in ended.stderr
    assert "5 commits after" in ended.stderr
    assert "plan: at most 4 steps" in ended.stderr
    assert "unless the cache has it and 5 to 60 pairs" in ended.stderr


@pytest.mark.parametrize(
    ("baseline", "candidate", "code"),
    [("current", "april", 1), ("april", "current", 0), ("april", "nothing", 128)],
)
@pytest.mark.usefixtures("pins")
def test_regress_exits_as_git_bisect_run_reads_it(
    invoke_environment: dict[str, str], baseline: str, candidate: str, code: int
) -> None:
    wishes = json.dumps({"pins": {"april": {"speed": 0.5}}})
    env = {**invoke_environment, "LLAMATRIX_FAKE_BENCH": wishes}
    words = ["regress", "--profile", "engines", "--cells", ONE_CELL, *_TG]
    words += ["--max-background-load", "100", "--git-bisect"]
    words += ["--baseline", baseline, "--candidate", candidate]
    ended = invoked(*words, env=env)
    assert ended.returncode == code, ended.stderr


def test_what_the_machine_refuses_stops_git_bisect(
    pins: Project, regress: Regress
) -> None:
    """Lower codes are verdicts to git: it would call the commit bad."""
    (pins.cache / "logs").write_text("in the place of the folder")
    ended = regress(*_TG)
    assert ended.returncode == 3, ended.stderr
    assert regress(*_TG, "--git-bisect").returncode == 128


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--max-background-load 120", "expected a number from 0 to 100"),
        ("--tolerate-load 20", "--tolerate-load: renamed"),
        ("--metrc tg", "No idea what '--metrc' is!"),
        ("--metric", "needed value and was not given one"),
    ],
)
def test_a_mistake_on_the_command_line_stops_git_bisect(
    invoke_environment: dict[str, str], words: str, said: str
) -> None:
    line = ("regress", "--git-bisect", *words.split())
    ended = invoked_apart(*line, env=invoke_environment)
    assert ended.returncode == 128, ended.stderr
    assert said in ended.stderr


def test_a_bug_stops_git_bisect_and_keeps_its_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    task = tasks.task_of(Command("regress", RegressFlags, "regress:no_function"))
    handlers = [(one, signal.getsignal(one)) for one in (15, 1)]
    with pytest.raises(SystemExit) as end:
        Program(namespace=Collection(task)).run(["invoke", "regress", "--git-bisect"])
    for number, handler in handlers:
        signal.signal(number, handler)
    assert end.value.code == 128
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (
            ("--good", "master", "--bad", "master~4"),
            "newer than --bad master~4: swapped?",
        ),
        (("--good", "master"), "are the same commit"),
        (("--good", "side"), "is no ancestor of --bad master"),
        (("--good", ""), "--good: missing; name both ends"),
        (("--good", "gone"), "'gone': .* has no such commit, branch or tag"),
        (("--repo", "nowhere"), "--repo .*nowhere: not a git repository"),
        (("--check", "outptu"), "not known; did you mean 'output'"),
        (("--budget", "long"), "--budget "),
        (("--margin", "2"), "margin: '2'"),
        (("--metric", "ttft"), "--metric 'ttft': not known"),
        (("--markdown", "."), "cannot be written"),
    ],
)
def test_bad_input_is_one_line(
    repository: Repository, bisect: Bisect, words: tuple[str, ...], why: str
) -> None:
    git(repository.folder, "checkout", "--quiet", "-b", "side", "master~2")
    repository.commit("on the side")
    ended = bisect(*words)
    assert ended.returncode not in {0, 10, 11}, ended.stderr
    (line,) = [
        line for line in ended.stderr.splitlines() if line.startswith("llamatrix:")
    ]
    assert re.search(why, line), line


def test_a_good_end_that_does_not_build_stops(
    repository: Repository, bisect: Bisect
) -> None:
    repository.stock(without=(0,))
    ended = bisect(*_TG)
    assert ended.returncode == 3
    assert "does not build, so nothing can be compared with it" in ended.stderr


def test_bad_end_that_does_not_build_ends_without_a_verdict(
    repository: Repository, bisect: Bisect
) -> None:
    repository.stock(without=(4,))
    ended = bisect(*_TG)
    assert ended.returncode == 12, ended.stderr
    assert "not known whether master is worse" in ended.stdout


def test_no_disk_for_builds_is_one_line(
    repository: Repository, bisect: Bisect, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.stock(without=(2,))
    full = shutil.disk_usage("/")._replace(free=10**8)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    ended = bisect(*_TG, pins=repository.slow_from(3))
    assert ended.returncode == 3
    assert "building" in ended.stderr.splitlines()[-1]


def test_provable_commits_are_searched_in_order(bisect: Bisect) -> None:
    def searched(*words: str) -> str:
        return bisect("--repo", "", "--dry-run", *words).stderr

    said = searched("--good", "april", "--bad", "current")
    assert "llama-cpp-python: 25 commits after april (2026-04-03 b8643)" in said
    assert "plan: at most 6 steps" in said
    assert "newer than --bad april: swapped?" in searched(
        "--good", "current", "--bad", "april"
    )
    assert "are the same commit" in searched("--good", "april", "--bad", "april")
    assert "--repo PATH-or-URL" in searched("--good", "april", "--bad", "main")
