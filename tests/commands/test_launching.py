"""A corrected template is served only where corrections and lock agree."""

import shutil
from pathlib import Path

import msgspec
import pytest
from tests.shipped import ROOT

from llamatrix.commands.launching import with_corrected_template
from llamatrix.config.context import Context, load_context
from llamatrix.config.lock import load_lock
from llamatrix.config.matrix import Model
from llamatrix.engines.protocol import Launch
from llamatrix.errors import MatrixError, ServeError
from llamatrix.project import Project
from llamatrix.provision.resolve import write_lock

OTHER = "0" * 64


def launch_of(context: Context, model: str) -> Launch:
    matrix = context.matrix
    return Launch(
        program=Path("llama-server"),
        weights=Path("weights.gguf"),
        alias=model,
        model=matrix.models[model],
        server=matrix.servers["smoke"],
    )


def provided(project: Project, model: str = "qwen35-27b") -> Launch:
    shutil.copytree(ROOT / "templates", project.root / "templates", dirs_exist_ok=True)
    context = load_context("smoke", project=project)
    return with_corrected_template(launch_of(context, model), context)


def test_a_correction_that_is_not_the_locked_one_is_not_provided(
    project: Project,
) -> None:
    lock = load_lock(project.lock_file)
    pinned = lock.templates["qwen35"]
    other = msgspec.structs.replace(pinned, result_sha256=OTHER)
    write_lock(
        msgspec.structs.replace(lock, templates={"qwen35": other}), project.lock_file
    )
    with pytest.raises(ServeError, match="run `invoke lock`") as caught:
        provided(project)
    assert OTHER in str(caught.value)
    assert pinned.result_sha256 in str(caught.value)
    assert not project.cache.exists()


def test_a_template_out_of_the_lock_is_not_provided(project: Project) -> None:
    lock = load_lock(project.lock_file)
    write_lock(msgspec.structs.replace(lock, templates={}), project.lock_file)
    with pytest.raises(MatrixError, match=r"templates\.qwen35: not locked"):
        provided(project)


def test_gemma_is_served_with_the_template_in_its_weights(project: Project) -> None:
    launch = provided(project, "gemma4-31b")
    assert launch.template is None
    assert launch.template_pin is None


def test_model_that_the_matrix_lacks_is_served_with_the_template_in_its_weights(
    project: Project,
) -> None:
    """As on a host of a cluster, to which the driver sends a cell of `--model FILE`."""
    context = load_context("smoke", project=project)
    model = Model(file="my-model.gguf", name="My-Model")
    launch = launch_of(context.with_models({"my-model": model}), "my-model")
    assert with_corrected_template(launch, context) == launch


@pytest.mark.slow
@pytest.mark.network
def test_launch_has_the_pin_of_its_template(project: Project, user_cache: Path) -> None:
    project = Project(root=project.root, cache=user_cache)
    launch = provided(project)
    pinned = load_lock(project.lock_file).templates["qwen35"]
    assert launch.template
    assert launch.template_pin == pinned.result_sha256
