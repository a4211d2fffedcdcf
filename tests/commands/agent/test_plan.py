"""The plan with agent cells in it, for people and for programs."""

import json
from collections.abc import Callable

import msgspec
import pytest
from tests.commands.agent.conftest import Look, Put

from llamatrix.agents.turn_outcome import EndpointDied
from llamatrix.commands.flags import PlanFlags
from llamatrix.commands.pending import Pending
from llamatrix.commands.plan import plan, plan_json, plan_text
from llamatrix.config.agent_cell import AgentCell
from llamatrix.trials.trial_result import Broken, Correct

PendingOf = Callable[..., Pending]


def test_plan_names_missing_trials_by_number(
    look: Look, put: Put, pending_of: PendingOf
) -> None:
    put(1, Correct(turn=1))
    put(2, Broken(turn=1, cause=EndpointDied(error="cut")))
    (shown,) = json.loads(plan_json(pending_of(look())))
    assert shown["id"] == "agent/qwen35-27b.tiny/current/cpu/current/httpx-post"
    assert (shown["recorded"], shown["failed"]) == (2, 1)
    assert shown["missing"] == ["3:trial"]
    (retried,) = json.loads(plan_json(pending_of(look(retry=True))))
    assert retried["missing"] == ["2:trial", "3:trial"]


def test_plan_counts_trials_in_its_first_line(
    look: Look, put: Put, pending_of: PendingOf, cell: AgentCell
) -> None:
    for number in (1, 2, 3):
        put(number, Correct(turn=1))
    other = look(msgspec.structs.replace(cell, task="gemini-images"))
    text = plan_text(pending_of(look(), other))
    assert "Plan: 2 cells, 0 tests and 3 trials to make" in text
    assert text.count("nothing: all reused") == 1


@pytest.mark.usefixtures("project")
def test_plan_of_another_pin_has_that_pin_alone() -> None:
    shown = json.loads(plan(PlanFlags(profile="smoke", pin="b8643", json=True)))
    assert {cell["id"].split("/")[2] for cell in shown} == {"april"}
