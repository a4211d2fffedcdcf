"""A trial's times: every second of it is the agent's, the judging's or the harness's."""

import os
import time
from pathlib import Path

import pytest
from tests.agents.opencode.playing import DONE, SOON, WRITES_A_FILE, playing, stage_for

from llamatrix.agents.opencode.agent import OpenCode
from llamatrix.agents.protocol import Agent
from llamatrix.agents.turn_outcome import NotRun
from llamatrix.engines.protocol import Counters
from llamatrix.sandbox.spec import SandboxSpec
from llamatrix.trials.checks.execution_environment import ExecutionEnvironment
from llamatrix.trials.checks.task import load_task
from llamatrix.trials.scripted import Player, Step, Transcript
from llamatrix.trials.trial import Trial, run_trial
from llamatrix.trials.trial_environment import TrialEnvironment
from llamatrix.trials.trial_result import Incorrect, TrialResult

_READING_S = 2.0


def nothing_counted() -> Counters:
    return Counters(
        prompt_tokens=0, prompt_s=0, generated_tokens=0, generation_s=0, cached_tokens=0
    )


def slowly_counted(_: str) -> int:
    time.sleep(_READING_S)
    return 1


def run(agent: Agent, sandbox: SandboxSpec, upstream: str, folder: Path) -> TrialResult:
    aside = folder / "aside"
    aside.mkdir()
    return run_trial(
        Trial(
            task=load_task("httpx-post"),
            agent=agent,
            environment=TrialEnvironment(
                sandbox=sandbox,
                secrets=(),
                execution=ExecutionEnvironment(environment={"PATH": os.defpath}),
                context7_url=None,
                pages_served=None,
            ),
            upstream=upstream,
            counters=nothing_counted,
            count_tokens=slowly_counted,
            folder=folder / "trial",
            aside=aside,
            timeouts=SOON,
            max_turns=2,
        )
    )


def parts_s(result: TrialResult) -> float:
    return agent_s(result) + result.judging_s + result.harness_s


def agent_s(result: TrialResult) -> float:
    return sum(turn.seconds for turn in result.turns)


def test_trial_without_sandbox_takes_only_harness_time(tmp_path: Path) -> None:
    agent = OpenCode(version="1.3.2", model="m", context_tokens=9000, output_tokens=900)
    sandbox = SandboxSpec(bwrap=tmp_path / "no-bwrap")
    result = run(agent, sandbox, "http://127.0.0.1:9", tmp_path)
    assert isinstance(result.outcome, NotRun)
    assert result.calls == 0
    assert agent_s(result) == 0
    assert result.harness_s > 0
    assert parts_s(result) == pytest.approx(result.seconds)


@pytest.mark.slow
@pytest.mark.network
def test_analysis_counts_as_judging_time(tmp_path: Path) -> None:
    stage = stage_for("1.3.2", tmp_path, title=None)
    talk = Transcript(steps=(*WRITES_A_FILE.steps, DONE, Step(text="No more.")))
    with playing(Player(transcript=talk, agent=stage.agent)) as url:
        result = run(stage.agent, stage.sandbox, url, tmp_path)
    assert result.outcome == Incorrect(turns=2)
    assert result.calls >= 3
    assert result.analysed_s >= _READING_S
    judged_s = sum(turn.judged_s for turn in result.turns)
    assert result.judging_s == pytest.approx(judged_s + result.analysed_s)
    assert parts_s(result) == pytest.approx(result.seconds)
    assert all(part > 0 for part in (agent_s(result), judged_s, result.harness_s))
