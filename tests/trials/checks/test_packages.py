"""Where a package may be declared, and what needs no declaration."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from tests.trials.checks.made import source

from llamatrix.trials.checks.packages import declared, entry_points, third_party

Written = Callable[[Mapping[str, str]], Path]


def test_only_other_peoples_packages_are_asked_for() -> None:
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
def test_a_package_is_declared_wherever_uv_reads_it(
    written: Written, files: Mapping[str, str]
) -> None:
    assert "my-package" in declared(written(files))


def test_a_command_of_the_trajectory_declares_too(written: Written) -> None:
    commands = ["uv add my-package other", "uv run --with=third,fourth pytest"]
    folder = written({"a.py": ""})
    assert declared(folder, commands) == {"my-package", "other", "third", "fourth"}


def test_prose_and_broken_files_declare_nothing(written: Written) -> None:
    files = {
        "pyproject.toml": "[project\ndependencies = ['my-package']",
        "README.md": "This uses my-package.",
        "a.py": "# dependencies = ['my-package']\nimport my_package",
    }
    assert declared(written(files)) == frozenset()


def test_a_project_names_its_own_programs(written: Written) -> None:
    assert entry_points(written({"pyproject.toml": "[project"})) == ()
    text = "[project.scripts]\nfetch = 'post.run:main'"
    assert entry_points(written({"pyproject.toml": text})) == ("fetch",)


def test_a_file_too_large_to_be_written_by_hand_declares_nothing(
    written: Written,
) -> None:
    text = "uv run --with my-package a.py\n" + "x" * (1 << 20)
    assert declared(written({"README.md": text})) == frozenset()


def test_script_blocks_are_read_in_linear_time(tmp_path: Path) -> None:
    """A pattern over the whole text takes hours for these."""
    (tmp_path / "begun.py").write_text("# /// script\n" * 75_000)
    (tmp_path / "blank.py").write_text("# /// script" + "\n" * 1_000_000)
    (tmp_path / "spaces.sh").write_text("uv " + " " * 1_000_000)
    assert declared(tmp_path) == frozenset()
