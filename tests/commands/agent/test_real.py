"""`invoke agent` itself: real OpenCode, real llama-server, a tiny model, real checks.

Builds, weights and programs come from the user's cache; records are the test's own.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from tests.engines.llama_cpp.real import real_launch
from tests.invoking import invoked_apart
from tests.shipped import ROOT
from tests.waiting import gone_within

from llamatrix.engines.llama_cpp.server import running
from llamatrix.project import Project

pytestmark = [pytest.mark.slow, pytest.mark.network]
WORDS = ("agent", "--profile", "smoke", "--cells", "*httpx*")
LIMIT_S = 540


@contextmanager
def begun(environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    harness = subprocess.Popen(
        [sys.executable, "-m", "invoke", *WORDS],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield harness
    finally:
        harness.kill()


def run(environment: Mapping[str, str]) -> tuple[int, str, str]:
    with begun(environment) as harness:
        out, said = harness.communicate(timeout=LIMIT_S)
        return harness.returncode, out, said


def wait_for(what: Callable[[], object], harness: subprocess.Popen[str]) -> None:
    until = time.monotonic() + LIMIT_S
    while not what():
        assert harness.poll() is None, harness.communicate()
        assert time.monotonic() < until
        time.sleep(0.1)


def answers(project: Project) -> list[Path]:
    return list(project.records.rglob("*.answer.txt"))


def servers_of(harness: subprocess.Popen[str]) -> list[psutil.Process]:
    below = psutil.Process(harness.pid).children(recursive=True)
    return [each for each in below if each.name() == "llama-server"]


def trials(project: Project) -> list[dict[str, dict[str, dict[str, str]]]]:
    files = sorted(project.records.glob("*/agent/**/*.jsonl"))
    return [
        json.loads(line) for file in files for line in file.read_text().splitlines()
    ]


def test_a_server_killed_in_mid_trial_breaks_that_attempt_alone(
    real_project: Project, real_environment: Mapping[str, str]
) -> None:
    with begun(real_environment) as harness:
        wait_for(lambda: answers(real_project), harness)
        (server,) = servers_of(harness)
        server.kill()
        _, said = harness.communicate(timeout=LIMIT_S)
    assert harness.returncode == 0, said
    assert "second attempt" in said
    broken, correct = (one["result"] for one in trials(real_project))
    assert broken["outcome"]["type"] == "broken"
    assert broken["outcome"]["cause"]["type"] in {"endpoint-died", "endpoint-down"}  # type: ignore[index]
    assert correct["outcome"] == {"type": "correct", "turn": 1}
    assert trials(real_project)[0]["served"]["memory"]["peak_rss_bytes"] is None
    assert "1 trials made, 0 reused" in said


def test_ctrl_c_in_mid_trial_leaves_nothing_running_and_no_half_record(
    real_project: Project, real_environment: Mapping[str, str]
) -> None:
    with begun(real_environment) as harness:
        wait_for(lambda: answers(real_project), harness)
        below = psutil.Process(harness.pid).children(recursive=True)
        assert {"llama-server", "bwrap"} <= {each.name() for each in below}
        os.kill(harness.pid, signal.SIGINT)
        _, said = harness.communicate(timeout=60)
    assert harness.returncode == 130, said
    assert "Traceback" not in said, said
    assert all(gone_within(each.pid, 10) for each in below)
    assert [path for path in real_project.reports.rglob("*") if path.is_file()] == []


def test_a_template_that_breaks_agents_gets_no_trial_and_the_tables_say_why(
    real_project: Project, real_environment: Mapping[str, str]
) -> None:
    matrix = real_project.matrix_file
    ours = 'chat_template_file = "qwen35.jinja"\n'
    matrix.write_text(matrix.read_text().replace(ours, ""))  # the vendor's is left
    code, out, said = run(real_environment)
    assert code == 8, said
    assert "0 trials made, 0 reused; 1 not run" in said
    assert "not run (template): the chat template" in said
    (record,) = trials(real_project)
    assert record["result"]["outcome"]["why"] == "template"
    assert "fails essential cases" in out


def test_an_agent_works_on_a_server_that_runs(
    real_project: Project, real_environment: Mapping[str, str], tmp_path: Path
) -> None:
    launch = real_launch(
        "current",
        "qwen35-27b",
        cache=real_project.cache,
        folder=tmp_path,
        ctx_size=32768,
    )
    with running(launch, log=tmp_path / "server.log") as serving:
        with real_project.matrix_file.open("a") as matrix:
            matrix.write(
                f'\n[endpoints.mine]\nurl = "{serving.url}/v1"\nmodel = "qwen35-27b"\n'
                'ctx_size = 32768\n[profiles.mine]\nabout = "mine"\n'
                'endpoints = ["mine"]\nagent = "pi"\nmeasure = ["agent"]\n'
            )
        words = (
            "agent",
            "--profile",
            "mine",
            "--cells",
            "*hello-file",
            "--any-template",
        )
        ended = invoked_apart(*words, env=real_environment)
    assert ended.returncode == 0, ended.stderr
    (record,) = trials(real_project)
    assert record["result"]["outcome"] == {"type": "correct", "turn": 1}
    assert record["served"]["weights"]["weights_pin"] == "unverified"
    assert "template" not in record["served"] or record["served"]["template"] is None
    assert "(unverified)" in ended.stdout
