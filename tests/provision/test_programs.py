"""A program of a Python package is compared with its installer's record."""

import base64
import hashlib
from pathlib import Path

import pytest

from llamatrix.errors import ProvisionError
from llamatrix.provision.integrity import file_sha256
from llamatrix.provision.programs import require_as_installed


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`tool` of the package `made-tool`, installed in a folder of its own."""
    site = tmp_path / "lib" / "site"
    info = site / "made_tool-1.0.dist-info"
    info.mkdir(parents=True)
    path = tmp_path / "bin" / "tool"
    path.parent.mkdir()
    path.write_bytes(b"the program")
    digest = base64.urlsafe_b64encode(hashlib.sha256(b"the program").digest())
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: made-tool\nVersion: 1.0\n"
    )
    (info / "RECORD").write_text(
        f"../../bin/tool,sha256={digest.decode().rstrip('=')},11\n"
    )
    monkeypatch.syspath_prepend(site)
    return path


def test_program_as_installed_is_returned(program: Path, tmp_path: Path) -> None:
    assert require_as_installed(program, "made-tool", tmp_path / "cache") == program


def test_flipped_bit_is_refused_with_both_hashes(program: Path, tmp_path: Path) -> None:
    before = file_sha256(program)
    program.write_bytes(b"uhe program")
    with pytest.raises(ProvisionError) as caught:
        require_as_installed(program, "made-tool", tmp_path / "cache")
    for part in (before, file_sha256(program), "pip install --force-reinstall"):
        assert part in str(caught.value)


@pytest.mark.usefixtures("program")
@pytest.mark.parametrize("package", ["made-tool", "no-such-package"])
def test_program_from_elsewhere_is_not_checked(package: str, tmp_path: Path) -> None:
    other = tmp_path / "tool"
    other.write_bytes(b"another")
    assert require_as_installed(other, package, tmp_path / "cache") == other
