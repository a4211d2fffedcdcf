import hashlib
from pathlib import Path

import pytest
from tests.shipped import ROOT

from llamatrix.engines.llama_cpp.template import (
    VENDOR_FOLDER,
    Correction,
    Edit,
    corrected,
    edited,
    find_correction,
    load_correction,
    provide_template,
)
from llamatrix.errors import ServeError

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


def test_all_edits_are_made_in_one_pass_over_the_source() -> None:
    assert corrected(correction(TWO, ONE), SOURCE) == RESULT
    assert corrected(correction(ONE, TWO), SOURCE) == RESULT


@pytest.mark.parametrize(("text", "count"), [("gone", 0), ("t", 2)])
def test_an_edit_that_does_not_stand_exactly_once_is_refused(
    text: str, count: int
) -> None:
    edit = Edit(bug="B9", why="", find=text, replace="x")
    with pytest.raises(ServeError, match=rf"edit 2 \(B9\): .* {count} times"):
        edited(SOURCE, (TWO, edit), where="x.toml")


def test_edits_that_overlap_are_refused() -> None:
    other = Edit(bug="B3", why="", find="two\nthree", replace="x")
    with pytest.raises(ServeError, match="overlaps another"):
        edited(SOURCE, (TWO, other), where="x.toml")


def test_another_text_of_the_vendors_is_refused() -> None:
    with pytest.raises(ServeError, match="the vendor's text has sha256"):
        corrected(correction(TWO, ONE), SOURCE + "four\n")


def test_a_result_other_than_the_pinned_one_is_refused() -> None:
    with pytest.raises(ServeError, match="the corrected text has sha256"):
        corrected(correction(TWO), SOURCE)


def test_a_corrected_template_is_a_file_to_serve_with(tmp_path: Path) -> None:
    folder = tmp_path / "tree" / VENDOR_FOLDER
    folder.mkdir(parents=True)
    (folder / "vendor.jinja").write_bytes(SOURCE.encode())
    asked = correction(TWO, ONE)
    first = provide_template(asked, tmp_path / "tree", tmp_path / "cache")
    assert first.read_text() == RESULT
    assert provide_template(asked, tmp_path / "tree", tmp_path / "cache") == first


def test_a_tree_without_the_vendors_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match=r"vendor.jinja: .* cannot be read"):
        provide_template(correction(TWO), tmp_path, tmp_path)


def test_a_mistake_in_a_correction_is_told_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text('file = "a"\nsource_sha256 = "b"\nedits = []\nfrom = 1\n')
    with pytest.raises(ServeError, match=r"x.toml: source_sha256: ") as raised:
        load_correction(file)
    assert "x.toml: from: unknown key" in str(raised.value)
    assert "x.toml: result_sha256: missing" in str(raised.value)


def test_the_matrix_names_a_correction_by_what_it_makes() -> None:
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
