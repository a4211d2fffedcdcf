"""The program `llamatrix`: Invoke's, from any folder, with nearest names and values."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.shipped import ROOT

from llamatrix import __version__
from llamatrix.commands.registry import COMMANDS, GROUPS


def llamatrix(
    *arguments: str, folder: Path = ROOT / "docs" / "howto"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "llamatrix.commands.program", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")},
        capture_output=True,
        text=True,
        check=False,
    )


def completed(line: str) -> list[str]:
    ended = llamatrix("--complete", "--", "llamatrix", *line.split(" "))
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.split()


def test_version_is_the_packages() -> None:
    assert llamatrix("--version").stdout == f"llamatrix {__version__}\n"


def test_command_runs_in_a_subfolder_of_a_checkout() -> None:
    ended = llamatrix("plan", "-p", "smoke")
    assert ended.returncode == 0, ended.stderr
    assert "speed/qwen35-27b.tiny/current/cpu" in ended.stdout


def test_folder_of_another_project_leaves_its_tasks_and_matrix_alone(
    tmp_path: Path,
) -> None:
    (tmp_path / "tasks.py").write_text("raise SystemExit('the other project')\n")
    (tmp_path / "matrix.toml").write_text("of = 'another project'\n")
    (tmp_path / "scripts").mkdir()
    ended = llamatrix("plan", "-p", "smoke", folder=tmp_path / "scripts")
    assert ended.returncode == 0, ended.stderr
    assert "speed/qwen35-27b.tiny/current/cpu" in ended.stdout


def test_checkout_around_the_folder_runs_its_own_code(tmp_path: Path) -> None:
    commands = tmp_path / "scripts" / "llamatrix" / "commands"
    commands.mkdir(parents=True)
    for package in (commands.parent, commands):
        (package / "__init__.py").touch()
    (commands / "program.py").write_text("import sys; print('own', sys.argv[1:])\n")
    (tmp_path / "tasks.py").touch()
    ended = llamatrix("plan", "-p", "smoke", folder=commands)
    assert ended.stdout == "own ['plan', '-p', 'smoke']\n"


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("bensh", "unknown command 'bensh'; did you mean 'bench'?"),
        (
            "bench --profil x",
            "bench: unknown flag '--profil'; did you mean '--profile'?",
        ),
        ("doctor -p", "doctor: unknown flag '-p'"),
        ("plan -r", "-r: short flags are chosen by hand now; write --retry"),
    ],
)
def test_unknown_word_is_one_line_with_the_nearest_and_exit_code_2(
    written: str, hint: str
) -> None:
    ended = llamatrix(*written.split())
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"llamatrix: {hint}")
    assert ended.stderr.count("\n") == 1


def test_list_has_every_command_under_one_heading() -> None:
    lines = llamatrix("--list").stdout.splitlines()
    assert [
        line[:-1] for line in lines if line.endswith(":") and line[0] != " "
    ] == list(GROUPS)
    named = [line.split()[0] for line in lines if line[:2] == "  " and line[2] != " "]
    assert sorted(named) == sorted(COMMANDS)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("plan --profile", "smoke"),
        ("plan -p smo", "smoke"),
        ("bench --pin = cur", "current"),
        ("serve -m", "qwen35-27b"),
        ("plan -p smoke -c", "speed/qwen35-27b.tiny/current/cpu"),
        ("compare --against", "blog-2026-04-05"),
    ],
)
def test_values_of_a_flag_are_completed(line: str, expected: str) -> None:
    values = completed(line)
    assert expected in values
    assert "bench" not in values


def test_commands_and_flags_are_completed_as_invoke_does() -> None:
    assert sorted(completed("pl")) == sorted(COMMANDS)
    assert "--profile" in completed("plan --")
