"""A large file is read once; whatever may have changed it makes it be read again."""

import os
from pathlib import Path

from tests.provision.hub_standin import sha256

from llamatrix.provision.hashes import known_sha256

OLD, NEW = b"old bytes", b"new bytes"


def test_a_file_of_the_same_size_and_time_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(OLD)
    status = path.stat()
    assert known_sha256(path, tmp_path / "cache") == sha256(OLD)
    path.write_bytes(NEW)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert known_sha256(path, tmp_path / "cache") == sha256(OLD)


def test_another_time_or_size_makes_it_be_read_again(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(OLD)
    status = path.stat()
    known_sha256(path, tmp_path / "cache")
    path.write_bytes(NEW)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert known_sha256(path, tmp_path / "cache") == sha256(NEW)
    path.write_bytes(NEW + b"!")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert known_sha256(path, tmp_path / "cache") == sha256(NEW + b"!")


def test_two_names_of_one_file_are_hashed_once(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(OLD)
    (tmp_path / "x.gguf").symlink_to("blob")
    known_sha256(tmp_path / "x.gguf", tmp_path / "cache")
    known_sha256(tmp_path / "blob", tmp_path / "cache")
    assert len(list((tmp_path / "cache" / "hashes").iterdir())) == 1


def test_a_damaged_memory_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(OLD)
    known_sha256(path, tmp_path / "cache")
    (note,) = (tmp_path / "cache" / "hashes").iterdir()
    note.write_text("{")
    assert known_sha256(path, tmp_path / "cache") == sha256(OLD)
