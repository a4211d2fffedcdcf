"""What a user may write beside `--agent`, and what not."""

import pytest
from tests.invoking import invoked_apart

from llamatrix.commands.regress.agent.options import answer_agent
from llamatrix.commands.regress.flags import Flags
from llamatrix.commands.regress.options import answer
from llamatrix.errors import MatrixError


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (Flags(agent=True, replay="x"), "--replay: not with --agent"),
        (Flags(agent=True, candidate_sweep="short"), "agents have no sweep"),
        (Flags(agent=True, metric="tg"), "--metric: not with --agent"),
        (Flags(agent=True, margin="0.1"), "10 points matter"),
        (Flags(agent=True, again=True), "raise --trials"),
        (
            Flags(agent=True, max_background_load=50.0),
            "--max-background-load: not with",
        ),
        (Flags(agent=True, trials=0), "--trials 0: write how many"),
        (Flags(agent=True, budget="soon"), "--budget 'soon' is no duration"),
        (Flags(baseline_opencode="april"), "--baseline-opencode: only with --agent"),
        (Flags(trials=3), "--trials: only with --agent"),
    ],
)
def test_flags_of_another_kind_of_comparison_are_refused(
    flags: Flags, said: str
) -> None:
    with pytest.raises(MatrixError) as error:
        answer(flags)
    assert said in str(error.value)


@pytest.mark.usefixtures("project")
def test_a_dry_run_is_exit_0() -> None:
    assert answer_agent(Flags(agent=True, profile="smoke", dry_run=True)) == 0


def test_the_command_takes_the_flags(invoke_environment: dict[str, str]) -> None:
    ended = invoked_apart(
        *("regress", "--agent", "--dry-run"),
        *("--baseline-opencode", "april", "--candidate-opencode", "current"),
        *("--profile", "smoke", "--tasks", "httpx-post", "--trials", "10"),
        env=invoke_environment,
    )
    assert ended.returncode == 0, ended.stderr
    assert "cells: 1, trials of each arm: 10: 20 to make" in ended.stderr
    assert "6/10 or fewer would be called worse" in ended.stderr
