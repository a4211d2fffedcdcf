"""What people type and pipe: one line and an exit code each, never a traceback."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tests.commands.conftest import RunInvoke, record_lines
from tests.invoking import invoked_apart
from tests.shipped import ROOT

from llamatrix.project import Project

_INVOKE = f"{shlex.quote(sys.executable)} -m invoke"


def shell(
    script: str, env: dict[str, str], cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which `invoke` is a process of its own."""
    return subprocess.run(
        ["/bin/bash", "-c", script.replace("invoke", _INVOKE, 1)],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("plan --again abc", "--again 'abc': expected a whole number from 0 to 1000"),
        ("plan --again -1", "--again '-1': expected a whole number from 0 to 1000"),
        ("bench --again 1.5", "--again '1.5': expected a whole number from 0 to 1000"),
        (
            "agent --again 99999999999999999999",
            "--again '99999999999999999999': expected a whole number from 0 to 1000",
        ),
        (
            "serve --port 99999",
            "--port '99999': expected a whole number from 0 to 65535",
        ),
        ("serve --port -5", "--port '-5': expected a whole number from 0 to 65535"),
        ("bench-self --pairs 0", "--pairs '0': expected a whole number from 1 to 1000"),
        (
            "bench-self --long-run-s 0",
            "--long-run-s '0': expected a whole number from 1 to 86400",
        ),
        (
            "regress --max-background-load nan",
            "--max-background-load 'nan': expected a number from 0 to 100",
        ),
        (
            "regress --agent --trials 0",
            "--trials '0': expected a whole number from 1 to 1000",
        ),
        (
            "context --max-context -1",
            "--max-context '-1': expected a whole number from 0 to 2147483647",
        ),
        (
            "context --budget 99999999999999h",
            "--budget: '99999999999999h': write a duration of at most 8766h",
        ),
    ],
)
def test_a_number_out_of_its_range_is_one_line_and_exit_code_2(
    run_invoke: RunInvoke, words: str, complaint: str
) -> None:
    ended = run_invoke(*words.split())
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [f"llamatrix: {complaint}"]


def test_invokes_own_dry_flag_measures_nothing(
    stocked: Project, run_invoke: RunInvoke
) -> None:
    ended = run_invoke("--dry", "bench", "--profile", "smoke")
    assert ended.returncode == 0, ended.stderr
    assert "32 tests and 0 trials to make" in ended.stdout
    assert not stocked.reports.exists()
    assert record_lines(stocked) == []


@pytest.mark.parametrize("words", ["--dry lock", "--dry serve", "-T 10 bench"])
def test_a_flag_of_invoke_that_would_be_ignored_is_refused(
    project: Project, run_invoke: RunInvoke, words: str
) -> None:
    before = project.lock_file.read_text()
    ended = run_invoke(*words.split())
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert project.lock_file.read_text() == before


@pytest.mark.parametrize(
    "words",
    [
        *("bench --model", "bench --pin", "bench --weights-dir", "fit --model", "add"),
        *("breakdown --replay", "bisect --good a --bad b --repo"),
        "regress --baseline april --candidate current --weights-dir",
        "regress --baseline april --candidate current --replay",
    ],
)
@pytest.mark.usefixtures("project")
def test_home_folder_of_nobody_is_one_line_and_exit_code_2(
    run_invoke: RunInvoke, words: str
) -> None:
    ended = run_invoke(*words.split(), "~no-such-user/x")
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == (
        "llamatrix: '~no-such-user/x': no such home folder; write ~/ for your own, or "
        "the whole path"
    )


def test_closed_pipe_ends_the_command_silently(
    invoke_environment: dict[str, str],
) -> None:
    ended = shell(
        "invoke plan --profile smoke | head -1; echo ${PIPESTATUS[0]}",
        invoke_environment,
    )
    first, *_, code = ended.stdout.splitlines()
    assert first.startswith("### Plan")
    assert code in {"0", "141"}, "head may leave before or after the last line"
    assert "Error" not in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("words", ["--list", "--help bench"])
def test_closed_pipe_ends_help_silently(
    invoke_environment: dict[str, str], words: str
) -> None:
    ended = shell(f"invoke {words} | true", invoke_environment)
    assert ended.stderr == ""


def test_standard_output_on_a_full_disk_is_one_line(
    invoke_environment: dict[str, str],
) -> None:
    ended = shell("invoke plan --profile smoke > /dev/full", invoke_environment)
    assert ended.returncode == 3
    assert ended.stderr.splitlines()[-1].startswith(
        "llamatrix: No space left on device"
    )


def test_ascii_output_escapes_other_characters(
    invoke_environment: dict[str, str], project: Project
) -> None:
    text = project.matrix_file.read_text()
    project.matrix_file.write_text(text.replace('pins = ["april"]', 'pins = ["äpril"]'))
    ended = shell("invoke plan", invoke_environment | {"PYTHONIOENCODING": "ascii"})
    assert ended.returncode == 2
    assert "got '\\xe4pril'" in ended.stderr


@pytest.mark.parametrize("words", ["fit --vram 24GiB", "task-check"])
def test_no_temporary_folder_is_one_line_from_a_command_that_needs_one(
    invoke_environment: dict[str, str], words: str
) -> None:
    ended = shell(f"ulimit -f 0; invoke {words}", invoke_environment)
    assert ended.returncode == 3, ended.stderr
    assert ended.stderr.splitlines()[-1] == (
        "llamatrix: no temporary folder can be written to; free some space, or set TMPDIR"
    )
    assert "Traceback" not in ended.stderr


def test_no_temporary_folder_is_nothing_to_a_command_that_needs_none(
    invoke_environment: dict[str, str],
) -> None:
    ended = shell("ulimit -f 0; invoke plan --profile smoke", invoke_environment)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("### Plan")


@pytest.mark.parametrize("place", ["file", "file/below", "file/far/below"])
def test_a_cache_below_a_file_is_one_line(
    stocked: Project, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stocked.root / "file").write_text("")
    monkeypatch.setenv("LLAMATRIX_CACHE", str(stocked.root / place))
    for command in ("bench", "build", "doctor"):
        ended = invoked_apart(command, env=os.environ)
        assert ended.returncode == 3, ended.stderr
        assert ended.stderr.splitlines()[-1] == (
            f"llamatrix: LLAMATRIX_CACHE: {stocked.root / 'file'} is a file; name a "
            "folder, or a place where one can be made"
        )


@pytest.mark.parametrize(
    "words",
    [
        *("plan", "build", "weights", "bench", "agent", "all"),
        "regress --baseline april --candidate current",
        "regress --agent --baseline april --candidate current",
    ],
)
def test_cells_that_match_nothing_are_refused_by_every_command(
    words: str, project: Project, run_invoke: RunInvoke
) -> None:
    ended = run_invoke(*words.split(), "--profile", "smoke", "--cells", "speeds/qwen*")
    assert ended.returncode == 2
    *_, line = ended.stderr.splitlines()
    assert line.startswith("llamatrix: --cells 'speeds/qwen*' matches no cell")
    assert not project.reports.exists()
