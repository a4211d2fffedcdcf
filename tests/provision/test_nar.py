"""The NAR hash is the one Nix computes."""

import subprocess
from pathlib import Path

import pytest

from llamatrix.provision.nar import nar_hash

# `nix hash path` of the same trees: an empty folder is Nix' best known constant
EMPTY_FOLDER = "sha256-pQpattmS9VmO3ZIQUFn66az8GSmB4IvYhTTCFn6SUmo="


def test_an_empty_folder_has_the_well_known_hash(tmp_path: Path) -> None:
    assert nar_hash(tmp_path) == EMPTY_FOLDER


def test_contents_names_links_and_execute_bits_count(tmp_path: Path) -> None:
    def tree(name: str) -> Path:
        folder = tmp_path / name
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / "file").write_text("text")
        (folder / "link").symlink_to("sub/file")
        return folder

    plain = nar_hash(tree("plain"))
    assert nar_hash(tree("same")) == plain
    changed = tree("content")
    (changed / "sub" / "file").write_text("texts")
    executable = tree("executable")
    (executable / "sub" / "file").chmod(0o755)
    renamed = tree("renamed")
    (renamed / "sub" / "file").rename(renamed / "sub" / "File")
    relinked = tree("relinked")
    (relinked / "link").unlink()
    (relinked / "link").symlink_to("sub/other")
    others = [nar_hash(folder) for folder in (changed, executable, renamed, relinked)]
    assert len({plain, *others}) == 5


def test_group_bits_and_times_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    before = nar_hash(tmp_path)
    (tmp_path / "file").chmod(0o664)
    subprocess.run(["touch", "-d", "2001-01-01", tmp_path / "file"], check=True)
    assert nar_hash(tmp_path) == before


@pytest.mark.parametrize("size", [0, 7, 8, 9, (1 << 20) + 3])
def test_padding_and_chunks_follow_the_format(tmp_path: Path, size: int) -> None:
    """Against the serialisation written out by hand for a single file."""
    import base64
    import hashlib

    def text(data: bytes) -> bytes:
        return len(data).to_bytes(8, "little") + data + b"\0" * (-len(data) % 8)

    content = bytes(range(256)) * (size // 256 + 1)
    path = tmp_path / "file"
    path.write_bytes(content[:size])
    words = (b"nix-archive-1", b"(", b"type", b"regular", b"contents")
    by_hand = b"".join(map(text, (*words, content[:size], b")")))
    digest = base64.b64encode(hashlib.sha256(by_hand).digest()).decode()
    assert nar_hash(path) == f"sha256-{digest}"
