"""A cache entry is complete or absent, and changes are noticed."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.provision.weights.hub_stub import sha256

from llamatrix.errors import ProvisionError
from llamatrix.provision.integrity import (
    find_damage,
    known_sha256,
    make_once,
    recheck_cache,
)

OLD, NEW = b"old bytes", b"new bytes"


class Maker:
    """Make an entry of two files and a link, and count the calls."""

    def __init__(self, entry: Path) -> None:
        self.entry = entry
        self.times = 0

    def __call__(self, staging: Path) -> None:
        self.times += 1
        (staging / "sub").mkdir()
        (staging / "file").write_bytes(OLD)
        (staging / "sub" / "program").write_text("#!/bin/sh\n")
        (staging / "sub" / "program").chmod(0o755)
        (staging / "link").symlink_to("file")

    def made(self) -> Path:
        return make_once(self.entry, self, purpose="testing")


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    made = Maker(tmp_path / "store" / "entry")
    made.made()
    return made


def flip_a_bit(path: Path) -> None:
    """Change one bit in place, and keep the times."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace(path: Path) -> None:
    aside = path.with_name("aside")
    aside.write_bytes(NEW)
    os.replace(aside, path)  # noqa: PTH105  pathlib would resolve the link


def test_intact_entry_is_made_once(maker: Maker) -> None:
    assert maker.made().joinpath("file").read_bytes() == OLD
    assert maker.times == 1


def test_failure_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    def fail(staging: Path) -> None:
        (staging / "half").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_once(tmp_path / "entry", fail, purpose="testing")
    assert not (tmp_path / "entry").exists()
    assert not list(tmp_path.glob("*staging*"))


def test_leftovers_of_killed_process_are_not_used(tmp_path: Path) -> None:
    leftover = tmp_path / ".entry.staging"
    leftover.mkdir()
    (leftover / "half").write_text("half")

    def make(staging: Path) -> None:
        (staging / "whole").write_text("whole")

    entry = make_once(tmp_path / "entry", make, purpose="testing")
    assert [path.name for path in entry.iterdir()] == ["whole"]


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (lambda entry: flip_a_bit(entry / "file"), sha256(OLD)),
        (lambda entry: replace(entry / "file"), sha256(NEW)),
        (lambda entry: (entry / "file").write_bytes(OLD[:-1]), sha256(OLD[:-1])),
        (lambda entry: replace(entry / "link"), "link: sha256 is"),
        (lambda entry: (entry / "file").unlink(), "file: is missing"),
        (
            lambda entry: (entry / "sub" / "more").touch(),
            "more: is not part of the cache entry",
        ),
        (lambda entry: (entry / "sub" / "program").chmod(0o644), "executable bit"),
        (
            lambda entry: entry.with_name(".entry.files.json").unlink(),
            "no record of its files",
        ),
        (
            lambda entry: entry.with_name(".entry.files.json").write_text("{"),
            "no record of its files",
        ),
    ],
)
def test_tampered_entry_is_named_and_made_again(
    maker: Maker,
    tamper: Callable[[Path], object],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tamper(maker.entry)
    entry = maker.made()
    told = capsys.readouterr().err
    assert said in told
    assert "it is not used, but made again" in told
    assert (entry / "file").read_bytes() == OLD
    assert maker.times == 2
    assert find_damage(entry) is None


def test_irreparable_damage_is_refused_with_both_hashes(
    maker: Maker,
) -> None:
    replace(maker.entry / "file")

    def fail(_: Path) -> None:
        raise ProvisionError("no network")

    for _ in range(2):
        with pytest.raises(ProvisionError) as caught:
            make_once(maker.entry, fail, purpose="testing")
        for part in (sha256(OLD), sha256(NEW), "no network"):
            assert part in str(caught.value)


def test_equal_content_with_other_times_is_intact(maker: Maker) -> None:
    replace(maker.entry / "file")
    (maker.entry / "file").write_bytes(OLD)
    os.utime(maker.entry / "sub" / "program")
    maker.made()
    assert maker.times == 1


def test_entry_with_other_origin_is_verified(maker: Maker) -> None:
    def made(origin: str, wrong: str | None) -> None:
        make_once(
            maker.entry, maker, purpose="testing", origin=origin, prove=lambda: wrong
        )

    made("one", None)
    assert maker.times == 1
    made("two", "it is something else")
    assert maker.times == 2
    made("two", "nobody asks")
    assert maker.times == 2


def test_recheck_finds_damage_that_changed_no_stamp(
    maker: Maker, tmp_path: Path
) -> None:
    """A record with present stamps simulates a disk that lost a bit."""
    assert recheck_cache(tmp_path).damages == ()
    record = maker.entry.with_name(".entry.files.json")
    record.write_text(record.read_text().replace(sha256(OLD), sha256(NEW)))
    assert find_damage(maker.entry) is None
    read = recheck_cache(tmp_path)
    assert read.files == 3
    (told,) = read.damages
    assert sha256(OLD) in told
    assert sha256(NEW) in told
    maker.made()
    assert maker.times == 2
    assert recheck_cache(tmp_path).damages == ()


def test_file_whose_stamp_stays_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(OLD)
    assert known_sha256(path, tmp_path / "cache") == sha256(OLD)
    (note,) = (tmp_path / "cache" / "hashes").iterdir()
    note.write_text(note.read_text().replace(sha256(OLD), sha256(NEW)))
    assert known_sha256(path, tmp_path / "cache") == sha256(NEW)
    (told,) = recheck_cache(tmp_path / "cache").damages
    assert sha256(OLD) in told
    assert known_sha256(path, tmp_path / "cache") == sha256(OLD)


@pytest.mark.parametrize(
    "change",
    [
        flip_a_bit,
        replace,
        lambda path: path.write_bytes(OLD + b"!"),
        lambda path: os.utime(path, ns=(0, 0)),
    ],
)
def test_changed_file_is_read_again(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(OLD)
    known_sha256(path, tmp_path / "cache")
    change(path)
    assert known_sha256(path, tmp_path / "cache") == sha256(path.read_bytes())


def test_two_names_of_one_file_are_hashed_once(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(OLD)
    (tmp_path / "x.gguf").symlink_to("blob")
    known_sha256(tmp_path / "x.gguf", tmp_path / "cache")
    known_sha256(tmp_path / "blob", tmp_path / "cache")
    assert len(list((tmp_path / "cache" / "hashes").iterdir())) == 1


def test_damaged_note_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(OLD)
    known_sha256(path, tmp_path / "cache")
    (note,) = (tmp_path / "cache" / "hashes").iterdir()
    note.write_text("{")
    assert known_sha256(path, tmp_path / "cache") == sha256(OLD)
