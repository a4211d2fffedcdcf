"""llama-fit-params: figures of each pin, compared with the closed form."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from tests.shipped import CAPTURED, ROOT

from llamatrix.commands.launching import cell_to_serve
from llamatrix.config.context import load_context
from llamatrix.engines.llama_cpp.fit_params import (
    FitFigures,
    argv,
    parse,
    run_fit_params,
)
from llamatrix.errors import MeasureError
from llamatrix.project import Project
from llamatrix.provision.build import provide_build
from llamatrix.provision.weights.fit import (
    MemorySettings,
    host_weight_bytes,
    known_shape,
    memory_need,
)
from llamatrix.provision.weights.synthetic.models import MODELS, Scale, SyntheticSpec
from llamatrix.provision.weights.synthetic.write import write


@pytest.mark.parametrize(
    ("pin", "figures"),
    [
        ("current", FitFigures(model=18986, context=1997, compute=567)),
        ("april", FitFigures(model=18986, context=2560, compute=586)),
    ],
)
def test_figures_of_every_pin_are_parsed(pin: str, figures: FitFigures) -> None:
    text = (CAPTURED / "llama-fit-params" / f"{pin}.txt").read_text()
    assert parse(text) == figures


def test_figures_of_several_devices_are_summed() -> None:
    assert parse("CUDA0 100 20 3\nHost 5 0 1\n") == FitFigures(
        model=105, context=20, compute=4
    )


def test_text_without_figures_parses_to_none() -> None:
    assert parse("-c 32768 -ngl -1\n") is None


def test_command_line_has_the_predicted_settings() -> None:
    words = argv(Path("p"), Path("a.gguf"), MemorySettings(), context_tokens=4096)
    text = " ".join(words)
    assert "-c 4096 -ctk q8_0 -ctv q8_0 -fa on" in text
    assert "-ub 512" in text


def test_failure_names_program_and_last_line(tmp_path: Path) -> None:
    program = tmp_path / "llama-fit-params"
    program.write_text("#!/bin/sh\necho broken >&2\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(MeasureError, match="broken"):
        run_fit_params(
            program, tmp_path / "a.gguf", MemorySettings(), context_tokens=4096
        )


@pytest.fixture(scope="module")
def hollow(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Full-size files without data, one of each model for both pins."""

    @cache
    def of(model: str) -> Path:
        path = tmp_path_factory.mktemp("hollow") / f"{model}.gguf"
        spec = SyntheticSpec(model=model, scale=Scale.FULL, chat_template="")
        write(spec, path, on_bytes=lambda _: None, sparse=True)
        return path

    return of


_ABOVE_MIB = {"qwen35-9b": 280, "qwen35-4b": 280}
"""By how much more the estimate of a small model may be, at the longest context."""


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("pin", "old"), [("april", True), ("current", False)])
def test_program_weights_and_cache_match_to_a_mebibyte(
    user_cache: Path, hollow: Callable[[str], Path], model: str, pin: str, *, old: bool
) -> None:
    project = Project(root=ROOT, cache=user_cache)
    cell = cell_to_serve(load_context("smoke", project=project), pin=pin)
    program = provide_build(cell, user_cache).program("llama-fit-params")
    shape, use = known_shape(model), MemorySettings(window_in_f16=old)
    for tokens in (32768, 262144):
        ours = memory_need(shape, use, context_tokens=tokens)
        theirs = run_fit_params(program, hollow(model), use, context_tokens=tokens)
        assert host_weight_bytes(shape) / 2**20 == pytest.approx(theirs.model, abs=1)
        assert (ours.cache + ours.state) / 2**20 == pytest.approx(theirs.context, abs=1)
        off_mib = theirs.compute - ours.compute / 2**20
        allowed_mib = 0.015 * ours.total / 2**20
        assert -max(allowed_mib, _ABOVE_MIB.get(model, 0)) < off_mib < allowed_mib
