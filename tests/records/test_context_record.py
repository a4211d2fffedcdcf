"""A search as a line of the store, and what makes it another question."""

from pathlib import Path

import msgspec
import pytest
from tests.records.made import made_record
from tests.records.made_context import made_context, made_found
from tests.shipped import ROOT, shipped_cells

from llamatrix.config.load import load_matrix
from llamatrix.measure.context.result import StopReason
from llamatrix.records.context_record import CONTEXT, SearchLimits, context_cell
from llamatrix.records.speed_record import SPEED
from llamatrix.records.store import Store

CELL = shipped_cells("gpu-proof")[0]
SERVER = load_matrix(ROOT / "matrix.toml").servers["published"]
HERE = {"template_sha256": "", "host_slug": "here", "compiler": "nvcc"}
DIGEST = context_cell(CELL, SearchLimits(min_speed_ratio=0.8), SERVER, **HERE).digest


def test_context_record_is_stored_beside_speed_records(
    tmp_path: Path,
) -> None:
    speed = Store(reports=tmp_path, kind=SPEED)
    context = Store(reports=tmp_path, kind=CONTEXT)
    speed.append(made_record())
    context.append(made_context())
    assert list(speed.read_all()) == [made_record()]
    assert list(context.read_all()) == [made_context()]
    (file,) = tmp_path.glob("records/*/context/qwen35-27b/april/cuda.jsonl")
    assert file.read_bytes().count(b"\n") == 1


@pytest.mark.parametrize(
    "asked",
    [
        SearchLimits(min_speed_ratio=0.7),
        SearchLimits(min_speed_ratio=0.8, vram_bytes=2**34),
        SearchLimits(min_speed_ratio=0.8, max_tokens=8192),
    ],
)
def test_changed_limits_change_the_digest(asked: SearchLimits) -> None:
    assert context_cell(CELL, asked, SERVER, **HERE).digest != DIGEST


@pytest.mark.parametrize("key", HERE)
def test_changed_host_or_compiler_changes_the_digest(key: str) -> None:
    asked = SearchLimits(min_speed_ratio=0.8)
    other = {**HERE, key: "other"}
    assert context_cell(CELL, asked, SERVER, **other).digest != DIGEST


def test_changed_model_flag_or_pin_changes_the_digest() -> None:
    asked = SearchLimits(min_speed_ratio=0.8)
    replace = msgspec.structs.replace
    warmer = replace(CELL, model=replace(CELL.model, temp=0.9))
    f16 = replace(SERVER, cache_type_k="f16")
    smaller = shipped_cells("gpu-proof")[1]
    found = {
        context_cell(cell, asked, server, **HERE).digest
        for cell, server in (
            *((CELL, SERVER), (warmer, SERVER), (CELL, f16)),
            *((smaller, SERVER),),
        )
    }
    assert len(found) == 4


def test_context_size_of_the_model_keeps_the_digest() -> None:
    asked = SearchLimits(min_speed_ratio=0.8)
    model = msgspec.structs.replace(CELL.model, ctx_size=8192)
    other = msgspec.structs.replace(CELL, model=model)
    assert context_cell(other, asked, SERVER, **HERE).digest == DIGEST


@pytest.mark.parametrize("stop", StopReason)
def test_interrupted_search_is_not_settled(stop: StopReason) -> None:
    settled = made_context(made_found(stop)).settled
    assert settled is (stop not in (StopReason.TIME, StopReason.INTERRUPTED))
