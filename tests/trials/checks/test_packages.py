"""Where a package may be declared, and what needs no declaration."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from tests.trials.checks.made import source

from llamatrix.trials.checks.packages import (
    commands_with_arguments,
    declared,
    documented_commands,
    entry_points,
    in_requirements,
    named_with,
    script_commands,
    third_party,
)

Written = Callable[[Mapping[str, str]], Path]


def test_third_party_leaves_out_stdlib_and_local_modules() -> None:
    sources = [
        source("import os, httpx\nfrom google import genai\nfrom lib import x\n"),
        source("import script\nfrom . import y\nimport PIL.Image", "lib.py"),
    ]
    known = {"google": "google-genai", "PIL": "Pillow"}
    assert third_party(sources, known) == ("google-genai", "httpx", "pillow")


@pytest.mark.parametrize(
    "files",
    [
        {"pyproject.toml": "[project]\ndependencies = ['My_Package[extra]>=1']"},
        {"pyproject.toml": "[dependency-groups]\ndev = ['my-package']"},
        {"pyproject.toml": "[project.optional-dependencies]\ntest = ['my-package~=1']"},
        {"a.py": "# /// script\n# dependencies = [\n#   'my-package',\n# ]\n# ///\n"},
        {"requirements-dev.txt": "my.package==1.0  # pinned\n"},
        {"README.md": "run it with `uv run --with my-package a.py`"},
        {"run.sh": "uv run --with 'my-package>=1' --with other a.py"},
    ],
)
def test_package_is_declared_in_every_file_that_uv_reads(
    written: Written, files: Mapping[str, str]
) -> None:
    assert "my-package" in declared(written(files))


def test_command_of_the_trajectory_declares_packages(written: Written) -> None:
    commands = ["uv add my-package other", "uv run --with=third,fourth pytest"]
    folder = written({"a.py": ""})
    assert declared(folder, commands) == {"my-package", "other", "third", "fourth"}


@pytest.mark.parametrize(
    ("command", "packages"),
    [
        ("uv add httpx 2>&1 | tail -5", {"httpx"}),
        ("uv add httpx 2>/dev/null", {"httpx"}),
        ("uv add httpx >log.txt; ls", {"httpx"}),
        ("(cd app && uv add httpx)", {"httpx"}),
        ("uv add httpx  # for the script", {"httpx"}),
        ("uv add --script fetch_post.py httpx", {"httpx"}),
        ("uv add httpx --script fetch_post.py", {"httpx"}),
        ("uv add --group dev pytest", {"pytest"}),
        ("uv add --python 3.12 --index-url https://x/simple httpx", {"httpx"}),
        ("uv add -r requirements.txt --dev pytest", {"pytest"}),
        ("uv add 'httpx>=0.27,<1' \"pytest >= 8\"", {"httpx", "pytest"}),
        ("uv add httpx>=0.27 pytest", {"httpx", "pytest"}),
        ("uv add 'httpx[http2,socks]' pytest", {"httpx", "pytest"}),
        ("uv add 'httpx @ git+https://x/httpx' ./here pytest", {"httpx", "pytest"}),
        ("uv add \\\n  httpx \\\n  pytest\nuv run a.py", {"httpx", "pytest"}),
        ("uv run --with 'httpx[http2,socks],pytest' a.py", {"httpx", "pytest"}),
        ("uv run --with 'httpx>=0.27,<1' a.py", {"httpx"}),
        ("uv add <package>", set()),
        ("uv add $PACKAGES", set()),
    ],
)
def test_only_packages_of_a_command_are_named(
    tmp_path: Path, command: str, packages: set[str]
) -> None:
    assert named_with(tmp_path, [command]) == packages


@pytest.mark.parametrize(
    ("text", "packages"),
    [
        ("Run `uv add httpx pytest` to install the dependencies.", {"httpx", "pytest"}),
        ("Run uv add httpx to install it, then the script.", {"httpx"}),
        ("Use --with to add packages, or uv add for a project.", set()),
        ("It was set up with uv add.", set()),
    ],
)
def test_sentence_around_a_command_names_no_packages(
    written: Written, text: str, packages: set[str]
) -> None:
    assert named_with(written({"README.md": text}), []) == packages


def test_only_whole_requirements_are_read(written: Written) -> None:
    lines = [
        "--index-url https://x/simple",
        "https://x/some.whl",
        "git+https://x/some",
        "My.Package[a,b]>=1,!=1.5 ; python_version > '3.8'  # why",
        "pinned==1.0 \\",
        "    --hash=sha256:00",
        "and some words",
    ]
    folder = written({"requirements.txt": "\n".join(lines)})
    assert in_requirements(folder) == {"my-package", "pinned"}


def test_prose_and_invalid_files_declare_nothing(written: Written) -> None:
    files = {
        "pyproject.toml": "[project\ndependencies = ['my-package']",
        "README.md": "This uses my-package.",
        "a.py": "# dependencies = ['my-package']\nimport my_package",
        "b.py": f"# /// script\n# x = {'1' * 5000}\n# dependencies = ['my-package']\n# ///",
    }
    assert declared(written(files)) == frozenset()


def test_entry_points_are_read_from_the_project(written: Written) -> None:
    assert entry_points(written({})) == ()
    for text in ("[project", "project = 1", f"x = {'1' * 5000}"):
        assert entry_points(written({"pyproject.toml": text})) == ()
    text = "[project.scripts]\nfetch = 'post.run:main'"
    assert entry_points(written({"pyproject.toml": text})) == ("fetch",)


def test_very_large_file_declares_nothing(
    written: Written,
) -> None:
    text = "uv run --with my-package a.py\n" + "x" * (1 << 20)
    assert declared(written({"README.md": text})) == frozenset()


def test_script_blocks_are_read_in_linear_time(tmp_path: Path) -> None:
    """A pattern over the whole text takes hours for these."""
    (tmp_path / "begun.py").write_text("# /// script\n" * 75_000)
    (tmp_path / "blank.py").write_text("# /// script" + "\n" * 1_000_000)
    (tmp_path / "spaces.sh").write_text("uv " + " " * 1_000_000)
    (tmp_path / "commas.sh").write_text("uv run --with 1" + ",a" * 100_000)
    (tmp_path / "adds.sh").write_text("uv add = " * 110_000)
    (tmp_path / "names.txt").write_text("uv add " + "a-" * 500_000)
    assert declared(tmp_path) == frozenset()


VALUES = {"url|address": "https://x/1", "id|number": "1", "out|folder": "images"}


@pytest.mark.parametrize(
    ("output", "arguments"),
    [
        ("usage: a.py [-h] url\na.py: error: the following arguments are required: url", ["https://x/1"]),
        ("usage: a.py [-h] --output-dir DIR\nerror: the following arguments are required: --output-dir", ["--output-dir", "images"]),
        ("usage: a.py [-h] [--n N] url post_id\nerror: the following arguments are required: url, post_id", ["https://x/1", "1"]),
        ("Usage: a.py POST_ID", ["1"]),
        ("usage: python a.py <url>", ["https://x/1"]),
        ("Usage: python a.py post_id out/", ["1", "images"]),
        ("Usage: python a.py / url", ["https://x/1"]),
        ("usage: a.py [-h] {get,list} ...\nerror: the following arguments are required: command", ["get"]),
    ],
)  # fmt: skip
def test_arguments_of_a_usage_message_are_given(
    output: str, arguments: list[str]
) -> None:
    assert list(commands_with_arguments(("a.py",), output, VALUES)) == [
        ("a.py", *arguments)
    ]


def test_without_usage_message_no_command_is_derived() -> None:
    assert list(commands_with_arguments(("a.py",), "Traceback: boom", VALUES)) == []


def test_documented_commands_are_found(written: Written) -> None:
    folder = written({"README.md": "Run:\n\n    uv run a.py --post 1\n", "a.py": ""})
    assert list(documented_commands(folder, [source("", "a.py")])) == [
        ("a.py", "--post", "1")
    ]


@pytest.mark.parametrize(
    "text",
    ["uv run a.py --post 1 2>&1 | tee log", "uv run a.py --post 1 > log  # prints it"],
)
def test_documented_command_ends_at_a_redirection(written: Written, text: str) -> None:
    folder = written({"README.md": f"{text}\n"})
    assert list(documented_commands(folder, [source("", "a.py")])) == [
        ("a.py", "--post", "1")
    ]


def test_a_script_without_a_suffix_is_run_as_a_script() -> None:
    ways = list(
        script_commands([source("", "fetch"), source("", "b.py")], ["c"], ("x",))
    )
    assert ways[:3] == [("c",), ("--script", "fetch"), ("b.py",)]
    assert ("--with", "x", "python", "b.py") in ways
