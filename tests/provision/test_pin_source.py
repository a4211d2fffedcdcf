"""A pin's own source lists the cache types of its programs."""

import re
from pathlib import Path

import msgspec
import pytest

from llamatrix.config import load
from llamatrix.config.cell import Cell
from llamatrix.errors import ProvisionError
from llamatrix.provision.pin_source import (
    lists_of,
    require_known_flags,
    without_unknown_flags,
)
from llamatrix.provision.weights.tensor_types import TENSOR_TYPES

COMMIT = "b" * 40
BENCH = """
static ggml_type ggml_type_from_name(const std::string & s) {
    if (s == "f16") { return GGML_TYPE_F16; }
    if (s == "tq9_0") { return GGML_TYPE_TQ9_0; }
    return GGML_TYPE_COUNT;
}
"""
SERVER = """
const std::vector<ggml_type> kv_cache_types = {
    GGML_TYPE_F32,
    GGML_TYPE_IQ4_NL,
};
"""


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    for name, text in (
        ("tools/llama-bench/llama-bench.cpp", BENCH),
        ("common/arg.cpp", SERVER),
    ):
        (tmp_path / COMMIT / name).parent.mkdir(parents=True)
        (tmp_path / COMMIT / name).write_text(text)
    return tmp_path


def asking(cell: Cell, kind: str, commit: str = COMMIT) -> Cell:
    sweep = msgspec.structs.replace(cell.sweep, cache_type_k=kind, cache_type_v="f16")
    locked = msgspec.structs.replace(cell.locked, commit=commit)
    return msgspec.structs.replace(cell, sweep=sweep, locked=locked)


def test_cache_types_of_both_programs_are_read_from_the_source(sources: Path) -> None:
    lists = lists_of(COMMIT, sources)
    assert lists.bench_cache_types == ("f16", "tq9_0")
    assert lists.server_cache_types == ("f32", "iq4_nl")


def test_type_that_the_source_lacks_is_refused_with_its_list(
    sources: Path, cells: tuple[Cell, ...]
) -> None:
    require_known_flags(asking(cells[0], "tq9_0"), sources)
    with pytest.raises(ProvisionError, match=r"'q8_0' is none of .* takes: f16, tq9_0"):
        require_known_flags(asking(cells[0], "q8_0"), sources)


def test_missing_source_refuses_nothing(
    tmp_path: Path, cells: tuple[Cell, ...]
) -> None:
    require_known_flags(asking(cells[0], "q9_9"), tmp_path)


@pytest.mark.slow
def test_shipped_lists_are_those_of_the_locked_sources(
    user_cache: Path,
) -> None:
    unpacked = [
        commit
        for commit in load.READ_COMMITS
        if (user_cache / "sources" / commit).exists()
    ]
    assert unpacked
    for commit in unpacked:
        lists = lists_of(commit, user_cache / "sources")
        assert set(lists.bench_cache_types) == set(load.BENCH_CACHE_TYPES)
        assert set(lists.server_cache_types) == set(load.SERVER_CACHE_TYPES)
        assert lists.tensor_types == lists_of(commit, Path("/nowhere")).tensor_types
        assert "qwen35" in lists.architectures


@pytest.mark.slow
def test_no_tensor_type_of_the_newest_source_is_missing(user_cache: Path) -> None:
    trees = [user_cache / "sources" / commit for commit in load.READ_COMMITS]
    headers = [tree / "ggml/include/ggml.h" for tree in trees]
    texts = [path.read_text() for path in headers if path.exists()]
    assert texts
    for text in texts:
        listed = re.findall(r"^ +GGML_TYPE_(\w+) += (\d+),", text, re.MULTILINE)
        types = {int(number): name.lower() for name, number in listed}
        types = {number: name for number, name in types.items() if name != "count"}
        known = {number: TENSOR_TYPES[number][0].lower() for number in types}
        assert known == types


def test_flags_that_a_tree_lacks_are_left_out_where_the_sweep_sets_them(
    sources: Path, cells: tuple[Cell, ...]
) -> None:
    tree = sources / COMMIT
    program = tree / "tools/llama-bench/llama-bench.cpp"
    program.write_text('if (arg == "-sm") {}\n')
    sweep = msgspec.structs.replace(cells[0].sweep, split_mode="layer", n_cpu_moe=3)
    kept, unknown = without_unknown_flags(sweep, tree)
    assert unknown == ("-ncmoe",)
    assert (kept.split_mode, kept.n_cpu_moe) == ("layer", None)
    assert without_unknown_flags(sweep, tree / "elsewhere") == (sweep, ())
