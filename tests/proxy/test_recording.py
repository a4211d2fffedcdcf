"""What a tap recorded, read for a replay; and what of it cannot be."""

import hashlib
import re
import shutil
from pathlib import Path

import msgspec
import pytest
from tests.agents.opencode.playing import ran, script, stage_for, wrote
from tests.proxy.session_redaction import LONGEST, agent_texts, redact_session, redacted
from tests.trials.replayed import SESSION, call, record

from llamatrix.errors import MeasureError
from llamatrix.proxy.call import CallKind, Trouble, read_calls
from llamatrix.proxy.recording import read_recording
from llamatrix.trials.scripted import Step


def test_a_captured_session_is_read_in_the_order_of_its_calls() -> None:
    recording = read_recording(SESSION)
    assert [one.kind for one in recording.calls] == [
        CallKind.TITLE,
        *[CallKind.MAIN] * 3,
    ]
    assert [one.generated_tokens for one in recording.calls] == [4, 42, 35, 8]
    assert recording.left_out == 0


def test_captured_session_contains_no_path_key_or_address() -> None:
    files = [path for path in SESSION.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 200_000
    text = "\n".join(path.read_text() for path in files)
    own = re.sub(r"/trial/[\w./-]*", "", text)  # where every trial's sandbox lies
    places = set(re.findall(r"/(?:home|root|tmp|work|mnt|Users)\b[^\s\"\\]*", own))
    assert places == set()
    assert not re.findall(r"(?i)bearer |api[_-]?key|sk-[a-z0-9]{16}|AIza", text)
    assert not re.findall(r"127\.0\.0\.1|localhost", text)


def test_captured_session_contains_no_texts_of_the_agent() -> None:
    files = sorted(SESSION.glob("*.request.json"))
    assert len(files) == 4
    words = [word for file in files for word in agent_texts(file.read_bytes())]
    assert len(words) > len(files)
    assert max(len(word) for word in words) <= LONGEST
    for file in files:
        assert redacted(file.read_bytes()) == file.read_bytes()


def test_captured_calls_match_their_request_files() -> None:
    for one in read_calls(SESSION):
        body = (SESSION / f"{one.index:04}.request.json").read_bytes()
        assert one.request_bytes == len(body)
        assert one.request_sha256 == hashlib.sha256(body).hexdigest()


def test_redaction_removes_only_the_texts_of_the_agent(tmp_path: Path) -> None:
    theirs = "Words of others. " * 20
    schema = {
        "type": "object",
        "properties": {
            "description": {"type": "string", "description": theirs},
            "todos": {"items": {"enum": ["a", "b"], "title": theirs}},
        },
        "required": ["description"],
    }
    function = {"name": "task", "description": theirs, "parameters": schema}
    ours = {"role": "user", "content": "Our prompt. " * 20}
    body = {
        "messages": [{"role": "system", "content": [{"text": theirs}]}, ours],
        "tools": [{"type": "function", "function": function}],
        "stream": True,
    }
    record(tmp_path, call(1), call(2))
    file = tmp_path / "0002.request.json"
    file.write_bytes(msgspec.json.encode(body))
    before = read_calls(tmp_path)
    redact_session(tmp_path)
    assert theirs.strip() not in file.read_text()
    found = msgspec.json.decode(file.read_bytes())
    assert [one["role"] for one in found["messages"]] == ["system", "user"]
    assert found["messages"][1] == ours
    assert found["stream"] is True
    kept = found["tools"][0]["function"]
    assert kept["name"] == "task"
    assert kept["parameters"] == {
        "type": "object",
        "properties": {
            "description": {"type": "string", "description": "The value description."},
            "todos": {"items": {"enum": ["a", "b"]}},
        },
        "required": ["description"],
    }
    after = read_calls(tmp_path)
    assert [one.index for one in after] == [one.index for one in before]
    assert after[1].request_bytes == file.stat().st_size


def test_only_an_agents_calls_that_ended_well_are_replayed(tmp_path: Path) -> None:
    folder = record(
        tmp_path,
        call(3),
        call(1, CallKind.TITLE),
        call(2, CallKind.SUBAGENT),
        call(4, trouble=Trouble.CUT),
        call(5, CallKind.OTHER),
    )
    recording = read_recording(folder)
    assert [one.index for one in recording.calls] == [1, 3]
    assert recording.left_out == 3


def test_recording_digest_depends_on_texts_lengths_and_order(tmp_path: Path) -> None:
    makes = {
        "same": record(tmp_path / "a", call(1), call(2)),
        "again": record(tmp_path / "b", call(1), call(2)),
        "words": record(tmp_path / "c", call(1), call(2), says="other "),
        "lengths": record(tmp_path / "d", call(1), call(2, generated_tokens=6)),
        "fewer": record(tmp_path / "e", call(1)),
    }
    digests = {name: read_recording(folder).digest for name, folder in makes.items()}
    assert digests["same"] == digests["again"]
    assert len(set(digests.values())) == len(digests) - 1


def test_generated_tokens_fall_back_to_timings(tmp_path: Path) -> None:
    timings = {"prompt_n": 1, "prompt_ms": 1.0, "predicted_n": 9, "predicted_ms": 1.0}
    folder = record(tmp_path, call(1, generated_tokens=None, timings=timings))
    assert read_recording(folder).calls[0].generated_tokens == 9


def test_invalid_recording_is_refused_with_remedy(tmp_path: Path) -> None:
    with pytest.raises(MeasureError, match=r"no calls.jsonl there; name the folder"):
        read_recording(tmp_path)
    record(tmp_path, call(1, CallKind.OTHER))
    with pytest.raises(MeasureError, match="none of its 1 calls is an agent's"):
        read_recording(tmp_path)
    record(tmp_path, call(1, generated_tokens=None))
    with pytest.raises(MeasureError, match="call 1 has no number of generated tokens"):
        read_recording(tmp_path)
    record(tmp_path, call(1))
    (tmp_path / "0001.request.json").unlink()
    with pytest.raises(MeasureError, match=r"no 0001.request.json there"):
        read_recording(tmp_path)
    (tmp_path / "calls.jsonl").write_text("{]\n")
    with pytest.raises(MeasureError, match="cannot be read"):
        read_recording(tmp_path)


@pytest.mark.slow
@pytest.mark.network
def test_the_captured_session_is_what_a_real_opencode_sends(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Against the scripted model; --update-captured renews it."""
    stage = stage_for("1.18.33", tmp_path, title=None)
    test = (
        "from add import add\n\n\ndef test_add() -> None:\n    assert add(2, 3) == 5\n"
    )
    work = "def add(a: int, b: int) -> int:\n    return a + b\n"
    stage.play(
        "Write add.py with a function that adds two numbers, and a test for it.",
        script(
            Step(
                reasoning="The test must fail first.",
                text="First a test.",
                actions=(wrote("test_add.py", test),),
            ),
            Step(actions=(wrote("add.py", work), ran("ls"))),
            Step(text="The file and its test are written."),
        ),
    )
    if request.config.getoption("--update-captured"):
        shutil.rmtree(SESSION)
        shutil.copytree(stage.calls, SESSION)
        redact_session(SESSION)
    made, kept = read_recording(stage.calls), read_recording(SESSION)
    assert [(one.kind, one.generated_tokens) for one in made.calls] == [
        (one.kind, one.generated_tokens) for one in kept.calls
    ]
    assert [one.tools_offered for one in read_calls(stage.calls)] == [
        one.tools_offered for one in read_calls(SESSION)
    ]
