"""What is read of finished work, and that no work can hurt its reader."""

from pathlib import Path

import pytest
from tests.trials.checks.made import bash, write

from llamatrix.project import find_project
from llamatrix.provision.programs import bwrap_here
from llamatrix.proxy import chat_completions
from llamatrix.sandbox.spec import probe
from llamatrix.trials.trial_analysis import Analysis, analyse


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.slow)])
def bwrap(request: pytest.FixtureRequest) -> Path | None:
    if not request.param:
        return None
    found = bwrap_here(find_project().cache)
    if found is None or probe(found):
        pytest.skip("no bubblewrap, or no user namespaces, on this machine")
    return found


def analysed(folder: Path, bwrap: Path | None, lines: list[str]) -> Analysis:
    trajectory = folder.parent / "trajectory.jsonl"
    trajectory.write_text("\n".join(lines))
    return analyse(
        trajectory,
        workspace=folder,
        calls=None,
        wire_api=chat_completions,
        count_tokens=len,
        bwrap=bwrap,
    )


def test_analysis_has_order_and_quality(tmp_path: Path, bwrap: Path | None) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "a.py").write_text("import os\n\ndef f():\n    return 1\n")
    test = write("test_a.py", "from a import f\n\ndef test_f():\n    assert f()\n")
    red = bash("uv run pytest", "1 failed in 0.1s", 1)
    found = analysed(work, bwrap, [test, red])
    assert found.unread == ()
    assert found.tdd
    assert found.tdd.test_first
    assert found.quality
    assert found.quality.functions == 1
    assert [flaw.rule for flaw in found.quality.flaws] == ["F401"]


def test_harmful_work_is_reported_as_unread(tmp_path: Path, bwrap: Path | None) -> None:
    """Python's own parser overflows, and takes gigabytes where it does not."""
    work = tmp_path / "work"
    work.mkdir()
    text = "x = " + "-" * 300_000 + "1\n"
    (work / "unary.py").write_text(text)
    found = analysed(work, bwrap, [write("b.py", text)])
    assert found.tdd is not None  # read within bounds of its own
    (unread,) = found.unread
    assert unread.startswith("code quality: the parser ended")
