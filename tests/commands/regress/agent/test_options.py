"""What a user may write beside `--agent`, and what not."""

import pytest
from tests.invoking import invoked_apart

from llamatrix.commands.flags import RegressFlags
from llamatrix.commands.regress import regress
from llamatrix.errors import MatrixError


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"agent": True, "replay": "x"}, "--replay: not with --agent"),
        ({"agent": True, "metric": "tg"}, "--metric: not with --agent"),
        ({"agent": True, "margin": "0.1"}, "10 points matter"),
        ({"agent": True, "again": True}, "raise --trials"),
        (
            {"agent": True, "max_background_load": 50.0},
            "--max-background-load: not with",
        ),
        ({"agent": True, "budget": "soon"}, "--budget 'soon' is no duration"),
        ({"agent": True, "candidate": "sweep:short"}, "agents have no sweep"),
        ({"candidate": "agent:april"}, "'agent:april': only with --agent"),
        ({"trials": 3}, "--trials: only with --agent"),
    ],
)
def test_flags_of_another_kind_of_comparison_are_refused(
    flags: dict[str, object], said: str
) -> None:
    with pytest.raises(MatrixError) as error:
        regress(RegressFlags(**{"baseline": "april", "profile": "smoke", **flags}))  # type: ignore[arg-type]
    assert said in str(error.value)


@pytest.mark.usefixtures("project")
def test_a_dry_run_is_exit_0() -> None:
    assert regress(RegressFlags(agent=True, profile="smoke", dry_run=True)) == 0


def test_regress_agent_accepts_its_flags(invoke_environment: dict[str, str]) -> None:
    ended = invoked_apart(
        *("regress", "--agent", "--dry-run"),
        *("--baseline", "agent:april", "--candidate", "agent:current"),
        *("--profile", "smoke", "--tasks", "httpx-post", "--trials", "10"),
        env=invoke_environment,
    )
    assert ended.returncode == 0, ended.stderr
    assert "cells: 1, trials of each arm: 10: 20 to make" in ended.stderr
    assert "6/10 or fewer would be called worse" in ended.stderr
