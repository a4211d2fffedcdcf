"""Both pins of OpenCode itself, in the real sandbox, against a scripted model."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.agents.opencode.playing import (
    DONE,
    INTEGRITY,
    WRITES_A_FILE,
    Stage,
    commands,
    ran,
    script,
    stage_for,
)

from llamatrix.agents.opencode.events import INVALID_TOOL, read_tool_call
from llamatrix.agents.protocol import McpServer
from llamatrix.agents.turn import Timeouts, TurnRun
from llamatrix.agents.turn_outcome import (
    AgentKilled,
    Answered,
    EndpointDown,
    NotRun,
    RanAway,
    ToolsMissing,
    WhyNotRun,
    is_the_models,
)
from llamatrix.proxy.call import CallKind
from llamatrix.sandbox.workspace_archive import unpack_work
from llamatrix.trials.scripted import Fault, OwnCall, Step, Transcript

pytestmark = [
    pytest.mark.slow,
    pytest.mark.network,
    pytest.mark.parametrize("version", sorted(INTEGRITY)),
]
NOBODY = "http://127.0.0.1:9"
BOMB = "f(){ if [ $1 = 0 ]; then sleep 50; else f $(($1-1)) | f $(($1-1)) & fi; }"
"""Doubles a given number of times: an endless one takes others' processes too."""
TODOS = '[{"content":"x","status":"pending","priority":"high","id":"1"}]'


