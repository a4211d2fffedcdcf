"""A task's authored transcripts, by name."""

import msgspec
import pytest

from llamatrix.errors import MeasureError
from llamatrix.trials.checks.task import Script, Task, load_task
from llamatrix.trials.scripted.script import script_of
from llamatrix.trials.scripted.transcript import Step


@pytest.fixture
def task() -> Task:
    return load_task("gemini-images")


def with_script(task: Task, after: int) -> Task:
    early = Script(after=after, says="All done.")
    return msgspec.structs.replace(task, scripts={"early": early})


def test_the_solution_ends_with_its_only_last_word(task: Task) -> None:
    steps = script_of(task, "solution").steps
    assert steps[-1].text
    assert [bool(step.tool_calls) for step in steps] == [True] * (len(steps) - 1) + [
        False
    ]


def test_a_second_try_says_too_early_that_it_is_done(task: Task) -> None:
    steps = script_of(task, "second-try").steps
    solution = script_of(task, "solution").steps
    after, says = task.scripts["second-try"].after, task.scripts["second-try"].says
    assert steps[after] == Step(text=says)
    assert (*steps[:after], *steps[after + 1 :]) == solution


def test_an_unknown_name_is_told_with_the_nearest(task: Task) -> None:
    with pytest.raises(MeasureError, match=r"'second-tri'; did you mean 'second-try'"):
        script_of(task, "second-tri")


def test_a_script_that_would_interrupt_nothing_is_refused(task: Task) -> None:
    count = len(script_of(task, "solution").steps)
    assert len(script_of(with_script(task, count - 1), "early").steps) == count + 1
    with pytest.raises(MeasureError, match=rf"scripts\.early\.after: {count} is not"):
        script_of(with_script(task, count), "early")
