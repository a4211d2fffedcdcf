"""Flags of the commands: one word each, renamed ones named."""

import os

import pytest
from tests.invoking import invoked_apart

from llamatrix.commands.flags import refuse_renamed
from llamatrix.errors import MatrixError


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
        refuse_renamed(["invoke", "context", *form.format(old).split()])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("opinion", "invoke llm-judge"),
        ("gpu-proof", "invoke bench-self --profile gpu-proof"),
    ],
)
def test_a_renamed_command_is_refused_with_its_new_name(old: str, new: str) -> None:
    with pytest.raises(MatrixError, match=f"^{old}: renamed; write `{new}`"):
        refuse_renamed(["invoke", old, "--model", "qwen35-27b"])


def test_profile_named_like_a_renamed_command_is_accepted() -> None:
    refuse_renamed(["invoke", "bench", "--profile", "gpu-proof"])


def test_a_renamed_flag_is_one_line_and_exit_code_2() -> None:
    ended = invoked_apart("context", "--most", "4096", env=dict(os.environ))
    assert ended.returncode == 2
    assert ended.stderr == "llamatrix: --most: renamed; write --max-context\n"
