"""Which trials are there, and which are still to be made."""

import msgspec
import pytest
from tests.commands.agent.conftest import NO_SANDBOX, Look, Put

from llamatrix.agents.turn_outcome import EndpointDied
from llamatrix.commands.pending import CellStatus, check_agents
from llamatrix.config.agent_cell import AgentCell
from llamatrix.errors import MatrixError
from llamatrix.trials.trial_result import Broken, Correct, Incorrect, Undecided


def numbers(status: CellStatus[AgentCell]) -> tuple[int, ...]:
    """The trials that are due."""
    return tuple(due.number for due in status.due)


BROKEN = Broken(turn=1, cause=EndpointDied(error="cut"))


def test_cell_without_records_has_all_trials_due(look: Look) -> None:
    item = look()
    assert (item.recorded, item.failed, item.reused) == (0, 0, 0)
    assert numbers(item) == (1, 2, 3)


def test_finished_trial_of_any_outcome_is_not_due(look: Look, put: Put) -> None:
    put(1, Correct(turn=1))
    put(2, Incorrect(turns=3))
    put(3, Undecided(turn=1))
    assert numbers(look()) == ()
    assert look().recorded == look().reused == 3


def test_missing_number_within_the_wanted_trials_is_due(look: Look, put: Put) -> None:
    put(1, Correct(turn=1))
    put(3, Correct(turn=2))
    assert numbers(look()) == (2,)


def test_missing_number_beyond_the_wanted_trials_is_not_due(
    look: Look, put: Put
) -> None:
    put(1, Correct(turn=1))
    put(6, Correct(turn=1))
    assert numbers(look()) == (2, 3)
    assert numbers(look(again=1)) == (2, 3, 7)


def test_again_adds_trials_after_the_last(look: Look, put: Put) -> None:
    for number in (1, 2, 3, 4):
        put(number, Correct(turn=1))
    assert numbers(look()) == ()
    assert numbers(look(again=2)) == (5, 6)


def test_broken_trial_is_due_only_with_retry(look: Look, put: Put) -> None:
    put(1, Correct(turn=1))
    put(2, BROKEN)
    kept = look()
    assert (numbers(kept), kept.recorded, kept.failed, kept.reused) == ((3,), 2, 1, 2)
    retried = look(retry=True)
    assert (numbers(retried), retried.failed, retried.reused) == ((2, 3), 1, 1)
    put(2, Correct(turn=1))
    assert numbers(look(retry=True)) == (3,)


def test_trial_that_could_not_run_is_always_due(look: Look, put: Put) -> None:
    put(1, NO_SANDBOX)
    put(2, Correct(turn=1))
    put(2, NO_SANDBOX)
    assert numbers(look()) == (1, 2, 3)
    assert look().recorded == 0


def test_records_of_another_digest_do_not_count(
    look: Look, put: Put, cell: AgentCell
) -> None:
    put(1, Correct(turn=1))
    agent = msgspec.structs.replace(cell.agent, max_turns=9)
    other = look(msgspec.structs.replace(cell, agent=agent))
    assert numbers(other) == (1, 2, 3)
    assert other.written_at == frozenset()
    assert numbers(look()) == (2, 3)


def test_raised_number_of_trials_adds_only_the_new_ones(
    look: Look, put: Put, cell: AgentCell
) -> None:
    put(1, Correct(turn=1))
    agent = msgspec.structs.replace(cell.agent, trials=4)
    assert numbers(look(msgspec.structs.replace(cell, agent=agent))) == (2, 3, 4)


def test_agents_with_impossible_settings_are_refused_with_the_key(
    cell: AgentCell,
) -> None:
    check_agents([cell])
    wrong = msgspec.structs.replace(cell, task="httpx-pst")
    with pytest.raises(MatrixError, match=r"agents\.smoke\.tasks: unknown task"):
        check_agents([wrong])
    agent = msgspec.structs.replace(cell.agent, scripts={cell.task: ("solutoin",)})
    with pytest.raises(MatrixError, match=r"agents\.smoke\.scripts\.httpx-post: "):
        check_agents([msgspec.structs.replace(cell, agent=agent)])
    agent = msgspec.structs.replace(cell.agent, tools=("bash",))
    with pytest.raises(MatrixError, match=r"tools: httpx-post cannot be passed"):
        check_agents([msgspec.structs.replace(cell, agent=agent)])
    server = msgspec.structs.replace(cell.server, metrics=False)
    with pytest.raises(MatrixError, match=r"servers\..*\.metrics: "):
        check_agents([msgspec.structs.replace(cell, server=server)])


@pytest.mark.parametrize(
    ("ctx_size", "output_tokens", "parallel"),
    [(40000, 32000, 1), (8000, 8192, 1), (40000, 8192, 4)],
)
def test_a_context_without_room_for_a_prompt_is_refused(
    cell: AgentCell, ctx_size: int, output_tokens: int, parallel: int
) -> None:
    changed = msgspec.structs.replace(
        cell,
        model=msgspec.structs.replace(cell.model, ctx_size=ctx_size),
        agent=msgspec.structs.replace(cell.agent, output_tokens=output_tokens),
        server=msgspec.structs.replace(cell.server, parallel=parallel),
    )
    with pytest.raises(MatrixError, match=r"ctx_size less agents\..*compact forever"):
        check_agents([changed])


def test_shipped_contexts_have_room_for_the_first_prompt(cell: AgentCell) -> None:
    longest = msgspec.structs.replace(cell.agent, output_tokens=100_000)
    model = msgspec.structs.replace(cell.model, ctx_size=65336)
    check_agents([msgspec.structs.replace(cell, agent=longest, model=model)])
