"""What is not the model API, or not the agent's own call, reaches no server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from tests.proxy.calling import CALLER
from tests.proxy.tapping import CHAT, EVENTS, OPENCODE, REQUEST, streaming, tapped

from llamatrix.proxy.agent_process import AgentProcess
from llamatrix.proxy.call import CallKind, Trouble, read_calls
from llamatrix.proxy.totals import totals

ADMINISTRATION = [
    ("POST", "/slots/0?action=erase"),
    ("POST", "/slots/0?action=restore"),
    ("GET", "/slots"),
    ("GET", "/lora-adapters"),
    ("POST", "/lora-adapters"),
    ("GET", "/props"),
    ("POST", "/props"),
    ("GET", "/metrics"),
    ("POST", "/completion"),
    ("POST", "/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/messages"),
    ("POST", "/v1/responses"),
    ("POST", "/chat/completions"),
    ("POST", "/infill"),
    ("POST", "/tokenize"),
    ("POST", "/apply-template"),
    ("POST", "/models/unload"),
    ("GET", "/"),
    ("POST", "//v1/chat/completions"),
    ("POST", "/v1/chat/completions/"),
    ("POST", "/v1/chat/completions%3Faction=erase"),
    ("POST", "/v1/chat/completions%00"),
    ("POST", "/V1/chat/completions"),
    ("GET", CHAT),
    ("PUT", CHAT),
    ("DELETE", CHAT),
    ("TRACE", CHAT),
    ("BREW", CHAT),
    ("POST", "/v1/models"),
]


def never(_: httpx.Request) -> httpx.Response:
    raise AssertionError


@pytest.mark.parametrize(("method", "target"), ADMINISTRATION)
def test_other_paths_are_404_and_recorded_as_an_attempt(
    method: str, target: str, tmp_path: Path
) -> None:
    with tapped(tmp_path, never) as (tap, client):
        url = httpx.URL(client.base_url).copy_with(raw_path=target.encode())
        got = client.request(method, url, content=REQUEST, headers=OPENCODE)
    assert got.status_code == 404
    (call,) = read_calls(tmp_path)
    assert (call.kind, call.trouble) == (CallKind.OTHER, Trouble.BLOCKED)
    assert call.status == 404
    assert call.error == f"{method} is not part of the model API"
    if "%" not in target:
        assert call.path == target
    assert (totals(tap.calls).api_calls, totals(tap.calls).other_calls) == (0, 1)
    assert tap.failures_in_a_row() == 0


def test_model_list_is_passed_on(tmp_path: Path) -> None:
    with tapped(tmp_path, streaming(b"{}")) as (_, client):
        assert client.get("/v1/models", headers=OPENCODE).content == b"{}"


def test_oversized_body_is_refused(tmp_path: Path) -> None:
    with tapped(tmp_path, never) as (tap, client):
        body = (b"x" * (1 << 20) for _ in range(70))
        got = client.post(CHAT, content=body, headers=OPENCODE)
    assert got.status_code == 413
    assert tap.calls[0].trouble is Trouble.BLOCKED


def test_blocked_calls_are_recorded_up_to_a_limit(tmp_path: Path) -> None:
    with tapped(tmp_path, never) as (tap, client):
        for _ in range(300):
            assert client.get("/slots").status_code == 404
    assert len(tap.calls) == len(read_calls(tmp_path)) == 200
    assert [path.name for path in tmp_path.iterdir()] == ["calls.jsonl"]


def test_only_calls_of_the_agent_process_are_passed_on(tmp_path: Path) -> None:
    """Not what it starts, though it says the same; an `exec` leaves it what it is."""
    program = tmp_path / "agent.py"
    program.write_text(CALLER)
    with tapped(tmp_path / "calls", streaming(EVENTS)) as (tap, client):
        tap.agent = AgentProcess(sandbox=os.getpid(), program=str(program))
        stranger = client.post(CHAT, content=REQUEST, headers=OPENCODE)
        argv = [str(program), str(client.base_url.join(CHAT)), REQUEST.decode()]
        ended = subprocess.run(
            [sys.executable, *argv, json.dumps(OPENCODE)],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    assert stranger.status_code == 403
    assert ended.stdout.split()[1::2] == ["200", "403", "200"]
    counted = totals(tap.calls)
    assert (counted.api_calls, counted.other_calls) == (2, 2)
    assert counted.generated_tokens == 14


def test_ended_or_missing_agent_process_calls_nothing(tmp_path: Path) -> None:
    with tapped(tmp_path, never) as (tap, client):
        tap.agent = AgentProcess(sandbox=os.getpid(), program="/no/such/agent")
        assert client.post(CHAT, content=REQUEST).status_code == 403
