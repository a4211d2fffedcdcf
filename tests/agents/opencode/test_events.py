"""OpenCode's own event log."""

import json
from pathlib import Path

import pytest
from tests.shipped import CAPTURED
from tests.trials.checks.made import bash, event, write

from llamatrix.agents.opencode.events import parse
from llamatrix.agents.protocol import AgentEvents, Edit, Run, Write
from llamatrix.agents.trajectory import read_trajectory

VERSIONS = ("1.3.2", "1.18.33")


def captured(version: str) -> list[str]:
    path = CAPTURED / "opencode" / f"{version}-write.jsonl"
    return path.read_text().splitlines()


@pytest.mark.parametrize("version", VERSIONS)
def test_captured_event_log_is_read(version: str, tmp_path: Path) -> None:
    lines = captured(version)
    assert parse(lines) == AgentEvents(session_id="ses_x", finish="stop")
    assert parse([*lines[:-1], lines[-1][:50]]).session_id == "ses_x"
    (tmp_path / "log").write_text("\n".join(lines))
    (call,) = read_trajectory(tmp_path / "log")
    assert (call.tool, call.completed) == ("write", True)
    assert call.action == Write(path="/trial/work/a.txt", content="one\n")
    assert call.ended_s
    assert call.ended_s >= call.begun_s > 0


def test_error_event_keeps_its_http_status() -> None:
    data = '{"message":"bad thing","statusCode":400,"isRetryable":false}'
    line = (
        f'{{"type":"error","timestamp":1,"error":{{"name":"APIError","data":{data}}}}}'
    )
    assert parse([line]).errors == ("APIError (HTTP 400): bad thing",)


@pytest.mark.parametrize(
    ("tool", "status"), [("invalid", "completed"), ("todowrite", "error")]
)
def test_refused_tool_call_is_not_completed(
    tool: str, status: str, tmp_path: Path
) -> None:
    (tmp_path / "log").write_text(event(tool, {}, status=status))
    (call,) = read_trajectory(tmp_path / "log")
    assert not call.completed


def test_tool_calls_are_read_in_order_as_actions(tmp_path: Path) -> None:
    log = tmp_path / "log"
    lines = [
        write("a.py", "x = 1"),
        bash("pytest", "1 passed", 3),
        event("edit", {"filePath": "a.py", "oldString": "1", "newString": "2"}),
        '{"type":"step_finish","part":{"type":"step-finish","reason":"stop"}}',
        '{"type":"tool_use","part":{"tool":"bash","sta',
    ]
    log.write_text("\n".join(lines))
    first, second, third = read_trajectory(log)
    assert first.action == Write(path="a.py", content="x = 1")
    assert second.action == Run(command="pytest")
    assert (second.exit_code, second.output) == (3, "1 passed")
    assert third.action == Edit(path="a.py", old="1", new="2")


def test_unicode_line_separators_split_no_event(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(bash("pytest", "1 \\u2028 passed", 0).replace("\\\\u2028", "\u2028"))
    (call,) = read_trajectory(log)
    assert call.output == "1 \u2028 passed"


def test_malformed_arguments_give_a_call_without_action(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    log.write_text(event("bash", {"command": 7}) + "\n" + event("bash", "text"))
    assert [call.action for call in read_trajectory(log)] == [None, None]


@pytest.mark.parametrize("line", [json.dumps([[]] * 3), "{" * 2000, '{"a":' * 2000])
def test_lines_that_are_no_events_are_skipped(line: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_text(line)
    assert read_trajectory(tmp_path / "log") == ()
    assert parse([line]) == AgentEvents()
