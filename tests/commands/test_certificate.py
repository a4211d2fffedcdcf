"""`invoke certificate`: written, verified, refused."""

import io
import shutil
import tarfile
from pathlib import Path

import pytest
from tests.commands.conftest import RunInvoke
from tests.report.made_sweep import BLOG, HOST, stored, sweep
from tests.shipped import ROOT

from llamatrix.errors import ReportError
from llamatrix.project import Project
from llamatrix.provision.integrity import file_sha256, record_entry
from llamatrix.report.bundle import pack, unpack

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
    assert f"{NAME}: 30 reproduced, 0 differs, 0 too few trials" in ended.stdout
    return project.reports / "certificates" / f"{NAME}.json"


def test_certificate_is_written_with_a_page_and_proven(
    certified: Path, run_invoke: RunInvoke
) -> None:
    assert certified.with_suffix(".md").read_text().startswith("# Certificate: ")
    ended = run_invoke("certificate", "--verify", str(certified))
    assert ended.returncode == 0, ended.stderr
    assert "proven by 32 records: 30 reproduced" in ended.stdout


def test_a_damaged_cache_certifies_nothing(
    certified: Path, project: Project, run_invoke: RunInvoke
) -> None:
    certified.unlink()
    program = project.cache / "builds" / "one" / "llama-bench"
    program.parent.mkdir(parents=True)
    program.write_text("the program")
    record_entry(program.parent)
    before = file_sha256(program)
    program.write_text("uhe program")
    ended = run_invoke(
        *("certificate", "--against", "blog-2026-04-05"),
        *("--profile", "published", "--host", HOST),
    )
    assert ended.returncode == 3
    assert f"sha256 is {file_sha256(program)}, but {before}" in ended.stderr
    assert not certified.exists()


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


@pytest.mark.parametrize(
    ("example", "host"),
    [("h200", ()), ("cpu", ("--host", "amd-epyc-2-cores-f243b2"))],
)
def test_certificate_without_comparable_numbers_is_refused(
    example: str,
    host: tuple[str, ...],
    project: Project,
    run_invoke: RunInvoke,
    tmp_path: Path,
) -> None:
    shutil.copytree(BLOG.parent, project.reports / "published")
    folder = tmp_path / example
    shutil.copytree(ROOT / "reports" / "examples" / example, folder)
    ended = run_invoke(
        *("certificate", "--against", "blog-2026-04-05"),
        *("--records", str(folder)),
        *host,
    )
    assert ended.returncode == 7
    assert "nothing to certify, nothing is written" in ended.stderr
    assert "theirs rtx-4090" in ended.stderr
    assert not list(folder.rglob("certificates"))
    assert not list(project.reports.rglob("certificates"))


def test_records_of_another_folder_are_certified_there(
    project: Project, run_invoke: RunInvoke, tmp_path: Path
) -> None:
    shutil.copytree(BLOG.parent, project.reports / "published")
    folder = stored(tmp_path / "elsewhere", sweep(0.97))
    ended = run_invoke("certificate", "--against", str(BLOG), "--records", str(folder))
    assert ended.returncode == 0, ended.stderr
    (path,) = folder.rglob("*.json")
    proven = run_invoke("certificate", "--verify", str(path), "--records", str(folder))
    assert proven.returncode == 0, proven.stderr
    assert run_invoke("certificate", "--verify", str(path)).returncode == 1


@pytest.mark.usefixtures("project")
def test_a_missing_file_and_an_empty_store_are_exit_code_7(
    run_invoke: RunInvoke,
) -> None:
    assert run_invoke("certificate", "--verify", "nowhere.json").returncode == 7
    ended = run_invoke("certificate", "--against", str(BLOG))
    assert ended.returncode == 7
    assert "no records yet" in ended.stderr


@pytest.fixture
def bundle(certified: Path, run_invoke: RunInvoke, tmp_path: Path) -> Path:
    """A bundle; what it was made of is gone."""
    path = tmp_path / "bundle.tar"
    ended = run_invoke(
        *("certificate", "--profile", "published", "--host", HOST),
        *("--bundle", str(path)),
    )
    assert ended.returncode == 0, ended.stderr
    assert f"sha256 {file_sha256(path)}" in ended.stderr
    shutil.rmtree(certified.parents[1])
    return path


def test_bundle_is_verified_without_a_checkout(
    bundle: Path, run_invoke: RunInvoke
) -> None:
    ended = run_invoke("certificate", "--verify", str(bundle))
    assert ended.returncode == 0, ended.stderr
    assert "proven by 32 records: 30 reproduced" in ended.stdout
    files = unpack(bundle.read_bytes(), where="it")
    assert pack(files) == bundle.read_bytes()
    assert {"matrix.toml", "matrix.lock", f"reports/certificates/{NAME}.md"} <= set(
        files
    )


def test_any_changed_byte_of_a_bundle_is_found_and_its_file_named(bundle: Path) -> None:
    content = bundle.read_bytes()
    for position in range(0, len(content), len(content) // 200):
        changed = bytearray(content)
        changed[position] ^= 1
        with pytest.raises(ReportError, match=r"changed|not a readable archive"):
            unpack(bytes(changed), where="it")
    at = content.index(b'"samples_ts"')
    with pytest.raises(ReportError, match=r"reports/records/\S+\.jsonl: sha256 is"):
        unpack(content[:at] + b"X" + content[at + 1 :], where="it")


@pytest.mark.parametrize("target", ["matrix.lock", "matrix.toml"])
def test_link_in_a_bundle_is_not_followed(target: str) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        member = tarfile.TarInfo("matrix.toml")
        member.type, member.linkname = tarfile.SYMTYPE, target
        archive.addfile(member)
    with pytest.raises(ReportError, match="it: changed"):
        unpack(content.getvalue(), where="it")


@pytest.mark.parametrize(
    ("file", "old", "new", "reason"),
    [
        (f"reports/certificates/{NAME}.md", b"30 repro", b"31 repro", "not the page"),
        (f"reports/certificates/{NAME}.md", b"30 repro", b"\xff repro", "not the page"),
        ("matrix.lock", b"f49e9178767d", b"f49e9178767e", "pin april is f49e9178"),
        ("reports/records/", b'"repeat":1', b'"repeat":2', "is changed or gone"),
    ],
)
def test_a_bundle_with_new_sums_is_still_recomputed(
    file: str, old: bytes, new: bytes, reason: str, bundle: Path, run_invoke: RunInvoke
) -> None:
    files = unpack(bundle.read_bytes(), where="it")
    name = next(name for name in files if name.startswith(file))
    assert old in files[name]
    bundle.write_bytes(pack({**files, name: files[name].replace(old, new, 1)}))
    ended = run_invoke("certificate", "--verify", str(bundle))
    assert ended.returncode == 1
    assert reason in ended.stderr
