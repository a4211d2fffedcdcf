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
    ],
)
@pytest.mark.parametrize("form", ["{} 1", "{}=1"])
def test_a_renamed_flag_is_refused_with_its_new_name(
    old: str, new: str, form: str
) -> None:
    with pytest.raises(MatrixError, match=f"{old}: renamed; write {new}$"):
        refuse_renamed(["invoke", "context", *form.format(old).split()])


def test_a_renamed_flag_is_one_line_and_exit_code_2() -> None:
    ended = invoked_apart("context", "--most", "4096", env=dict(os.environ))
    assert ended.returncode == 2
    assert ended.stderr == "llamatrix: --most: renamed; write --max-context\n"
