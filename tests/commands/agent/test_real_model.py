"""A real model through the whole pipeline: SmolLM2 out of its package, with Pi."""

import subprocess
from collections.abc import Callable, Mapping

import pytest
from tests.invoking import invoked_apart

from llamatrix.engines.outcome import Done
from llamatrix.project import Project
from llamatrix.records.speed_record import SPEED
from llamatrix.records.store import Store
from llamatrix.records.trial_record import AGENT
from llamatrix.trials.trial_result import is_scored

pytestmark = [pytest.mark.slow, pytest.mark.network]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(real_project: Project, real_environment: Mapping[str, str]) -> Run:
    matrix = real_project.matrix_file
    matrix.write_text(matrix.read_text().replace("trials = 20", "trials = 1"))

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        words = (*arguments, "--profile", "small-model")
        return invoked_apart(*words, env={**real_environment})

    return command


def test_a_real_model_is_measured_and_tries_a_task_by_itself(
    run: Run, real_project: Project
) -> None:
    bench, agent = run("bench"), run("agent")
    assert bench.returncode == 0, bench.stderr
    assert agent.returncode == 0, agent.stderr
    speeds = tuple(Store(reports=real_project.reports, kind=SPEED).read_all())
    assert all(isinstance(record.outcome, Done) for record in speeds)
    assert {record.test.name for record in speeds} == {"pp128", "tg16"}
    (trial,) = Store(reports=real_project.reports, kind=AGENT).read_all()
    assert is_scored(trial.result.outcome), trial.result.outcome
    assert (trial.seed, trial.temperature, trial.cell.script) == (1, 0.2, None)
    first = trial.result.turns[0]
    assert first.totals.prompt_tokens > 0
    assert first.totals.generated_tokens > 0
    assert first.disagreements == ()
    assert first.left_running == ()
    assert "speaks: the model itself" in agent.stdout
