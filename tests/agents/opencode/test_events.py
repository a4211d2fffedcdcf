import json

import pytest
from tests.shipped import CAPTURED

from llamatrix.agents.opencode.events import parse

VERSIONS = ("1.3.2", "1.18.33")


def captured(version: str) -> list[str]:
    path = CAPTURED / "opencode" / f"{version}-write.jsonl"
    return path.read_text().splitlines()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_real_stream_is_read(version: str) -> None:
    session = parse(captured(version))
    assert session.session_id == "ses_x"
    assert session.texts == ("Now.", "Done.")
    assert (session.errors, session.unread) == ((), 0)
    (use,) = session.tool_uses
    assert (use.tool, use.status, use.failed) == ("write", "completed", False)
    assert json.loads(use.input) == {
        "filePath": "/trial/work/a.txt",
        "content": "one\n",
    }
    assert use.ended_ms >= use.begun_ms > 0


def test_a_stream_that_was_cut_loses_only_its_last_line() -> None:
    lines = captured("1.18.33")
    session = parse([*lines[:-1], lines[-1][:50]])
    assert session.texts == ("Now.", "Done.")
    assert session.unread == 1


def test_an_error_event_is_told_with_its_status() -> None:
    data = '{"message":"bad thing","statusCode":400,"isRetryable":false}'
    line = (
        f'{{"type":"error","timestamp":1,"error":{{"name":"APIError","data":{data}}}}}'
    )
    assert parse([line]).errors == ("APIError (HTTP 400): bad thing",)


@pytest.mark.parametrize(
    ("tool", "status"), [("invalid", "completed"), ("todowrite", "error")]
)
def test_a_refused_tool_call_is_a_failed_one(tool: str, status: str) -> None:
    state = f'{{"status":"{status}","input":{{}}}}'
    part = f'{{"type":"tool","tool":"{tool}","state":{state}}}'
    (use,) = parse([f'{{"type":"tool_use","part":{part}}}']).tool_uses
    assert use.failed
