"""`invoke plan`: what the due cells take: gigabytes, time, programs."""

import re

import pytest
from tests.commands.conftest import RunInvoke


@pytest.mark.usefixtures("stocked")
def test_plan_says_what_is_to_be_provided_how_long_and_what_it_needs(
    run_invoke: RunInvoke,
) -> None:
    shown = run_invoke("plan", "--profile", "smoke").stdout
    assert re.search(
        r"^- to provide: about .* MiB in 4 files of weights$", shown, re.MULTILINE
    )
    assert "- time: unknown until each test" in shown
    run_invoke("bench", "--profile", "smoke", "--cells", "*gemma4-31b*")
    again = run_invoke("plan", "--profile", "smoke", "--again", "1").stdout
    assert re.search(r"^- to provide: about .* MiB in 3 files", again, re.MULTILINE)
    assert "by earlier records of 4 of them; 36 more never ran here" in again


@pytest.mark.usefixtures("project")
def test_plan_of_a_card_names_builds_compiler_and_hub(run_invoke: RunInvoke) -> None:
    shown = run_invoke("plan", "--profile", "published").stdout
    assert "GiB in 4 files of weights, april/cuda to compile" in shown
    assert "- needs: a CUDA card, a C++ compiler, the hub, bubblewrap" in shown
