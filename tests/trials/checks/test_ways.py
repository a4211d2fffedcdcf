"""How a script is run, by its own usage message and by what the work's documents say."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from tests.trials.checks.made import source

from llamatrix.trials.checks.packages import (
    commands_with_arguments,
    documented_commands,
    script_commands,
)

Written = Callable[[Mapping[str, str]], Path]
VALUES = {"url|address": "https://x/1", "id|number": "1", "out|folder": "images"}


@pytest.mark.parametrize(
    ("output", "arguments"),
    [
        ("usage: a.py [-h] url\na.py: error: the following arguments are required: url", ["https://x/1"]),
        ("usage: a.py [-h] --output-dir DIR\nerror: the following arguments are required: --output-dir", ["--output-dir", "images"]),
        ("usage: a.py [-h] [--n N] url post_id\nerror: the following arguments are required: url, post_id", ["https://x/1", "1"]),
        ("Usage: a.py POST_ID", ["1"]),
        ("usage: python a.py <url>", ["https://x/1"]),
        ("usage: a.py [-h] {get,list} ...\nerror: the following arguments are required: command", ["get"]),
    ],
)  # fmt: skip
def test_what_a_usage_message_asks_for_is_given(
    output: str, arguments: list[str]
) -> None:
    assert list(commands_with_arguments(("a.py",), output, VALUES)) == [
        ("a.py", *arguments)
    ]


def test_without_a_usage_message_there_is_no_way() -> None:
    assert list(commands_with_arguments(("a.py",), "Traceback: boom", VALUES)) == []


def test_commands_in_documents_are_ways(written: Written) -> None:
    folder = written({"README.md": "Run:\n\n    uv run a.py --post 1\n", "a.py": ""})
    assert list(documented_commands(folder, [source("", "a.py")])) == [
        ("a.py", "--post", "1")
    ]


def test_a_script_without_a_suffix_is_run_as_a_script() -> None:
    ways = list(
        script_commands([source("", "fetch"), source("", "b.py")], ["c"], ("x",))
    )
    assert ways[:3] == [("c",), ("--script", "fetch"), ("b.py",)]
    assert ("--with", "x", "python", "b.py") in ways
