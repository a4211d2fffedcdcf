"""`invoke breakdown` on a real server and a real llama-bench, with tiny weights."""

import json
import os

import pytest
from tests.commands.conftest import RunInvoke
from tests.invoking import invoked_apart
from tests.trials.replayed import SESSION


@pytest.mark.slow
@pytest.mark.network
def test_session_is_replayed_in_every_way_beside_llama_bench() -> None:
    ended = invoked_apart(
        *("breakdown", "--profile", "smoke", "--replay", str(SESSION)),
        *("--rounds", "1", "--calls", "3", "--json"),
        env=os.environ,
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    prompts, rounds = found["prompts"], found["rounds"]
    fresh = {
        way: [call["timings"]["prompt_n"] for call in sent]
        for way, (sent,) in rounds.items()
    }
    assert fresh["uncached"] == prompts
    assert fresh["chat"] == fresh["greedy"] != prompts
    assert len(found["bench"]) == 3 * 2 + 1


def test_folder_without_a_recording_is_refused(run_invoke: RunInvoke) -> None:
    ended = run_invoke("breakdown", "--profile", "smoke", "--replay", "nowhere")
    assert ended.returncode == 5
    assert "--replay nowhere: no calls.jsonl there" in ended.stderr
