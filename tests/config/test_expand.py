"""Profiles expand to cells with readable ids and digests over what changes a number."""

from pathlib import Path

import msgspec
import pytest
from tests.shipped import ROOT, shipped_cells, shipped_lock, shipped_matrix

from llamatrix.config.cell import Cell, SpeedTest
from llamatrix.config.expand import expand_plan
from llamatrix.config.load import load_matrix
from llamatrix.config.lock import Lock, load_lock
from llamatrix.config.matrix import Matrix, SplitMode
from llamatrix.errors import MatrixError


@pytest.fixture
def matrix() -> Matrix:
    return shipped_matrix()


@pytest.fixture
def lock() -> Lock:
    return shipped_lock()


def with_profile(matrix: Matrix, **changes: object) -> Matrix:
    smoke = msgspec.structs.replace(matrix.profiles["smoke"], also=(), **changes)
    return msgspec.structs.replace(matrix, profiles={"smoke": smoke})


def test_cell_ids_are_readable_paths() -> None:
    assert [cell.id for cell in shipped_cells("published")] == [
        "speed/qwen35-27b/april/cuda",
        "speed/qwen35-35b-a3b/april/cuda",
        "speed/gemma4-26b-a4b/april/cuda",
        "speed/gemma4-31b/april/cuda",
    ]
    assert shipped_cells("smoke")[0].id == "speed/qwen35-27b.tiny/current/cpu"


def test_every_shipped_profile_expands() -> None:
    for profile in shipped_matrix().profiles:
        assert expand_plan(shipped_matrix(), shipped_lock(), profile).cells


def test_plan_excludes_cell_matching_glob(matrix: Matrix, lock: Lock) -> None:
    changed = with_profile(matrix, exclude=("*/gemma4-31b*",))
    ids = [cell.id for cell in expand_plan(changed, lock, "smoke").speed]
    assert len(ids) == 3
    assert not any("gemma4-31b" in cell_id for cell_id in ids)


def test_plan_with_include_has_only_matching_cells(matrix: Matrix, lock: Lock) -> None:
    changed = with_profile(matrix, include=("*/qwen35-27b*",))
    (cell,) = expand_plan(changed, lock, "smoke").speed
    assert cell.model_key == "qwen35-27b"


@pytest.mark.parametrize("axis", ["include", "exclude"])
def test_profile_glob_that_matches_nothing_is_refused(
    matrix: Matrix, lock: Lock, axis: str
) -> None:
    changed = with_profile(matrix, **{axis: ("speed/qwen36-27b.tiny/current/cpu",)})
    with pytest.raises(MatrixError, match=rf"profiles\.smoke\.{axis}: .*did you mean"):
        expand_plan(changed, lock, "smoke")


def test_cells_option_narrows_the_profile(matrix: Matrix, lock: Lock) -> None:
    ids = [
        cell.id
        for cell in expand_plan(matrix, lock, "smoke", cells="*qwen35-35b*").speed
    ]
    assert len(ids) == 1


def test_cells_option_that_matches_nothing_is_refused(
    matrix: Matrix, lock: Lock
) -> None:
    with pytest.raises(MatrixError, match="--cells 'nothing'"):
        expand_plan(matrix, lock, "smoke", cells="nothing")


def test_unknown_profile_is_refused_with_nearest_name(
    matrix: Matrix, lock: Lock
) -> None:
    with pytest.raises(MatrixError, match="no profile 'smok'; did you mean 'smoke'"):
        expand_plan(matrix, lock, "smok")


def test_pin_missing_from_the_lock_is_refused(matrix: Matrix, lock: Lock) -> None:
    pins = {name: pin for name, pin in lock.pins.items() if name != "current"}
    with pytest.raises(MatrixError, match=r"pins\.current: not locked; run"):
        expand_plan(matrix, msgspec.structs.replace(lock, pins=pins), "smoke")


def test_pin_locked_to_another_commit_is_refused(matrix: Matrix, lock: Lock) -> None:
    other = msgspec.structs.replace(lock.pins["current"], commit="0" * 40)
    pins = {**lock.pins, "current": other}
    with pytest.raises(MatrixError, match=r"pins\.current\.commit: locked '0000"):
        expand_plan(matrix, msgspec.structs.replace(lock, pins=pins), "smoke")


def test_damaged_lock_error_names_the_command_that_rewrites_it(tmp_path: Path) -> None:
    path = tmp_path / "matrix.lock"
    text = (ROOT / "matrix.lock").read_text()
    path.write_text(text.replace('nar_hash = "sha256-', 'nar_hash = "sha256:'))
    with pytest.raises(MatrixError, match=r"nar_hash: .*\n?[\s\S]*`invoke lock`"):
        load_lock(path)


def test_speed_tests_are_in_the_order_of_llama_bench(cells: tuple[Cell, ...]) -> None:
    assert [test.name for test in cells[0].tests] == [
        "pp128",
        "pp512",
        "pp1024",
        "tg32",
    ]


def test_every_size_is_tested_at_every_depth(cells: tuple[Cell, ...]) -> None:
    deep = changed(cells[0], "sweep", n_prompt=(512,), n_depth=(0, 8192))
    assert [test.name for test in deep.tests] == [
        *("pp512", "tg32", "pp512 @ d8192", "tg32 @ d8192"),
    ]


