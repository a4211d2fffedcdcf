"""Agent trials on an endpoint: planned, asked for its identity, never proven."""

from collections.abc import Iterator

import pytest
from tests.commands.agent.conftest import NO_SANDBOX
from tests.fakes.openai_server import OpenAiServer

from llamatrix.commands.pending import find_pending
from llamatrix.commands.plan import plan_text
from llamatrix.commands.trial_attempt import not_run
from llamatrix.commands.trial_parts import TemplateRefusedError, provide_agent_parts
from llamatrix.config.context import Context, load_context
from llamatrix.errors import MeasureError
from llamatrix.project import Project
from llamatrix.records.trial_record import AGENT

TABLES = """
[endpoints.mine]
url = "{url}"
model = "/models/m"
ctx_size = 32768

[profiles.mine]
about = "mine"
endpoints = ["mine"]
agent = "pi"
measure = ["agent"]
"""


@pytest.fixture
def server(project: Project) -> Iterator[OpenAiServer]:
    own = OpenAiServer()
    with own.running() as url:
        with project.matrix_file.open("a") as matrix:
            matrix.write(TABLES.format(url=url))
        yield own


@pytest.fixture
def context(server: OpenAiServer, project: Project) -> Context:  # noqa: ARG001
    return load_context("mine", project=project)


def test_plan_of_an_endpoint_makes_no_request_and_has_no_digest(
    server: OpenAiServer, context: Context
) -> None:
    text = plan_text(find_pending(context))
    assert "agent/mine.endpoint/mine/http/pi-current/hello-file" in text
    assert text.count("not hashed: unverified") == 3
    assert not server.prompts


def test_endpoint_with_another_build_gets_new_trials(
    server: OpenAiServer, context: Context
) -> None:
    def digests() -> set[str]:
        pending = find_pending(context, ask_hub=True)
        assert not pending.engines
        return {status.digest for status in pending.trials}

    one = digests()
    assert digests() == one
    server.version = "two"
    assert not digests() & one


def test_record_says_unverified_and_holds_no_address(context: Context) -> None:
    (status, *_) = find_pending(context, ask_hub=True).trials
    record = not_run(status, 1, NO_SANDBOX)
    line = AGENT.encode(record)
    assert b"127.0.0.1" not in line
    assert b"/models" not in line
    assert record.cell.model_name == "m"
    assert record.locked.marked("mine") == "mine (unverified)"
    assert "it reports one" in record.build.source_note


def test_template_of_an_endpoint_is_never_proven(context: Context) -> None:
    (status, *_) = find_pending(context, ask_hub=True).trials
    with pytest.raises(TemplateRefusedError, match="cannot be proven: --any-template"):
        provide_agent_parts(status.cell, context)


def test_endpoint_that_is_down_stops_before_any_trial(project: Project) -> None:
    with project.matrix_file.open("a") as matrix:
        matrix.write(TABLES.format(url="http://127.0.0.1:1"))
    with pytest.raises(MeasureError, match="endpoint mine: "):
        find_pending(load_context("mine", project=project), ask_hub=True)
