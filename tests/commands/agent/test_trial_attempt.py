"""An attempt at a trial whose server goes wrong before anything is asked of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from tests.commands.agent.conftest import NO_SANDBOX, Look

from llamatrix.agents.turn_outcome import EndpointDown
from llamatrix.commands.trial_attempt import (
    attempt,
    launch_of,
    new_trajectory,
    not_run,
)
from llamatrix.commands.trial_parts import AgentParts, ServedParts
from llamatrix.config.agent_cell import AgentCell
from llamatrix.engines.protocol import Launch
from llamatrix.project import Project
from llamatrix.trials.trial_result import Broken

NOT_REACHED = cast("Any", None)


@pytest.fixture
def parts(
    cell: AgentCell, tmp_path: Path, fake_program: Callable[[str, str], Path]
) -> AgentParts:
    template = tmp_path / "template.jinja"
    template.write_text("{{ messages }}\n")
    launch = Launch(
        program=fake_program("llama-server", "llama_server.py"),
        weights=tmp_path / "weights.gguf",
        alias=cell.model_key,
        model=cell.model,
        server=cell.server,
        template=template,
    )
    return AgentParts(
        tools=NOT_REACHED,
        served=ServedParts(weights=NOT_REACHED, launch=launch, template=NOT_REACHED),
    )


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        ("weights-missing", "it said: common_init_from_params: failed to load model"),
        ("context-crash", "do not fit"),
    ],
)
def test_server_that_does_not_start_breaks_only_the_trial(
    mode: str,
    told: str,
    look: Look,
    parts: AgentParts,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LLAMATRIX_FAKE_LLAMA_SERVER", mode)
    item = look()
    trajectory = new_trajectory(item, 2)
    record = attempt(item, 2, parts, project, None, trajectory=trajectory)
    outcome = record.result.outcome
    assert isinstance(outcome, Broken)
    assert isinstance(outcome.cause, EndpointDown)
    assert told in outcome.cause.error
    assert "/" not in outcome.cause.error.replace("`", "").split("it said")[-1]
    assert "\n" not in outcome.cause.error
    assert (record.trial, record.served, record.cell.id) == (2, None, item.cell.id)
    assert not project.records.exists()


def test_seed_and_temperature_of_a_trial_reach_its_server_and_its_record(
    look: Look, cell: AgentCell, parts: AgentParts
) -> None:
    agent = msgspec.structs.replace(cell.agent, seed=40, temperatures=(0.0, 1.5))
    status = look(msgspec.structs.replace(cell, agent=agent))
    assert parts.served
    launch = launch_of(status.cell, 2, parts.served)
    assert (launch.seed, launch.model.temp) == (41, 1.5)
    record = not_run(status, 2, NO_SANDBOX)
    assert (record.seed, record.temperature) == (41, 1.5)


def test_attempts_have_separate_folders(look: Look) -> None:
    item = look()
    names = {new_trajectory(item, 1) for _ in range(9)}
    assert len(names) == 9
    assert all(
        name.startswith(f"trajectories/{item.cell.id}/{item.digest[:12]}-1-")
        for name in names
    )
