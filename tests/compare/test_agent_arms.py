from pathlib import Path

import pytest
from tests.shipped import ROOT, shipped_context

from llamatrix.compare.agent import AgentCase, agent_cases
from llamatrix.compare.arms import ArmSettings, Template, with_pins
from llamatrix.config.expand import expand_plan
from llamatrix.config.load import load_matrix
from llamatrix.config.lock import load_lock
from llamatrix.config.matrix import Model
from llamatrix.errors import MatrixError
from llamatrix.stats.pairs import Arm
from llamatrix.trials.checks.task import task_digest

MATRIX, LOCK = load_matrix(ROOT / "matrix.toml"), load_lock(ROOT / "matrix.lock")
_OWN = ArmSettings()


def _cases(
    baseline: ArmSettings = _OWN,
    candidate: ArmSettings = _OWN,
    *,
    profile: str = "smoke",
    tasks: tuple[str, ...] = ("httpx-post",),
    cells: str = "",
    template: Template | None = None,
) -> tuple[AgentCase, ...]:
    def named(arm: Arm, _model: Model) -> Template | None:
        return template if arm is Arm.CANDIDATE else None

    return agent_cases(
        shipped_context(profile),
        with_pins({Arm.BASELINE: baseline, Arm.CANDIDATE: candidate}, MATRIX, profile),
        trials=5,
        tasks=tasks,
        cells=cells,
        templates=named,
    )


@pytest.mark.parametrize(
    ("candidate", "case_id"),
    [
        (ArmSettings(), "current/cpu/current"),
        (ArmSettings(pin="april"), "current..april/cpu/current"),
        (ArmSettings(build="cpu-native"), "current/cpu..cpu-native/current"),
        (ArmSettings(agent="april"), "current/cpu/current..april"),
        (ArmSettings(agent="opencode"), "current/cpu/current"),
        (ArmSettings(agent="opencode-april"), "current/cpu/current..april"),
        (ArmSettings(agent="pi"), "current/cpu/current..pi-current"),
        (ArmSettings(agent="pi-current"), "current/cpu/current..pi-current"),
        (ArmSettings(context7="april"), "current/cpu/current/current..april"),
        (ArmSettings(server="published"), "current/cpu/current/smoke..published"),
    ],
)
def test_differing_settings_are_in_id_and_digest(
    candidate: ArmSettings, case_id: str
) -> None:
    (case,) = _cases(_OWN, candidate)
    assert case.id == f"agent/qwen35-27b.tiny/{case_id}/httpx-post"
    assert case.identical == (case_id == "current/cpu/current")


def test_settings_of_pi_are_dropped_for_opencode() -> None:
    cases = _cases(
        ArmSettings(agent="opencode"), profile="small-model", tasks=("hello-file",)
    )
    opencode, pi = (cases[0].cells[arm].agent for arm in Arm)
    assert (opencode.kind, opencode.tools, opencode.system_prompt) == (
        "opencode",
        (),
        "",
    )
    assert pi.tools
    assert opencode.first_prompt == pi.first_prompt


def test_arm_without_settings_is_the_ordinary_cell() -> None:
    (case,) = _cases(_OWN, ArmSettings(agent="april"))
    digest = task_digest("httpx-post")
    ordinary = {
        cell.id: cell.spec_digest(task_digest=digest)
        for cell in expand_plan(MATRIX, LOCK, "smoke").agents
    }
    cell = case.cells[Arm.BASELINE]
    assert cell.spec_digest(task_digest=digest) == ordinary[cell.id]


def test_every_model_and_task_of_the_profile_gets_a_case_and_no_excluded_one() -> None:
    assert [case.id.split("/")[-1] for case in _cases(tasks=())] == [
        *("httpx-post", "gemini-images")
    ]
    assert len(_cases(profile="published", tasks=())) == 8
    assert len(_cases(profile="published", cells="*gemma4-31b*")) == 1


def test_another_template_changes_the_cell_and_the_models_own_does_not() -> None:
    pinned = LOCK.templates["qwen35"].result_sha256
    other = Template(name="mine.jinja", path=Path("mine.jinja"), sha256="f" * 64)
    own = Template(name="qwen35.jinja", path=Path("x.jinja"), sha256=pinned)
    (case,) = _cases(template=other)
    assert not case.identical
    assert "/qwen35.jinja..mine.jinja/" in case.id
    assert case.templates == {Arm.CANDIDATE: other}
    (same,) = _cases(template=own)
    assert same.identical
    assert not same.templates


def test_identical_arms_number_their_trials_apart() -> None:
    (case,) = _cases()
    numbers = [[case.number(arm, place) for place in (1, 5)] for arm in Arm]
    assert numbers == [[1, 5], [6, 10]]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"tasks": ("httpx",)}, "--tasks 'httpx': not a task of agents.smoke"),
        ({"profile": "engines"}, "has no agent to compare"),
        ({"cells": "*none*"}, "--cells '*none*' matches no cell"),
    ],
)
def test_wrong_task_names_the_flag(asked: dict[str, object], said: str) -> None:
    with pytest.raises(MatrixError) as error:
        _cases(**asked)  # type: ignore[arg-type]
    assert said in str(error.value)
