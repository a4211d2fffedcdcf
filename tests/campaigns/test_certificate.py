"""`invoke certificate`: written, verified, refused."""

import shutil
from pathlib import Path

import pytest
from tests.campaigns.conftest import RunInvoke
from tests.report.made_sweep import BLOG, HOST, stored, sweep

from llamatrix.project import Project

NAME = f"blog-2026-04-05-{HOST}"


@pytest.fixture
def certified(project: Project, run_invoke: RunInvoke) -> Path:
    shutil.copytree(BLOG.parent, project.reports / "published")
    stored(project.reports, sweep(0.97))
    ended = run_invoke(
        *("certificate", "--against", "blog-2026-04-05"),
        *("--profile", "published", "--host", HOST),
    )
    assert ended.returncode == 0, ended.stderr
    assert f"{NAME}: 26 reproduced, 0 differs, 165 not comparable" in ended.stdout
    return project.reports / "certificates" / f"{NAME}.json"


def test_it_is_written_with_a_page_and_proven(
    certified: Path, run_invoke: RunInvoke
) -> None:
    assert certified.with_suffix(".md").read_text().startswith("# Certificate: ")
    ended = run_invoke("certificate", "--verify", str(certified))
    assert ended.returncode == 0, ended.stderr
    assert "proven by 32 records: 26 reproduced" in ended.stdout


def test_a_tampered_record_is_exit_code_1_and_named_with_its_claim(
    certified: Path, project: Project, run_invoke: RunInvoke
) -> None:
    path = next(project.records.glob("*/speed/qwen35-27b/**/*.jsonl"))
    path.write_bytes(path.read_bytes().replace(b"{", b"[", 1))
    ended = run_invoke("certificate", "--verify", str(certified))
    assert ended.returncode == 1
    assert "prefill/qwen35-27b/512" in ended.stderr
    assert f"{path.relative_to(project.reports)}:1, pp512" in ended.stderr


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"set": "blog', b'"set": "blox'),
        (b'{\n  "schema', b'[\n  "schema'),
        (b'"ratio": 0.9', b'"ratio": 0.8'),
    ],
)
def test_a_tampered_certificate_is_exit_code_1(
    old: bytes, new: bytes, certified: Path, run_invoke: RunInvoke
) -> None:
    content = certified.read_bytes()
    assert old in content
    certified.write_bytes(content.replace(old, new, 1))
    ended = run_invoke("certificate", "--verify", str(certified))
    assert ended.returncode == 1
    assert "not proven" in ended.stderr


@pytest.mark.usefixtures("project")
def test_a_missing_file_and_an_empty_store_are_exit_code_7(
    run_invoke: RunInvoke,
) -> None:
    assert run_invoke("certificate", "--verify", "nowhere.json").returncode == 7
    ended = run_invoke("certificate", "--against", str(BLOG))
    assert ended.returncode == 7
    assert "no records yet" in ended.stderr
