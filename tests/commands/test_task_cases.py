"""`invoke task-check --cases`: workspaces whose verdict is known, many at once."""

import json
import os
import shutil
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.invoking import invoked
from tests.shipped import ROOT

from llamatrix.commands.task_cases import JudgedCase, cases_table, read_cases
from llamatrix.errors import MeasureError
from llamatrix.project import find_project
from llamatrix.provision.programs import find_bwrap
from llamatrix.report.render.markdown import markdown
from llamatrix.sandbox.spec import probe
from llamatrix.trials.checks.finding import Verdict

CASES = ROOT / "tests" / "cases" / "judging"
_LARGE = {"B01-png-bomb", "C22-big-source-hides-mock"}
"""Cases with a file that the fixture makes."""
MOCKS = """\
from unittest.mock import patch

import fetch_post


def test_t():
    with patch("fetch_post.httpx.get") as get:
        get.return_value.json.return_value = {"title": "mine"}
        assert fetch_post.fetch_title() == "mine"
"""


def image_bomb() -> bytes:
    """A PNG of 3 MB that inflates to almost 3 GB."""
    side = 31_000
    deflate = zlib.compressobj(9)
    row = bytes(1 + 3 * side)
    pixels = b"".join(deflate.compress(row) for _ in range(side)) + deflate.flush()

    def chunk(name: bytes, body: bytes) -> bytes:
        check = zlib.crc32(name + body)
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b""))
    )


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sixth of the cases, with the two files that are too large to be kept here.

    All of them take eight minutes: `invoke task-check --cases tests/cases/judging`.
    """
    folder = tmp_path_factory.mktemp("cases") / "judging"
    for task in sorted(CASES.iterdir()):
        kept = {case.name for case in sorted(task.iterdir())[::6]} | _LARGE
        for case in task.iterdir():
            if case.name in kept:
                shutil.copytree(case, folder / task.name / case.name, symlinks=True)
    bomb = folder / "gemini-images" / "B01-png-bomb" / "images" / "1.png"
    bomb.write_bytes(image_bomb())
    hidden = folder / "httpx-post" / "C22-big-source-hides-mock"
    (hidden / "test_fetch_post.py").write_text(f"#{'x' * (1 << 20)}\n{MOCKS}")
    return folder


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("task", ["httpx-post", "gemini-images"])
def test_every_case_gets_the_right_verdict(cases: Path, task: str) -> None:
    bwrap = find_bwrap(find_project().cache)
    if probe(bwrap):
        pytest.skip("no user namespaces on this machine")
    jobs = str(os.cpu_count() or 1)
    flags = ("--cases", str(cases), "--task", task, "--jobs", jobs, "--json")
    ended = invoked("task-check", *flags, env=dict(os.environ))
    judged = json.loads(ended.stdout)
    assert [each for each in judged if not each["right"]] == []
    assert len(judged) == len(list((cases / task).iterdir()))
    assert ended.returncode == 0, ended.stderr


def made(folder: Path, names: Mapping[str, str]) -> Path:
    for name, text in names.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return folder


def test_first_letter_of_a_case_gives_the_expected_verdict(tmp_path: Path) -> None:
    names = [f"httpx-post/{letter}01/a.py" for letter in "BCLX"]
    folder = made(tmp_path, {**dict.fromkeys(names, ""), "httpx-post/README": ""})
    assert [each.expected for each in read_cases(folder)] == [
        *(Verdict.FAILED, Verdict.FAILED, Verdict.PASSED, Verdict.FAILED)
    ]
    with pytest.raises(MeasureError, match="a case is a folder TASK/NAME"):
        read_cases(folder, "gemini-images")


def test_a_wrong_verdict_is_marked_in_the_table(tmp_path: Path) -> None:
    folder = made(tmp_path, {"httpx-post/C01/a.py": "", "httpx-post/L01/a.py": ""})
    judged = [
        JudgedCase(case=case, verdict="passed", seconds=1.25, why="")
        for case in read_cases(folder)
    ]
    text = markdown(cases_table(judged))
    assert "1 of 2 cases" in text
    (wrong,) = (line for line in text.splitlines() if "WRONG" in line)
    assert "C01" in wrong


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--cases", "nowhere"), "--cases nowhere: no such folder"),
        (("--cases", ".", "--workspace", "."), "without --workspace"),
    ],
)
def test_contradictory_flags_are_one_line(
    flags: tuple[str, ...], complaint: str
) -> None:
    ended = invoked("task-check", *flags, env=dict(os.environ))
    assert ended.returncode == 5
    (line,) = (ended.stdout + ended.stderr).splitlines()
    assert complaint in line
