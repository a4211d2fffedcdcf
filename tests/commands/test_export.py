"""`invoke export`: read by the programs that it is made for."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from tests.commands.conftest import RunInvoke
from tests.engines.llama_cpp.real import source_tree
from tests.shipped import ROOT

from llamatrix.project import Project

EXAMPLES = ROOT / "reports" / "examples"


class Entry(msgspec.Struct, forbid_unknown_fields=True):
    """`BenchmarkResult` of the action's `src/extract.ts`."""

    name: str
    unit: str
    value: float
    range: str = ""
    extra: str = ""


@pytest.mark.usefixtures("project")
def test_action_reads_steady_speeds_under_stable_names(run_invoke: RunInvoke) -> None:
    ended = run_invoke(
        *("export", "--format", "github-action-benchmark"),
        *("--records", str(EXAMPLES / "h200"), "--cells", "*qwen35-27b*"),
    )
    assert ended.returncode == 0, ended.stderr
    entries = msgspec.json.decode(ended.stdout, type=list[Entry])
    by_name = {entry.name: entry for entry in entries}
    assert len(by_name) == len(entries)
    entry = by_name["speed/qwen35-27b.full/current/cuda-here short tg128"]
    assert entry.unit == "tokens/s"
    assert f"| Qwen3.5-27B     |    2,553 |    2,517 |   {entry.value:.2f} |" in (
        (ROOT / "README.md").read_text()
    )
    assert entry.range.startswith("± ")
    assert "0c1e57098" in entry.extra


def test_unknown_format_and_missing_records_are_errors(
    project: Project, run_invoke: RunInvoke
) -> None:
    ended = run_invoke("export", "--format", "csv")
    assert (ended.returncode, "expected one of" in ended.stderr) == (2, True)
    ended = run_invoke("export", "--format", "llama-bench-sql")
    assert ended.returncode == 7
    assert f"{project.records}: no speeds" in ended.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("project")
def test_upstream_script_compares_two_pins_of_an_export(
    run_invoke: RunInvoke, user_cache: Path, tmp_path: Path
) -> None:
    ended = run_invoke(
        *("export", "--format", "llama-bench-sql", "--out", str(tmp_path / "sql")),
        *("--records", str(EXAMPLES / "h100-x4"), "--profile", "synthetic"),
    )
    assert ended.returncode == 0, ended.stderr
    with sqlite3.connect(tmp_path / "llama-bench.sqlite") as database:
        database.executescript((tmp_path / "sql").read_text())
    script = source_tree("current", user_cache) / "scripts/compare-llama-bench.py"
    compared = subprocess.run(
        [sys.executable, script, "-b", "f49e91787", "-c", "0c1e57098"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert compared.returncode == 0, compared.stderr
    header, _, *rows = compared.stdout.splitlines()
    assert "t/s f49e91787" in header
    (row,) = [one for one in rows if "Gemma4-26B" in one and "pp512 " in one]
    assert [cell.strip() for cell in row.split("|")[-4:-1]] == [
        *("7109.49", "7299.78", "1.03"),
    ]
