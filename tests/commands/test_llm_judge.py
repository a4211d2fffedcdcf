"""`invoke llm-judge` on recorded trials, against an endpoint on this machine's loopback."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tests.commands.conftest import RunInvoke
from tests.report.made_trials import IMAGES, NO_SANDBOX, made_trial, stored_trials

from llamatrix.project import Project
from llamatrix.proxy.serving import address, loopback_listener, serving
from llamatrix.records.judge_record import JUDGE, JudgeRecord
from llamatrix.records.store import Store
from llamatrix.records.trial_record import TrialRecord
from llamatrix.trials.llm_judge import Given, Unparseable, rubric

KEY, OTHER = "the-endpoints-own-key", "another-services-token"
NOBODY = ("--url", "http://127.0.0.1:9")
GRADE = {"score": 4, "sentence": "Reads at once."}
GRADES = json.dumps(dict.fromkeys(rubric().aspects, GRADE))


class Judge:
    """An OpenAI-compatible endpoint with a fixed answer."""

    def __init__(self) -> None:
        self.says: Callable[[], str] = lambda: GRADES
        self.status = 200
        self.asked: list[tuple[str, str]] = []
        """The Authorization header and the body of each request."""

    async def answer(self, request: Request) -> Response:
        body = (await request.body()).decode()
        self.asked.append((request.headers.get("Authorization", ""), body))
        message = {"role": "assistant", "content": self.says()}
        told = {"model": "judge-1", "choices": [{"message": message}]}
        return JSONResponse(told, status_code=self.status)


@contextmanager
def judging(judge: Judge) -> Iterator[str]:
    routes = [Route("/v1/chat/completions", judge.answer, methods=["POST"])]
    with (
        loopback_listener() as listener,
        serving(Starlette(routes=routes), [listener]),
    ):
        yield address(listener)


def with_work(project: Project, *trials: TrialRecord) -> None:
    """Stored trials, each with the workspaces of its turns."""
    stored_trials(project.reports, trials)
    for trial in trials:
        for number in range(1, len(trial.result.turns) + 1):
            workspace = folder_of(project, trial) / f"turn-{number}" / "workspace"
            workspace.mkdir(parents=True)
            (workspace / "main.py").write_text(f"turn = {number}  # {KEY} {OTHER}\n")


def folder_of(project: Project, trial: TrialRecord) -> Path:
    assert trial.served
    return project.records / trial.host.slug / trial.served.trajectory


def ratings(project: Project) -> list[JudgeRecord]:
    return list(Store(reports=project.reports, kind=JUDGE).read_all())


@pytest.fixture
def judge() -> Judge:
    return Judge()


def test_each_trial_is_asked_once_and_shown_apart(
    project: Project,
    run_invoke: RunInvoke,
    judge: Judge,
    invoke_environment: dict[str, str],
) -> None:
    invoke_environment |= {"JUDGE_KEY": KEY, "SOME_TOKEN": OTHER}
    with_work(project, made_trial(), made_trial(task=IMAGES, trial=1))
    run_invoke("table", "--full")
    before = (project.reports / "agent.md").read_text()
    trials = {
        path: path.read_bytes() for path in project.records.rglob("agent/**/*.jsonl")
    }
    with judging(judge) as url:
        words = ("--url", url, "--model", "judge", "--key-env", "JUDGE_KEY")
        ended = run_invoke("llm-judge", *words)
        assert ended.returncode == 0, ended.stderr
        again = run_invoke("llm-judge", *words)
    assert again.stderr.count("asked before") == 2
    assert len(judge.asked) == 2
    for header, body in judge.asked:
        assert header == f"Bearer {KEY}"
        assert KEY not in body
        assert OTHER not in body
        assert "turn = 1" in body
    kept = ratings(project)
    assert [type(one.answer) for one in kept] == [Given, Given]
    assert kept[0].request.prompt_sha256 != kept[1].request.prompt_sha256
    assert url not in msgspec.json.encode(kept).decode()
    assert "### LLM judge judge (not part of pass or fail)" in ended.stdout
    shown = run_invoke("table", "--full")
    after = (project.reports / "agent.md").read_text()
    assert after.startswith(before)
    assert shown.stdout == after
    assert {path: path.read_bytes() for path in trials} == trials
    assert "LLM judge" not in (project.reports / "index.html").read_text()


def test_judge_rates_the_last_workspace_and_skips_missing_ones(
    project: Project, run_invoke: RunInvoke, judge: Judge
) -> None:
    several, gone = made_trial(turns=made_trial().result.turns * 3), made_trial(trial=2)
    with_work(project, several)
    stored_trials(project.reports, [gone, made_trial("gemma4-31b", outcome=NO_SANDBOX)])
    assert several.served
    moved = msgspec.structs.replace(several.served, trajectory="elsewhere")
    stored_trials(
        project.reports,
        [msgspec.structs.replace(several, trial=3, served=moved)],
    )
    with judging(judge) as url:
        ended = run_invoke("llm-judge", "--url", f"{url}/v1/", "--model", "judge")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("its workspace is no longer there") == 2
    ((_, body),) = judge.asked
    assert "turn = 3" in body


def test_unparseable_answer_is_kept_and_only_asked_again_on_demand(
    project: Project, run_invoke: RunInvoke, judge: Judge
) -> None:
    with_work(project, made_trial())
    judge.says = lambda: "Lovely."
    with judging(judge) as url:
        words = ("--url", url, "--model", "judge")
        ended = run_invoke("llm-judge", *words)
        assert ended.returncode == 0, ended.stderr
        judge.says = lambda: GRADES
        run_invoke("llm-judge", *words)
        assert len(judge.asked) == 2
        run_invoke("llm-judge", *words, "--again")
    assert [type(one.answer) for one in ratings(project)] == [Unparseable, Given]
    assert "no rating: unparseable" in ended.stderr


def test_an_endpoint_that_fails_leaves_no_rating(
    project: Project, run_invoke: RunInvoke, judge: Judge
) -> None:
    with_work(project, made_trial())
    judge.status = 500
    with judging(judge) as url:
        ended = run_invoke("llm-judge", "--url", url, "--model", "judge")
    assert ended.returncode == 5
    assert "HTTP 500" in ended.stderr
    assert ratings(project) == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--url", "judge.local"), 2, "--url judge.local: not an address"),
        (("--url", "ftp://judge"), 2, "not an address"),
        (("--url", "http://judge:99999"), 2, "not an address"),
        (("--url", "http://me:secret@judge"), 2, "not an address"),
        ((*NOBODY, "--key-env", "NO_SUCH"), 2, "is not set"),
        ((*NOBODY, "--cells", "agent/x*"), 2, "--cells 'agent/x*' matches no cell"),
        ((*NOBODY, "--profile", "smoke"), 5, "no finished trial of profile 'smoke'"),
        ((*NOBODY, "--profile", "smok"), 2, "smoke"),
        (NOBODY, 5, "answers so far are kept"),
    ],
)
def test_trial_that_cannot_be_rated_is_reported(
    words: tuple[str, ...],
    code: int,
    said: str,
    project: Project,
    run_invoke: RunInvoke,
) -> None:
    with_work(project, made_trial())
    ended = run_invoke("llm-judge", "--model", "judge", *words)
    assert ended.returncode == code
    assert said in ended.stderr
    assert "me:secret" not in ended.stderr
    assert ratings(project) == []


def test_exported_tables_have_their_ratings(
    project: Project, run_invoke: RunInvoke, judge: Judge
) -> None:
    with_work(project, made_trial())
    with judging(judge) as url:
        run_invoke("llm-judge", "--url", url, "--model", "judge")
    copy = project.root / "copy"
    assert run_invoke("table", "--full", "--out", str(copy)).returncode == 0
    page = (copy / "agent.md").read_text()
    assert "LLM judge judge" in page
    assert page == (project.reports / "agent.md").read_text()
    assert len(list(copy.rglob("opinion/**/*.jsonl"))) == 1