def test_drafts_of_a_sweep_are_cells_on_the_same_weights() -> None:
    cells = shipped_cells("drafts-smoke")[:3]
    assert [cell.id for cell in cells] == [
        f"serve-speed/qwen35-27b.tiny-mtp/current/cpu/{draft}"
        for draft in ("none", "mtp-1", "mtp-2-synth")
    ]
    assert [test.name for test in cells[0].tests] == ["pp256", "tg64 @ d256"]
    assert len({cell.weights_identity for cell in cells}) == 1
    assert len({cell.spec_digest for cell in cells}) == 3
    sooner = changed(cells[1], "sweep", drafts=("mtp-1",))
    assert sooner.spec_digest == cells[1].spec_digest


def test_batched_adds_a_cell_and_changes_no_other() -> None:
    batched, served = shipped_cells("clients-smoke")
    assert batched.id == "serve-speed/qwen35-27b.tiny/current/cpu/batched"
    assert (batched.program, served.program) == ("llama-batched-bench", "llama-server")
    assert batched.tests == served.tests
    assert batched.spec_digest != served.spec_digest
    without = changed(served, "sweep", batched=False)
    assert without.spec_digest == served.spec_digest


def test_assistant_of_gemma4_drafts_from_a_file_of_its_own() -> None:
    none, *drafting = shipped_cells("drafts-smoke")[6:]
    assert none.id == "serve-speed/gemma4-26b-a4b.tiny/current/cpu/none"
    assert none.draft_engine is None
    for cell in drafting:
        assert cell.weights_identity == none.weights_identity
        assert cell.draft_engine
        assert cell.draft_engine.weights_key == "gemma4-26b-a4b.tiny-mtp"


def test_digests_of_earlier_versions_are_kept() -> None:
    """Records of before a key was added stay those of the same cell."""
    matrix, lock = load_matrix(ROOT / "matrix.toml"), load_lock(ROOT / "matrix.lock")
    plan = expand_plan(matrix, lock, "published")
    assert plan.speed[0].spec_digest.startswith("ca94ebe7d6cf707c")
    digest = plan.agents[0].spec_digest(task_digest="t")
    assert digest.startswith("edb578d55884734c")
    synthetic = expand_plan(matrix, lock, "smoke").speed[0]
    assert synthetic.spec_digest.startswith("b8c18f052198a9ef")


def changed(cell: Cell, field: str, **values: object) -> Cell:
    inner = msgspec.structs.replace(getattr(cell, field), **values)
    return msgspec.structs.replace(cell, **{field: inner})


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("locked", {"commit": "1" * 40}),
        ("locked", {"nar_hash": "sha256-" + "A" * 43 + "="}),
        ("pin", {"build_number": 7}),
        ("build", {"cmake": {"GGML_NATIVE": "OFF"}}),
        ("synthesis", {"seed": 1}),
        ("synthesis", {"generator_version": 99}),
        ("synthesis", {"template": "other.jinja"}),
        ("sweep", {"n_prompt": (128,)}),
        ("sweep", {"n_gen": (33,)}),
        ("sweep", {"repetitions": 5}),
        ("sweep", {"cache_type_k": "f16"}),
        ("sweep", {"flash_attn": False}),
        ("sweep", {"ubatch_size": 256}),
        ("sweep", {"threads": 1}),
        ("sweep", {"n_gpu_layers": 10}),
        ("sweep", {"n_depth": (0, 8192)}),
        ("sweep", {"n_cpu_moe": 0}),
        ("sweep", {"override_tensor": ("exps=CPU",)}),
        ("sweep", {"no_kv_offload": True}),
        ("sweep", {"split_mode": SplitMode.ROW}),
        ("sweep", {"tensor_split": (3.0, 1.0)}),
        ("sweep", {"main_gpu": 0}),
    ],
)
def test_input_that_changes_a_number_changes_the_digest(
    cells: tuple[Cell, ...], field: str, values: dict[str, object]
) -> None:
    cell = cells[0]
    assert changed(cell, field, **values).spec_digest != cell.spec_digest


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("sweep", {"processes": 9}),
        ("sweep", {"timeout_s": 9}),
        ("model", {"name": "Another name"}),
        ("pin", {"about": "another word"}),
    ],
)
def test_repeats_and_descriptions_keep_the_digest(
    cells: tuple[Cell, ...], field: str, values: dict[str, object]
) -> None:
    cell = cells[0]
    assert changed(cell, field, **values).spec_digest == cell.spec_digest


def test_record_key_contains_host_class_and_compiler(
    cells: tuple[Cell, ...],
) -> None:
    here = cells[0].digest(host_slug="a", compiler="g++ 12")
    assert here != cells[0].digest(host_slug="b", compiler="g++ 12")
    assert here != cells[0].digest(host_slug="a", compiler="g++ 13")
    assert here == cells[0].digest(host_slug="a", compiler="g++ 12")


def test_speed_test_has_the_name_that_llama_bench_prints() -> None:
    assert SpeedTest(n_prompt=512, n_gen=0).name == "pp512"
    assert SpeedTest(n_prompt=0, n_gen=128).name == "tg128"
