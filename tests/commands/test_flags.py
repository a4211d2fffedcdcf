"""Flags of the commands: one word and letter each, renamed ones named."""

import os
import re

import pytest
import tasks
from tests.invoking import invoked_apart
from tests.shipped import ROOT

from llamatrix.commands.flags import (
    SHORT,
    parameters_of,
    refuse_automatic_short,
    refuse_renamed,
)
from llamatrix.commands.registry import COMMANDS
from llamatrix.errors import MatrixError

TAKEN = {name: command.takes for name, command in COMMANDS.items()}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("--most", "--max-context"),
        ("--keep-speed", "--min-speed-ratio"),
        ("--tolerate-load", "--max-background-load"),
        ("--long", "--long-run-s"),
        ("--baseline-build", "--baseline build:NAME"),
        ("--baseline-sweep", "--baseline sweep:NAME"),
        ("--baseline-server", "--baseline server:NAME"),
        ("--baseline-template", "--baseline template:NAME"),
        ("--baseline-opencode", "--baseline agent:NAME"),
        ("--baseline-context7", "--baseline context7:NAME"),
        ("--candidate-build", "--candidate build:NAME"),
        ("--candidate-sweep", "--candidate sweep:NAME"),
        ("--candidate-server", "--candidate server:NAME"),
        ("--candidate-template", "--candidate template:NAME"),
        ("--candidate-opencode", "--candidate agent:NAME"),
        ("--candidate-context7", "--candidate context7:NAME"),
    ],
)
@pytest.mark.parametrize("form", ["{} 1", "{}=1"])
def test_a_renamed_flag_is_refused_with_its_new_name(
    old: str, new: str, form: str
) -> None:
    with pytest.raises(MatrixError, match=f"^{old}: renamed; write {new}"):
        refuse_renamed(["invoke", "context", *form.format(old).split()], TAKEN)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("opinion", "invoke llm-judge"),
        ("gpu-proof", "invoke bench-self --profile gpu-proof"),
    ],
)
def test_a_renamed_command_is_refused_with_its_new_name(old: str, new: str) -> None:
    with pytest.raises(MatrixError, match=f"^{old}: renamed; write `{new}`"):
        refuse_renamed(["invoke", old, "--model", "qwen35-27b"], TAKEN)


def test_profile_named_like_a_renamed_command_is_accepted() -> None:
    refuse_renamed(["invoke", "bench", "--profile", "gpu-proof"], TAKEN)


def test_flag_of_the_command_is_accepted_where_another_had_one_of_its_name() -> None:
    refuse_renamed(["invoke", "test", "--long"], TAKEN)
    with pytest.raises(MatrixError, match=r"^--long: renamed; write --long-run-s"):
        refuse_renamed(["invoke", "test", "--long", "bench-self", "--long=5"], TAKEN)


def test_a_renamed_flag_is_one_line_and_exit_code_2() -> None:
    ended = invoked_apart("context", "--most", "4096", env=dict(os.environ))
    assert ended.returncode == 2
    assert ended.stderr == "llamatrix: --most: renamed; write --max-context\n"


def test_every_command_has_the_chosen_short_flags_and_no_others() -> None:
    assert len(set(SHORT.values())) == len(SHORT)
    assert "h" not in SHORT.values(), "-h is help"
    for name, command in COMMANDS.items():
        context = tasks.namespace[name].get_arguments()
        letters = {
            one: arg.name for arg in context for one in arg.names if len(one) == 1
        }
        flags = {item.name for item in parameters_of(command.takes)}
        chosen = {SHORT[flag]: flag for flag in flags & SHORT.keys()}
        assert letters == chosen


@pytest.mark.parametrize(
    ("written", "now"),
    [
        ("plan -r", "--retry"),
        ("plan -p smoke -a=1", "--again"),
        ("build -p smoke plan -r", "--retry"),
        ("compare -h x", "--host"),
        ("regress -e x", "-c or --cells"),
    ],
)
def test_an_automatic_short_flag_is_refused_with_the_word(
    written: str, now: str
) -> None:
    with pytest.raises(MatrixError, match=f"chosen by hand now; write {now}$"):
        refuse_automatic_short(["invoke", *written.split()], TAKEN)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("regress -b april", "-b april: -b is --budget now; for --baseline write"),
        ("regress -c=current", "-c current: -c is --cells now; for --candidate write"),
        ("regress -c ../llama.cpp", "for --candidate write --candidate ../llama.cpp"),
        ("bisect -b b9553", "-b is --budget now; for --bad write --bad b9553"),
        ("serve -p current", "-p is --profile now; for --pin write --pin current"),
        ("template-check -p april", "for --pin write --pin april"),
        ("bench-self -p 8", "-p is --profile now; for --pairs write --pairs 8"),
        ("task-check -j 4", "-j is --json now; for --jobs write --jobs 4"),
        ("add x.gguf -n mine", "-n is --dry-run now; for --name write --name mine"),
    ],
)
def test_old_meaning_of_a_letter_is_refused_with_the_word(
    written: str, said: str
) -> None:
    with pytest.raises(MatrixError, match=re.escape(said)):
        refuse_automatic_short(["invoke", *written.split()], TAKEN)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("regress -n", "note: -n is --dry-run now; for --again write --again\n"),
        ("all -p smoke -n", "for --any-template write --any-template\n"),
        ("regress -c scripts/llamatrix", "--candidate scripts/llamatrix\n"),
        ("regress -b 30m -c speed/*", ""),
        ("serve -p smoke -m x", ""),
        ("task-check -j --cases x", ""),
        ("add -n model.gguf", ""),
    ],
)
def test_a_letter_that_may_be_meant_as_before_is_noted(
    written: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    refuse_automatic_short(["invoke", *written.split()], TAKEN)
    noted = capsys.readouterr().err
    assert noted.endswith(said)
    assert bool(noted) == bool(said)


def test_a_chosen_short_flag_and_a_value_like_a_command_are_accepted() -> None:
    for written in (
        "plan -p smoke -c *x*",
        "bench --profile plan -m x",
        "-l",
        "all -n",
    ):
        refuse_automatic_short(["invoke", *written.split()], TAKEN)


def test_an_automatic_short_flag_is_one_line_and_exit_code_2() -> None:
    ended = invoked_apart("plan", "-r", env=dict(os.environ))
    assert ended.returncode == 2
    assert ended.stderr == (
        "llamatrix: -r: short flags are chosen by hand now; write --retry\n"
    )
