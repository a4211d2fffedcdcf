"""The lock's templates against our corrections and the vendors' texts."""

import hashlib
import shutil
from pathlib import Path

import msgspec
import pytest
from tests.shipped import ROOT

from llamatrix.config.load import load_matrix
from llamatrix.config.lock import Lock, LockedTemplate, load_lock, locked_pin
from llamatrix.errors import ServeError
from llamatrix.provision.resolve import Drift
from llamatrix.provision.source import provide_source
from llamatrix.provision.templates import (
    VENDOR_FOLDER,
    Correction,
    Edit,
    compare_templates,
    corrected,
    edited,
    find_correction,
    load_correction,
    provide_template,
    require_pinned,
    resolve_templates,
)

SOURCE = "one\ntwo\nthree\n"
TWO = Edit(bug="B1", why="", find="two\n", replace="2\n")
ONE = Edit(bug="B2", why="", find="one", replace="two\ntwo")
RESULT = "two\ntwo\n2\nthree\n"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def correction(*edits: Edit, result: str = RESULT) -> Correction:
    return Correction(
        file="vendor.jinja",
        source_sha256=sha256(SOURCE),
        result_sha256=sha256(result),
        edits=edits,
    )


def test_edits_are_applied_in_one_pass() -> None:
    assert corrected(correction(TWO, ONE), SOURCE) == RESULT
    assert corrected(correction(ONE, TWO), SOURCE) == RESULT


@pytest.mark.parametrize(("text", "count"), [("gone", 0), ("t", 2)])
def test_edit_whose_text_does_not_occur_once_is_refused(text: str, count: int) -> None:
    edit = Edit(bug="B9", why="", find=text, replace="x")
    with pytest.raises(ServeError, match=rf"edit 2 \(B9\): .* {count} times"):
        edited(SOURCE, (TWO, edit), where="x.toml")


def test_edits_that_overlap_are_refused() -> None:
    other = Edit(bug="B3", why="", find="two\nthree", replace="x")
    with pytest.raises(ServeError, match="overlaps another"):
        edited(SOURCE, (TWO, other), where="x.toml")


def test_changed_vendor_text_is_refused() -> None:
    with pytest.raises(ServeError, match="the vendor's text has sha256"):
        corrected(correction(TWO, ONE), SOURCE + "four\n")


def test_result_other_than_the_pinned_one_is_refused() -> None:
    with pytest.raises(ServeError, match="the corrected text has sha256"):
        corrected(correction(TWO), SOURCE)


def test_corrected_template_is_a_file_to_serve_with(tmp_path: Path) -> None:
    folder = tmp_path / "tree" / VENDOR_FOLDER
    folder.mkdir(parents=True)
    (folder / "vendor.jinja").write_bytes(SOURCE.encode())
    asked = correction(TWO, ONE)
    first = provide_template(asked, tmp_path / "tree", tmp_path / "cache")
    assert first.read_text() == RESULT
    assert provide_template(asked, tmp_path / "tree", tmp_path / "cache") == first


def test_tree_without_vendor_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match=r"vendor.jinja: .* cannot be read"):
        provide_template(correction(TWO), tmp_path, tmp_path)


def test_mistake_in_correction_names_its_place(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text('file = "a"\nsource_sha256 = "b"\nedits = []\nfrom = 1\n')
    with pytest.raises(ServeError, match=r"x.toml: source_sha256: ") as raised:
        load_correction(file)
    assert "x.toml: from: unknown key" in str(raised.value)
    assert "x.toml: result_sha256: missing" in str(raised.value)


def test_correction_is_found_by_name_of_its_result() -> None:
    folder = ROOT / "templates"
    assert find_correction("qwen35.jinja", folder).file == "Qwen3.5-4B.jinja"
    with pytest.raises(
        ServeError, match=r"no template 'qwen.jinja'; did you mean 'qwen35.jinja'"
    ):
        find_correction("qwen.jinja", folder)


@pytest.mark.parametrize("name", ["qwen35", "gemma4"])
def test_every_shipped_edit_has_its_bug_in_the_readme(name: str) -> None:
    readme = (ROOT / "templates" / "README.md").read_text()
    shipped = load_correction(ROOT / "templates" / f"{name}.toml")
    assert shipped.source_sha256 in readme
    for edit in shipped.edits:
        assert edit.why
        for bug in edit.bug.split(", "):
            assert f"| {bug} |" in readme


MATRIX = load_matrix(ROOT / "matrix.toml")
LOCK = load_lock(ROOT / "matrix.lock")
FOLDER = ROOT / "templates"
_OTHER = "0" * 64


def lock_with(**templates: LockedTemplate) -> Lock:
    return msgspec.structs.replace(LOCK, templates={**LOCK.templates, **templates})


def drifts(lock: Lock, tree: Path | str, folder: Path = FOLDER) -> list[Drift]:
    return list(compare_templates(MATRIX, lock, folder, tree))


def test_shipped_corrections_are_the_locked_ones() -> None:
    for name, pinned in LOCK.templates.items():
        require_pinned(name, load_correction(FOLDER / f"{name}.toml"), pinned)


@pytest.mark.parametrize("key", ["source_sha256", "result_sha256"])
def test_correction_other_than_locked_names_both_hashes(key: str) -> None:
    correction = load_correction(FOLDER / "qwen35.toml")
    pinned = msgspec.structs.replace(LOCK.templates["qwen35"], **{key: _OTHER})
    with pytest.raises(ServeError, match=rf"{key} is [0-9a-f]{{64}}.* has {_OTHER}"):
        require_pinned("qwen35", correction, pinned)


def test_without_source_only_hashes_are_checked() -> None:
    found = drifts(LOCK, "no index")
    assert {drift.entry for drift in found} == {
        f"templates.{name}" for name in LOCK.templates
    }
    assert not any(drift.checked for drift in found)
    other = msgspec.structs.replace(LOCK.templates["qwen35"], result_sha256=_OTHER)
    (drift,) = (
        drift for drift in drifts(lock_with(qwen35=other), "no index") if drift.checked
    )
    assert _OTHER in drift.found
    assert LOCK.templates["qwen35"].result_sha256 in drift.found


def test_missing_and_superfluous_entries_are_differences(tmp_path: Path) -> None:
    locked = {"gemma4": LOCK.templates["qwen35"]}
    found = drifts(msgspec.structs.replace(LOCK, templates=locked), tmp_path)
    assert {drift.entry: drift.found for drift in found} == {
        "templates.gemma4": "named by no model of matrix.toml",
        **{f"templates.{name}": "not locked" for name in LOCK.templates},
    }


def test_unknown_template_is_a_difference(tmp_path: Path) -> None:
    found = {drift.entry: drift for drift in drifts(LOCK, "no index", folder=tmp_path)}
    assert found["templates.qwen35"].checked
    assert "no template 'qwen35.jinja'" in found["templates.qwen35"].found


def test_tree_without_the_vendors_text_is_a_difference(tmp_path: Path) -> None:
    found = drifts(LOCK, tmp_path)
    assert {drift.entry for drift in found} == {
        f"templates.{name}" for name in LOCK.templates
    }
    assert all(drift.checked for drift in found)
    assert all("cannot be read" in drift.found for drift in found)


@pytest.mark.slow
@pytest.mark.network
def test_lock_has_the_hashes_of_the_edited_vendor_text(
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