KEY = "planted-key-31415926"
MUCH_HAPPENS = script(
    WRITES_A_FILE.steps[0],
    Step(actions=(OwnCall(tool="todowrite", arguments={"todos": TODOS}),)),
    Step(actions=(OwnCall(tool="bash", raw_arguments='{"command": '),)),
    Step(
        faults=(Fault.HTTP_500,),
        actions=(
            ran('echo "$GEMINI_API_KEY" | tee /dev/stderr | wc -c'),
            ran("head -c 3G /dev/zero > big"),
        ),
    ),
    Step(actions=(ran("curl -s http://127.0.0.1:8099/v1/models"),)),
    Step(actions=(ran("setsid sleep 300 >/dev/null 2>&1 &"),)),
    DONE,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Played:
    stage: Stage
    run: TurnRun


@pytest.fixture(scope="module")
def played() -> dict[str, Played]:
    """One turn of each version, in which much happens, for all who only read of it."""
    return {}


@pytest.fixture
def turn(
    version: str,
    played: dict[str, Played],
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Played:
    """The turn that was played; in a second try, one of its own."""
    again = getattr(request.node, "execution_count", 1) > 1
    if again or version not in played:
        stage = stage_for(version, tmp_path_factory.mktemp("much"), todo_fix=True)
        stage.sandbox = replace(stage.sandbox, environment={"GEMINI_API_KEY": KEY})
        stage.secrets = (KEY,)
        run = stage.play("Write a file.", MUCH_HAPPENS)
        played[version] = Played(stage=stage, run=run)
    return played[version]


def test_turn_runs_the_models_tool_calls_and_records_them(
    turn: Played, tmp_path: Path
) -> None:
    stage, run = turn.stage, turn.run
    assert run.outcome == Answered()
    uses = run.tool_calls
    assert (uses[0].tool, uses[0].completed) == ("write", True)
    assert set(run.calls[0].tools_offered) == stage.agent.tools_expected
    first = json.loads((stage.calls / "0001.request.json").read_bytes())
    assert "Write a file." in json.dumps(first["messages"][-1])
    assert run.totals.tool_calls == len(uses) == 7
    assert run.files
    unpack_work(run.files, tmp_path / "work")
    assert (tmp_path / "work" / "a.txt").read_text() == "one\n"
    assert (tmp_path / "work" / "seed.txt").read_text() == "seed\n"


def test_malformed_tool_call_is_not_completed(turn: Played) -> None:
    completed = [use.completed for use in turn.run.tool_calls]
    assert completed == [True, True, False, True, True, True, True]


def test_tap_sees_the_tool_calls_of_opencodes_own_log(turn: Played) -> None:
    log = (turn.stage.calls.parent / "events.jsonl").read_text().split("\n")
    own = [call for line in log if (call := read_tool_call(line))]
    seen = turn.run.tool_calls
    assert [call.completed for call in seen] == [call.completed for call in own]
    for call, ours in zip(own, seen, strict=True):
        assert call.tool in {ours.tool, INVALID_TOOL}
        if call.completed:
            assert (call.action, call.output) == (ours.action, ours.output)


def test_transient_failure_is_counted_and_survived(turn: Played) -> None:
    assert turn.run.totals.failed_calls == 1


def test_large_file_foreign_call_and_daemon_are_reported(
    turn: Played,
) -> None:
    assert turn.run.left_out == ("work/big",)
    assert turn.run.left_running == ("sleep",)
    assert turn.run.totals.other_calls == 1


def test_key_reaches_the_agent_but_no_record(turn: Played) -> None:
    assert str(len(KEY) + 1) in turn.run.tool_calls[3].output
    folder = turn.stage.calls.parent
    records = [p for p in folder.rglob("*") if p.is_file() and p.suffix != ".tar"]
    assert len(records) > 5
    assert not [path for path in records if KEY.encode() in path.read_bytes()]


def test_first_request_does_not_depend_on_the_model_catalogue(
    turn: Played, version: str, tmp_path: Path
) -> None:
    stage = stage_for(version, tmp_path, todo_fix=True)
    stage.sandbox = replace(
        stage.sandbox, environment={"OPENCODE_MODELS_PATH": "/nowhere.json"}
    )
    run = stage.play("Write a file.", script(DONE))
    assert run.calls[0].request_sha256 == turn.run.calls[0].request_sha256


def test_second_turn_continues_and_string_todos_fail_without_the_fix(
    version: str, tmp_path: Path
) -> None:
    stage = stage_for(version, tmp_path, title=None)
    plan = Step(actions=(OwnCall(tool="todowrite", arguments={"todos": TODOS}),))
    talk = Transcript(
        steps=(
            *(*WRITES_A_FILE.steps[:1], plan, DONE),
            *(Step(actions=(ran("cat a.txt"),)), DONE),
        )
    )
    first = stage.play("Write a file.", talk)
    second = stage.play("Read it.", talk)
    assert [use.completed for use in first.tool_calls] == [True, False]
    assert first.totals.title_calls == 1
    assert second.totals.title_calls == 0
    assert second.outcome == Answered()
    assert second.tool_calls[0].output.strip() == "one"
    assert second.events.session_id == first.events.session_id


def test_unreachable_endpoint_is_endpoint_down(version: str, tmp_path: Path) -> None:
    run = stage_for(version, tmp_path).ask("Go.", NOBODY)
    assert isinstance(run.outcome, EndpointDown)


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        ("kill -9 $PPID", AgentKilled),
        ("kill -9 -1", AgentKilled),
        (f"{BOMB}; f 9; sleep 50", RanAway),
    ],
)
def test_killed_agent_and_fork_bomb_have_their_outcomes(
    version: str, line: str, outcome: type, tmp_path: Path
) -> None:
    stage = stage_for(version, tmp_path)
    stage.timeouts = Timeouts(total_s=120, silence_s=25)
    found = stage.play("Go.", commands(line)).outcome
    assert isinstance(found, outcome)
    assert is_the_models(found)


def test_subagent_calls_are_classified_separately(version: str, tmp_path: Path) -> None:
    task: dict[str, object] = {
        "description": "d",
        "prompt": "look",
        "subagent_type": "general",
    }
    call = OwnCall(tool="task", arguments=task)
    run = stage_for(version, tmp_path).play("Go.", script(Step(actions=(call,)), DONE))
    assert run.totals.subagent_calls > 0
    assert [call.kind for call in run.calls].count(CallKind.MAIN) == 2


def test_mcp_server_that_does_not_start_is_tools_missing(
    version: str, tmp_path: Path
) -> None:
    server = McpServer(name="context7", argv=("/bin/false",), tools=("query-docs",))
    run = stage_for(version, tmp_path, mcp=(server,)).play("Go.", WRITES_A_FILE)
    assert run.outcome == ToolsMissing(tools=("context7_query-docs",))


def test_turn_without_sandbox_is_not_run(version: str, tmp_path: Path) -> None:
    stage: Stage = stage_for(version, tmp_path)
    stage.sandbox = replace(stage.sandbox, bwrap=tmp_path / "no-bwrap")
    outcome = stage.ask("Go.", NOBODY).outcome
    assert isinstance(outcome, NotRun)
    assert outcome.why is WhyNotRun.NO_SANDBOX
