"""`invoke context`, as a user runs it: the answer, its record, its page, its bad days."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.commands.conftest import record_lines
from tests.commands.context.conftest import SMOKE, Run
from tests.invoking import invoked_apart
from tests.shipped import FAKES, ROOT
from tests.waiting import gone_within, wait_until

from llamatrix.project import Project


def test_search_returns_an_answer_and_records_its_curve(
    served: Project, search: Run
) -> None:
    ended = search(*SMOKE, slow_ms=1)
    assert ended.returncode == 0, ended.stderr
    assert "start 1 of at most 4: 4096 tokens" in ended.stderr
    assert "| Model" in ended.stdout
    assert "VRAM Usage" in ended.stdout
    assert "generation speed, between 3,072 and 4,096" in ended.stdout
    assert "n/a (synthetic weights)" in ended.stdout
    assert (served.reports / "context.md").read_text() == ended.stdout
    (line,) = record_lines(served)
    (file,) = served.records.glob("*/context/gemma4-31b.tiny/current/cpu.jsonl")
    assert file.read_text() == line + "\n"
    record = json.loads(line)
    assert record["found"]["stop"] == "speed"
    assert record["server"]["parallel"] == 1
    for word in (str(served.root), str(served.cache), os.environ["HOME"] + "/"):
        assert word not in line


def test_recorded_search_is_not_repeated(served: Project, search: Run) -> None:
    first = search(*SMOKE)
    again = search(*SMOKE)
    assert "reused from records" in again.stderr
    assert again.stdout == first.stdout
    assert len(record_lines(served)) == 1
    other = search(*SMOKE, "--min-speed-ratio", "0.5")
    assert "reused" not in other.stderr
    search(*SMOKE, "--again")
    assert len(record_lines(served)) == 3


def test_a_cluster_searches_each_class_once_and_again_when_asked(
    served: Project,
    environment: dict[str, str],
    wishes_of: Callable[..., dict[str, str]],
) -> None:
    env = {**environment, **wishes_of()}
    for flags, tally in (
        ((), "records: 1 made, 0 reused"),
        ((), "records: 0 made, 1 reused"),
        (("--again",), "records: 1 made, 0 reused"),
    ):
        ended = invoked_apart(*SMOKE, "--cluster", "local", *flags, env=env)
        assert ended.returncode == 0, ended.stderr
        assert tally in ended.stderr
        assert ended.stderr.count("profile smoke") == 1
        assert ended.stdout.count("### ") == 2
    assert len(record_lines(served)) == 2


@pytest.mark.usefixtures("served")
def test_context_json_is_one_document_with_the_answer(search: Run) -> None:
    ended = search(*SMOKE, "--json", dies_at=3000)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["largest_context_tokens"] == 2048
    assert told["limit"] == "death"
    assert told["beyond_tokens"] == 3072
    (attempt,) = told["record"]["found"]["attempts"]
    assert attempt["failure"]["type"] == "crashed"


def test_table_rewrites_the_page_of_contexts(served: Project, search: Run) -> None:
    search(*SMOKE)
    page = served.reports / "context.md"
    before = page.read_text()
    page.unlink()
    ended = search("table", "--full")
    assert ended.returncode == 0, ended.stderr
    assert page.read_text() == before == ended.stdout


def test_context_that_fits_nowhere_is_recorded_as_failed(
    served: Project, search: Run
) -> None:
    ended = search(*SMOKE, load_most=1)
    assert ended.returncode == 5
    assert "no context was filled" in ended.stderr
    assert "out of memory (loading)" in ended.stderr
    assert "given up after 3 starts" in ended.stderr
    assert len(record_lines(served)) == 1


def test_ctrl_c_keeps_measured_contexts(
    served: Project,
    environment: dict[str, str],
    wishes_of: Callable[..., dict[str, str]],
    tmp_path: Path,
    search: Run,
) -> None:
    harness = subprocess.Popen(
        [sys.executable, "-m", "invoke", *SMOKE],
        cwd=ROOT,
        env={**environment, **wishes_of(hangs_at=1500)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    asked = tmp_path / "asked"
    wait_until(lambda: asked.exists() and asked.read_text())
    os.kill(harness.pid, signal.SIGINT)
    _, said = harness.communicate(timeout=60)
    assert harness.returncode == 130, said
    assert "interrupted; finished records are kept" in said
    assert gone_within(int(asked.read_text()), 10)
    (line,) = record_lines(served)
    found = json.loads(line)["found"]
    assert found["stop"] == "interrupted"
    assert [rung["tokens"] for rung in found["rungs"]] == [512, 768, 1024]
    rerun = search(*SMOKE)
    assert "reused" not in rerun.stderr
    assert len(record_lines(served)) == 2


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (("--min-speed-ratio", "80"), "write a share, for example 0.8"),
        (("--min-speed-ratio", "most"), "write a share, for example 0.8"),
        (("--max-context", "100"), "write 1024 or more tokens"),
        (("--vram", "24 gigs"), "write for example 24GiB"),
        (("--budget", "long"), "write for example 90s"),
        (("--model", "gemma4-31"), "did you mean 'gemma4-31b'"),
        (("--pin", "curent"), "did you mean 'current'"),
    ],
)
def test_a_wrong_flag_is_exit_code_2(
    search: Run, flags: tuple[str, str], word: str
) -> None:
    ended = search("context", "--profile", "smoke", *flags)
    assert ended.returncode == 2
    assert word in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.usefixtures("served")
def test_a_machine_without_nvidias_library_searches_on_its_cpu(
    search: Run, tmp_path: Path
) -> None:
    (tmp_path / "pynvml.py").write_text("raise ImportError\n")
    ended = search(*SMOKE, variables={"PYTHONPATH": str(tmp_path)})
    assert ended.returncode == 0, ended.stderr
    assert "MiB RAM" in ended.stdout


@pytest.mark.usefixtures("served")
def test_too_little_memory_is_reported_before_anything_starts(search: Run) -> None:
    ended = search(*SMOKE, "--vram", "2MiB")
    assert ended.returncode == 5
    assert "by prediction at 1024 tokens" in ended.stderr
    assert "cut to 2 MiB has 2 MiB to use" in ended.stderr


CARD: dict[str, object] = {
    "name": "NVIDIA GeForce RTX 4090",
    "memory": 24 * 2**30,
    "used": 400 * 2**20,
    "capability": [8, 9],
    "processes": [],
}


@pytest.mark.parametrize(
    ("cards", "words"),
    [
        ([], ("shows no card, and this build needs one",)),
        (
            [{**CARD, "memory": 16 * 2**30}],
            ("needs 16.9 GiB by prediction", "(16 GiB) has 15.6 GiB to use"),
        ),
        (
            [{**CARD, "used": 12 * 2**30, "processes": [[1, 11 * 2**30]]}],
            ("has 12 GiB to use", "others hold 11 GiB"),
        ),
    ],
    ids=["no card", "too small", "another process"],
)
def test_a_card_that_cannot_hold_it_is_reported_before_anything_is_built(
    project: Project,
    search: Run,
    cards: list[dict[str, object]],
    words: tuple[str, ...],
) -> None:
    variables = {"PYTHONPATH": str(FAKES), "FAKE_NVML": json.dumps(cards)}
    ended = search("context", "--profile", "gpu-proof", variables=variables)
    assert ended.returncode == 5
    for word in words:
        assert word in ended.stderr
    assert not (project.cache / "builds").exists()
    assert not (project.cache / "weights").exists()
