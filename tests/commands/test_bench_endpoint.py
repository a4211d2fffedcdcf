"""`invoke bench`, `plan`, `table`, `compare` and `doctor` of an endpoint."""

import json
import subprocess
from collections.abc import Iterator

import pytest
from tests.commands.conftest import RunInvoke
from tests.fakes.openai_server import OpenAiServer
from tests.invoking import invoked

from llamatrix.project import Project
from llamatrix.records.endpoint_record import ENDPOINT, EndpointRecord
from llamatrix.records.store import Store

SERVER_KEY = "a-key-of-this-server"
TABLES = """
[endpoints.mine]
url = "{url}"
model = "m"
api_key_env = "MY_KEY"

[endpoint_sweeps.tiny]
n_prompt = [100]
n_gen = [16]
n_depth = [0, 150]
repetitions = 2

[profiles.mine]
about = "mine"
endpoints = ["mine"]
endpoint_sweep = "tiny"
measure = ["speed"]
"""
ARGUMENTS = ("--profile", "mine")


@pytest.fixture
def server(project: Project) -> Iterator[OpenAiServer]:
    own = OpenAiServer(key=SERVER_KEY, token_s=0.001)
    with own.running() as url:
        text = project.matrix_file.read_text()
        project.matrix_file.write_text(text + TABLES.format(url=url))
        yield own


@pytest.fixture
def invoke(invoke_environment: dict[str, str]) -> RunInvoke:
    def run(*arguments: str, key: str = "") -> subprocess.CompletedProcess[str]:
        env = {**invoke_environment, **({"MY_KEY": key} if key else {})}
        return invoked(*arguments, env=env)

    return run


def stored(project: Project) -> list[EndpointRecord]:
    return list(Store(reports=project.reports, kind=ENDPOINT).read_all())


@pytest.mark.usefixtures("server")
def test_a_cluster_leaves_endpoints_out_and_says_so(invoke: RunInvoke) -> None:
    plan = invoke("plan", *ARGUMENTS, "--cluster", "local")
    assert plan.returncode == 0, plan.stderr
    assert "not measured with --cluster, but without it: endpoint/mine" in plan.stderr


def test_endpoint_is_planned_measured_once_and_shown_unverified(
    server: OpenAiServer, project: Project, invoke: RunInvoke
) -> None:
    plan = invoke("plan", *ARGUMENTS)
    assert "endpoint/mine/tiny" in plan.stdout
    assert "3 tests" in plan.stdout
    done = invoke("bench", *ARGUMENTS, key=SERVER_KEY)
    assert (done.returncode, "3 tests measured" in done.stderr) == (0, True)
    again = invoke("bench", *ARGUMENTS, key=SERVER_KEY)
    assert "all 3 tests reused" in again.stderr
    table = invoke("table", "--full", *ARGUMENTS).stdout
    assert table.count("*unverified*") >= 6
    assert "not told" in table
    assert (project.reports / "endpoints.md").read_text() == table
    server.version = "two"  # another build answers now
    changed = invoke("bench", *ARGUMENTS, key=SERVER_KEY)
    assert "3 tests measured" in changed.stderr
    records = Store(reports=project.reports, kind=ENDPOINT).folder.rglob("*.jsonl")
    (text,) = (path.read_text() for path in records)
    assert SERVER_KEY not in text
    assert "127.0.0.1" not in text
    assert SERVER_KEY not in done.stdout + done.stderr
    compared = invoke("compare", *ARGUMENTS)
    assert (compared.returncode, "not comparable" in compared.stdout) == (0, True)


@pytest.mark.usefixtures("server")
def test_refused_tests_are_due_until_the_endpoint_answers(
    project: Project, invoke: RunInvoke
) -> None:
    wrong = invoke("bench", *ARGUMENTS, key="a-wrong-key")
    assert wrong.returncode == 8
    assert "unauthorised" in wrong.stderr
    missing = invoke("bench", *ARGUMENTS)
    assert missing.returncode == 2
    assert "MY_KEY" in missing.stderr
    right = invoke("bench", *ARGUMENTS, key=SERVER_KEY)
    assert (right.returncode, len(stored(project))) == (0, 6)


def test_records_of_tests_that_the_sweep_has_no_more_do_not_count(
    server: OpenAiServer, project: Project, invoke: RunInvoke
) -> None:
    server.most_tokens = 1
    failed = invoke("bench", *ARGUMENTS, "--again", "1", key=SERVER_KEY)
    assert failed.returncode == 8, failed.stderr
    text = project.matrix_file.read_text()
    before = "n_prompt = [100]\nn_gen = [16]\nn_depth = [0, 150]"
    assert text.count(before) == 1
    after = "n_prompt = [60]\nn_gen = [8]\nn_depth = [0]"
    project.matrix_file.write_text(text.replace(before, after))
    server.most_tokens = 100
    done = invoke("bench", *ARGUMENTS, key=SERVER_KEY)
    assert done.returncode == 0, done.stderr
    assert "2 tests measured, 0 reused" in done.stderr
    (cell,) = json.loads(invoke("plan", *ARGUMENTS, "--json").stdout)
    assert (cell["recorded"], cell["failed"], cell["missing"]) == (2, 0, [])


@pytest.mark.usefixtures("server")
def test_doctor_tells_whether_an_endpoint_answers(invoke: RunInvoke) -> None:
    found = json.loads(invoke("doctor", "--json", key=SERVER_KEY).stdout)
    assert [one["state"] for one in found if one["subject"] == "endpoint"] == ["ok"]
    found = json.loads(invoke("doctor", "--json", key="wrong").stdout)
    assert [one["state"] for one in found if one["subject"] == "endpoint"] == [
        "missing"
    ]
