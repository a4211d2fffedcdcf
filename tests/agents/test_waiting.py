"""Turns that end because somebody waited too long: played side by side, to wait once."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.agents.opencode.playing import INTEGRITY, SOON, commands, script, stage_for

from llamatrix.agents.turn import Timeouts, TurnRun
from llamatrix.agents.turn_outcome import (
    AgentHung,
    EndpointDied,
    EndpointFailed,
    EndpointStalled,
    TimedOut,
)
from llamatrix.trials.scripted import Fault, Step, Transcript

pytestmark = [
    pytest.mark.slow,
    pytest.mark.network,
    pytest.mark.parametrize("version", sorted(INTEGRITY)),
]
_AT_ONCE = 4
_SILENCE = Timeouts(total_s=120, silence_s=25)


@dataclass(frozen=True, kw_only=True, slots=True)
class BadDay:
    transcript: Transcript
    timeouts: Timeouts = SOON

    def play(self, version: str, folder: Path) -> TurnRun:
        stage = stage_for(version, folder)
        stage.timeouts = self.timeouts
        return stage.play("Go.", self.transcript)


def failing(fault: Fault) -> Transcript:
    return script(Step(text="hello", always=fault))


BAD_DAYS = {
    "errors": BadDay(transcript=failing(Fault.HTTP_500)),
    "refusals": BadDay(transcript=failing(Fault.HTTP_400)),
    "cut": BadDay(transcript=failing(Fault.CUT)),
    "stall": BadDay(transcript=failing(Fault.STALL), timeouts=_SILENCE),
    "stopped": BadDay(transcript=commands("kill -STOP $PPID"), timeouts=_SILENCE),
    "time is up": BadDay(
        transcript=commands("echo x > made; sleep 100"),
        timeouts=Timeouts(total_s=20, silence_s=120),
    ),
}
Played = dict[tuple[str, str], Future[TurnRun]]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield {
            (name, version): pool.submit(
                day.play, version, tmp_path_factory.mktemp("day")
            )
            for name, day in BAD_DAYS.items()
            for version in sorted(INTEGRITY)
        }


@pytest.fixture
def run_of(played: Played, version: str, tmp_path: Path) -> "RunOf":
    return RunOf(played=played, version=version, folder=tmp_path)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOf:
    played: Played
    version: str
    folder: Path

    def __call__(self, name: str) -> TurnRun:
        """The run that was played beside others; in a second try, one of its own."""
        beside = self.played.pop((name, self.version), None)
        if beside:
            return beside.result()
        return BAD_DAYS[name].play(self.version, self.folder)


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("errors", EndpointFailed),
        ("refusals", EndpointFailed),
        ("cut", EndpointDied),
        ("stall", EndpointStalled),
    ],
)
def test_endpoint_faults_have_endpoint_outcomes(
    run_of: RunOf, name: str, outcome: type
) -> None:
    assert isinstance(run_of(name).outcome, outcome)


def test_stopped_agent_is_agent_hung(run_of: RunOf) -> None:
    assert isinstance(run_of("stopped").outcome, AgentHung)


def test_turn_timeout_keeps_the_files(run_of: RunOf) -> None:
    run = run_of("time is up")
    assert isinstance(run.outcome, TimedOut)
    assert run.seconds < 60
    assert run.files
