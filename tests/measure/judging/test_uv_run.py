"""Running an agent's programs: which way counts, and what was asked meanwhile."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace

from llamatrix.measure.judging.ground import Ground
from llamatrix.measure.judging.task import Task
from llamatrix.measure.judging.uv_run import CannotJudgeError, Uv, asked

Written = Callable[[Mapping[str, str]], Path]
ASKS = (
    "import httpx\n\ndef test_a():\n"
    "    httpx.get('https://jsonplaceholder.typicode.com/posts/1')\n"
)


def made_uv(tmp_path: Path, script: str) -> Path:
    """A `uv` of one's own in a folder of its own."""
    folder = tmp_path / "own-uv"
    folder.mkdir()
    (folder / "uv").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "uv").chmod(0o755)
    return folder


def test_tests_are_counted_and_so_is_what_they_asked(
    written: Written, ground: Ground, task: Task
) -> None:
    uv = Uv(workspace=written({"test_a.py": ASKS}), ground=ground, timeout_s=60)
    tests = uv.tests(("test_a.py",), ())
    assert (tests.passed, tests.failed, tests.skipped, tests.good) == (1, 0, 0, True)
    assert tests.ran.words[:3] == ("uv", "run", "pytest")
    assert len(asked(tests.ran.requests, task.service)) == 1


def test_a_lost_sandbox_is_not_the_works_fault(
    written: Written, ground: Ground, tmp_path: Path
) -> None:
    note = tmp_path / "enclosure.lost"
    loses = made_uv(tmp_path, f"echo 'the sandbox did not open' > {note}; exit 125")
    lost = replace(
        ground,
        environment={**ground.environment, "PATH": f"{loses}:/usr/bin:/bin"},
        lost=str(note),
    )
    uv = Uv(workspace=written({"main.py": ""}), ground=lost, timeout_s=60)
    with pytest.raises(CannotJudgeError, match="the sandbox did not open"):
        uv.run("main.py")
    (loses / "uv").write_text("#!/bin/sh\nexit 125\n")
    assert uv.run("main.py").ended.returncode == 125


def test_requests_of_others_and_refused_ones_do_not_count(
    written: Written, ground: Ground, task: Task
) -> None:
    text = ASKS.replace("/posts/1", "/posts/2") + ASKS.replace("/1'", "/0'")
    uv = Uv(workspace=written({"test_a.py": text}), ground=ground, timeout_s=60)
    ran = uv.tests(("test_a.py",), ()).ran
    assert asked(ran.requests, task.service) == ()


def test_tests_in_a_folder_find_the_script_above_it(
    written: Written, ground: Ground
) -> None:
    files = {
        "script.py": "ONE = 1",
        "tests/test_a.py": "import script\n\ndef test_a():\n    assert script.ONE",
    }
    uv = Uv(workspace=written(files), ground=ground, timeout_s=60)
    tests = uv.tests(("tests/test_a.py",), ())
    assert tests.good
    assert tests.ran.words[2:5] == ("python", "-m", "pytest")


@pytest.mark.slow
def test_packages_are_put_beside_only_where_it_does_not_work_without(
    written: Written, ground: Ground
) -> None:
    uv = Uv(
        workspace=written({"test_a.py": "def test_a():\n    assert 0"}),
        ground=ground,
        timeout_s=60,
    )
    tests = uv.tests(("test_a.py",), ("httpx", "pytest"))
    assert (tests.passed, tests.failed, tests.good) == (0, 1, False)
    assert tests.ran.words[2:6] == ("--with", "httpx", "--with", "pytest")
    assert "ended with exit code 1" in tests.ran.trouble


def test_a_program_that_does_not_end_is_ended(written: Written, ground: Ground) -> None:
    files = {"a.py": "import time\ntime.sleep(600)"}
    uv = Uv(workspace=written(files), ground=ground, timeout_s=0.5)
    assert "did not end within" in uv.run("a.py").trouble


def test_a_sandbox_stands_before_the_command_with_the_folder_filled_in(
    written: Written, ground: Ground
) -> None:
    prefix = ("env", "--chdir", "{workspace}", "WHERE={workspace}")
    folder = written({"a.py": "import os\nprint(os.environ['WHERE'])"})
    uv = Uv(workspace=folder, ground=replace(ground, prefix=prefix), timeout_s=60)
    assert uv.run("a.py").out == str(folder)


def test_an_index_out_of_reach_is_not_held_against_the_agent(
    written: Written, ground: Ground, tmp_path: Path
) -> None:
    path = made_uv(
        tmp_path, "echo 'cause: error sending request for url (x)' >&2; exit 1"
    )
    environment = {**ground.environment, "PATH": f"{path}:/usr/bin:/bin"}
    uv = Uv(
        workspace=written({"a.py": ""}),
        ground=replace(ground, environment=environment),
        timeout_s=60,
    )
    with pytest.raises(CannotJudgeError, match="cannot reach its package index"):
        uv.run("a.py")


def test_the_agents_own_network_error_is(written: Written, ground: Ground) -> None:
    files = {"a.py": "raise OSError('dns error')"}
    uv = Uv(workspace=written(files), ground=ground, timeout_s=60)
    assert uv.run("a.py").ended.returncode == 1
