"""The shipped templates and the vendors' own, on both pins' real servers."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from tests.engines.llama_cpp.real import PINS, matrix, real_launch, source_tree
from tests.shipped import ROOT

from llamatrix.measure.templates.checks import Conformance
from llamatrix.measure.templates.suite import check_template
from llamatrix.provision.templates import load_correction, provide_template

pytestmark = pytest.mark.slow

VENDOR_QWEN_FAILS = {
    "system-late",
    "system-twice",
    "system-after-a-result",
    "tool-turn-without-thought",
    "no-user-message",
    "user-text-like-a-result",
}


def checked(
    model: str, pin: str, cache: Path, folder: Path, *, ours: str | None = None
) -> Conformance:
    launch = real_launch(pin, model, cache=cache, folder=folder)
    if ours:
        tree = source_tree("current", cache)
        correction = load_correction(ROOT / "templates" / f"{ours}.toml")
        launch = replace(launch, template=provide_template(correction, tree, cache))
    return check_template(launch, name=model, pin=pin, log=folder / "server.log")


@pytest.mark.parametrize("pin", PINS)
@pytest.mark.parametrize(
    ("model", "ours"), [("qwen35-27b", "qwen35"), ("gemma4-31b", "gemma4")]
)
def test_our_template_passes_every_essential_case(
    pin: str, model: str, ours: str, user_cache: Path, tmp_path: Path
) -> None:
    found = checked(model, pin, user_cache, tmp_path, ours=ours)
    assert [case for case in found.failed if case.essential] == []
    told = {case.id for case in found.failed}
    known = {
        "answer-begun",
        "loop-empty-thoughts" if ours == "qwen35" else "answer-not-thinking",
    }
    assert told <= known
    parsed = {case.id for case in found.cases if case.id.startswith("parser-")}
    assert parsed & {"parser-forced-call", "parser-text-and-calls"}


@pytest.mark.parametrize("pin", PINS)
def test_vendors_qwen_template_fails_the_known_bugs_and_nothing_else_essential(
    pin: str, user_cache: Path, tmp_path: Path
) -> None:
    found = checked("qwen35-27b", pin, user_cache, tmp_path)
    assert {case.id for case in found.failed if case.essential} == VENDOR_QWEN_FAILS


@pytest.mark.parametrize("pin", PINS)
def test_vendors_gemma_template_loses_the_prefix_in_a_loop(
    pin: str, user_cache: Path, tmp_path: Path
) -> None:
    found = checked("gemma4-31b", pin, user_cache, tmp_path)
    assert {"loop-thinking", "loop-not-thinking", "loop-with-text"} <= {
        case.id for case in found.failed
    }


def test_template_the_server_refuses_is_a_result(
    user_cache: Path, tmp_path: Path
) -> None:
    launch = real_launch("current", "qwen35-27b", cache=user_cache, folder=tmp_path)
    broken = tmp_path / "broken.jinja"
    text = launch.template.read_text() if launch.template else ""
    broken.write_text(text + "{% if %}")
    found = check_template(
        replace(launch, template=broken),
        name="broken",
        pin="current",
        log=tmp_path / "server.log",
    )
    assert not found.essentials_passed
    assert found.cases[0].id == "loads"
    assert "chat template" in found.cases[0].reason


@pytest.mark.parametrize("pin", list(matrix().pins))
def test_every_pin_carries_the_text_that_our_qwen_edits_are_made_for(
    pin: str, user_cache: Path, tmp_path: Path
) -> None:
    correction = load_correction(ROOT / "templates" / "qwen35.toml")
    made = provide_template(correction, source_tree(pin, user_cache), tmp_path)
    digest = hashlib.sha256(made.read_bytes()).hexdigest()
    assert digest == correction.result_sha256
