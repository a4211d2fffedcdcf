"""The lock's templates against our corrections and the vendors' texts."""

import shutil
from pathlib import Path

import msgspec
import pytest
from tests.shipped import ROOT

from llamatrix.config.load import load_matrix
from llamatrix.config.lock import Lock, LockedTemplate, load_lock, locked_pin
from llamatrix.engines.llama_cpp.template import load_correction
from llamatrix.engines.llama_cpp.template_pins import (
    compare_templates,
    require_pinned,
    resolve_templates,
)
from llamatrix.errors import ServeError
from llamatrix.provision.resolve import Drift
from llamatrix.provision.source import provide_source

MATRIX = load_matrix(ROOT / "matrix.toml")
LOCK = load_lock(ROOT / "matrix.lock")
FOLDER = ROOT / "templates"
_OTHER = "0" * 64


def lock_with(**templates: LockedTemplate) -> Lock:
    return msgspec.structs.replace(LOCK, templates=templates)


def drifts(lock: Lock, tree: Path | str, folder: Path = FOLDER) -> list[Drift]:
    return list(compare_templates(MATRIX, lock, folder, tree))


def test_the_shipped_corrections_are_the_locked_ones() -> None:
    for name, pinned in LOCK.templates.items():
        require_pinned(name, load_correction(FOLDER / f"{name}.toml"), pinned)


@pytest.mark.parametrize("key", ["source_sha256", "result_sha256"])
def test_another_correction_than_the_locked_one_names_both_hashes(key: str) -> None:
    correction = load_correction(FOLDER / "qwen35.toml")
    pinned = msgspec.structs.replace(LOCK.templates["qwen35"], **{key: _OTHER})
    with pytest.raises(ServeError, match=rf"{key} is [0-9a-f]{{64}}.* has {_OTHER}"):
        require_pinned("qwen35", correction, pinned)


def test_without_the_source_the_bytes_are_not_checked_but_the_hashes_are() -> None:
    (drift,) = drifts(LOCK, "no index")
    assert (drift.entry, drift.checked) == ("templates.qwen35", False)
    other = msgspec.structs.replace(LOCK.templates["qwen35"], result_sha256=_OTHER)
    (drift,) = drifts(lock_with(qwen35=other), "no index")
    assert drift.checked
    assert _OTHER in drift.found
    assert LOCK.templates["qwen35"].result_sha256 in drift.found


def test_missing_and_superfluous_entries_are_differences(tmp_path: Path) -> None:
    found = drifts(lock_with(gemma4=LOCK.templates["qwen35"]), tmp_path)
    assert {drift.entry: drift.found for drift in found} == {
        "templates.gemma4": "named by no model of matrix.toml",
        "templates.qwen35": "not locked",
    }


def test_a_template_that_we_do_not_have_is_a_difference(tmp_path: Path) -> None:
    (drift,) = drifts(LOCK, "no index", folder=tmp_path)
    assert drift.checked
    assert "no template 'qwen35.jinja'" in drift.found


def test_a_tree_without_the_vendors_text_is_a_difference(tmp_path: Path) -> None:
    (drift,) = drifts(LOCK, tmp_path)
    assert drift.checked
    assert "cannot be read" in drift.found


@pytest.mark.slow
@pytest.mark.network
def test_the_lock_is_what_the_edits_make_of_the_vendors_text(
    user_cache: Path, tmp_path: Path
) -> None:
    pin = locked_pin(MATRIX, LOCK, MATRIX.synthetic.template_pin)
    tree = provide_source(pin, user_cache)
    assert resolve_templates(MATRIX, FOLDER, tree) == LOCK.templates
    assert drifts(LOCK, tree) == []
    shutil.copytree(FOLDER, tmp_path / "templates")
    file = tmp_path / "templates" / "qwen35.toml"
    file.write_text(file.read_text().replace("set ns.last_query_index = -1", "x"))
    (drift,) = drifts(LOCK, tree, folder=tmp_path / "templates")
    assert "the corrected text has sha256" in drift.found
