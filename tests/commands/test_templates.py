"""Templates as users name them."""

import shutil
from pathlib import Path

import pytest
from tests.shipped import ROOT

from llamatrix.commands.flags import TemplateFlags
from llamatrix.commands.launching import template_named
from llamatrix.commands.template_check import template_check
from llamatrix.config.context import Context, load_context
from llamatrix.config.load import load_matrix
from llamatrix.errors import MatrixError, MeasureError
from llamatrix.project import Project
from llamatrix.provision.integrity import file_sha256
from llamatrix.provision.templates import load_correction

MODEL = load_matrix(ROOT / "matrix.toml").models["qwen35-27b"]


def context_of(project: Project) -> Context:
    return load_context("smoke", project=project)


def test_template_file_of_the_user_is_used_unchanged(
    project: Project, tmp_path: Path
) -> None:
    path = tmp_path / "mine.jinja"
    path.write_text("{{ messages }}")
    found = template_named(str(path), MODEL, context_of(project), flag="--x")
    assert (found.name, found.path) == ("mine.jinja", path)
    assert found.sha256 == file_sha256(path)


def test_an_unknown_name_is_reported_with_the_nearest(project: Project) -> None:
    shutil.copytree(ROOT / "templates", project.root / "templates")
    with pytest.raises(MatrixError, match=r"--x 'qwen.jinja'.*mean 'qwen35.jinja'"):
        template_named("qwen.jinja", MODEL, context_of(project), flag="--x")


@pytest.mark.usefixtures("stocked")
@pytest.mark.parametrize("model", ["", "qwen35-27b"])
def test_template_that_is_not_utf_8_is_refused(tmp_path: Path, model: str) -> None:
    path = tmp_path / "mine.jinja"
    path.write_bytes("{{ 'Größe' }}".encode("latin-1"))
    with pytest.raises(MeasureError, match=r"mine\.jinja: not UTF-8: .* position 6"):
        template_check(TemplateFlags(template=str(path), model=model))


@pytest.mark.slow
@pytest.mark.network
def test_vendor_and_corrected_templates_come_from_the_source(user_cache: Path) -> None:
    project = Project(root=ROOT, cache=user_cache)
    correction = load_correction(ROOT / "templates" / "qwen35.toml")
    vendor = template_named("vendor", MODEL, context_of(project), flag="--x")
    ours = template_named("qwen35.jinja", MODEL, context_of(project), flag="--x")
    assert vendor.sha256 == correction.source_sha256
    assert ours.sha256 == correction.result_sha256
