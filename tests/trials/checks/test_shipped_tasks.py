"""The shipped tasks: their words, their seeds, their solutions."""

import hashlib
import json
from pathlib import Path

import pytest

from llamatrix.agents.protocol import Write
from llamatrix.agents.trajectory import read_trajectory
from llamatrix.trials.checks.task import Task, load_task, read_prompt, task_ids
from llamatrix.trials.checks.tdd import tdd_order
from llamatrix.trials.scripted import load_transcript
from llamatrix.trials.stubs.post_api import FIRST_TITLE

PROMPTS_SHA256 = {
    "httpx-post": "69d931dae7e7d68a12cf74b041e811e37227640aff8db3714b46ab0f9cda7c7f",
    "gemini-images": "7e25e5edb1571f212241d6a312b5e0f280bd60856184acb7b679ff6aa3eee1f3",
}
"""Of the published words: the prompts are never edited."""


@pytest.fixture(params=task_ids())
def task(request: pytest.FixtureRequest) -> Task:
    return load_task(request.param)


def solution(task: Task) -> Path:
    return task.folder / "solution"


@pytest.mark.parametrize("name", PROMPTS_SHA256)
def test_prompt_equals_the_published_one(name: str) -> None:
    task = load_task(name)
    text = read_prompt(task).encode()
    assert hashlib.sha256(text).hexdigest() == PROMPTS_SHA256[task.id]
    assert "Aayush Garg, 2026-04-05" in task.prompt.source


def test_shipped_prompts_are_different_and_marked_as_ours() -> None:
    task = load_task("gemini-images")
    prompts = json.loads((task.seed / "prompts.json").read_text())
    assert len(set(prompts)) == 5
    assert "five prompts of ours" in task.prompt.seed_note


def test_the_accepted_models_have_reasons_and_the_prompts_own_is_first() -> None:
    task = load_task("gemini-images")
    assert task.models[0].name in read_prompt(task)
    assert all(model.reason for model in task.models)
    assert not {model.name for model in task.models} & {*task.served_models}


def test_expected_title_is_the_one_the_stub_serves() -> None:
    assert load_task("httpx-post").expect["printed"] == FIRST_TITLE


def test_the_authored_transcript_writes_the_solution(task: Task) -> None:
    calls = read_trajectory(solution(task) / "trajectory.jsonl")
    workspace = solution(task) / "workspace"
    actions = [call.action for call in calls]
    written = {a.path: a.content for a in actions if isinstance(a, Write)}
    assert len(written) == (3 if task.id in PROMPTS_SHA256 else 1)
    for name, text in written.items():
        assert (workspace / name).read_text() == text


@pytest.mark.parametrize("name", PROMPTS_SHA256)
def test_the_authored_transcript_works_test_first(name: str) -> None:
    task = load_task(name)
    assert tdd_order(read_trajectory(solution(task) / "trajectory.jsonl")).followed


def test_scripted_transcript_makes_the_same_calls(task: Task) -> None:
    played = load_transcript(solution(task) / "transcript.json")
    calls = read_trajectory(solution(task) / "trajectory.jsonl")
    made = [action for step in played.steps for action in step.actions]
    assert made == [call.action for call in calls]


def test_no_path_of_the_authors_machine_is_in_the_transcript(task: Task) -> None:
    text = (solution(task) / "trajectory.jsonl").read_text()
    for part in ("/root", "/home/", "/tmp/", "pyenv"):  # noqa: S108
        assert part not in text
