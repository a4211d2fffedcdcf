"""Agent cells: readable ids, scripts in rotation, digests over what changes a trial."""

import msgspec
import pytest
from tests.shipped import shipped_lock, shipped_matrix

from llamatrix.config.agent_cell import AgentCell
from llamatrix.config.expand import Plan, expand_plan
from llamatrix.config.matrix import Matrix
from llamatrix.errors import MatrixError


@pytest.fixture
def matrix() -> Matrix:
    return shipped_matrix()


def planned(matrix: Matrix, profile: str, cells: str = "") -> Plan:
    return expand_plan(matrix, shipped_lock(), profile, cells=cells)


@pytest.fixture
def cell(matrix: Matrix) -> AgentCell:
    return planned(matrix, "smoke").agents[0]


def test_smoke_profile_plans_one_model_with_both_prompts_and_a_real_one(
    matrix: Matrix,
) -> None:
    assert [cell.id for cell in planned(matrix, "smoke").agents] == [
        "agent/qwen35-27b.tiny/current/cpu/current/httpx-post",
        "agent/qwen35-27b.tiny/current/cpu/current/gemini-images",
        "agent/smollm2-135m.package/current/cpu/pi-current/httpx-post",
    ]


def test_published_profile_plans_every_model_and_both_prompts(matrix: Matrix) -> None:
    cells = planned(matrix, "published").agents
    assert len(cells) == 8
    assert not any(cell.scripted for cell in cells)


def test_glob_selects_speed_and_agent_cells(matrix: Matrix) -> None:
    plan = planned(matrix, "smoke", "agent/*/httpx-post")
    assert plan.speed == ()
    assert [cell.task for cell in plan.agents] == ["httpx-post"] * 2
    with pytest.raises(MatrixError, match="matches no cell"):
        planned(matrix, "smoke", "agnet/*")


def test_trials_use_the_transcripts_in_rotation(cell: AgentCell) -> None:
    agent = msgspec.structs.replace(cell.agent, scripts={"httpx-post": ("a", "b")})
    scripted = msgspec.structs.replace(cell, agent=agent)
    assert [scripted.script_of(trial) for trial in (1, 2, 3)] == ["a", "b", "a"]
    silent = msgspec.structs.replace(cell.agent, scripts={})
    assert msgspec.structs.replace(cell, agent=silent).script_of(1) is None


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("agent", {"max_turns": 2}),
        ("agent", {"output_tokens": 100}),
        ("agent", {"ask_title": True}),
        ("agent", {"seed": 0}),
        ("agent", {"temperatures": (0.5,)}),
        ("agent", {"tools": ("bash",)}),
        ("agent", {"system_prompt": "Be brief."}),
        ("agent", {"first_prompt": "Please: {task}"}),
        ("agent", {"scripts": {"httpx-post": ("other",)}}),
        ("server", {"cache_type_k": "q8_0"}),
        ("model", {"temp": 0.1}),
        ("model", {"todo_fix": True}),
        ("program", {"version": "9.9.9"}),
        ("context7", {"version": "9.9.9"}),
        ("build", {"cmake": {"GGML_NATIVE": "ON"}}),
    ],
)
def test_input_that_changes_a_trial_changes_the_digest(
    cell: AgentCell, part: str, changes: dict[str, object]
) -> None:
    replaced = msgspec.structs.replace(getattr(cell, part), **changes)
    other = msgspec.structs.replace(cell, **{part: replaced})
    assert other.spec_digest(task_digest="t") != cell.spec_digest(task_digest="t")


def test_task_content_is_part_of_the_digest(cell: AgentCell) -> None:
    assert cell.spec_digest(task_digest="t") != cell.spec_digest(task_digest="u")


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("agent", {"trials": 5}),
        ("agent", {"tasks": ("httpx-post",)}),
        ("model", {"name": "another"}),
    ],
)
def test_more_trials_keep_the_digest(
    cell: AgentCell, part: str, changes: dict[str, object]
) -> None:
    replaced = msgspec.structs.replace(getattr(cell, part), **changes)
    other = msgspec.structs.replace(cell, **{part: replaced})
    assert other.spec_digest(task_digest="t") == cell.spec_digest(task_digest="t")


def test_trials_have_seeds_in_a_row_and_take_turns_with_temperatures(
    cell: AgentCell,
) -> None:
    agent = msgspec.structs.replace(cell.agent, seed=7, temperatures=(0.0, 1.5))
    seeded = msgspec.structs.replace(cell, agent=agent)
    trials = (1, 2, 3)
    assert [seeded.seed_of(trial) for trial in trials] == [7, 8, 9]
    assert [seeded.temperature_of(trial) for trial in trials] == [0.0, 1.5, 0.0]
    assert cell.seed_of(1) is None
    assert cell.temperature_of(2) == cell.model.temp
