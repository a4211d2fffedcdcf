"""A file is identified by its header, not its name; each refusal is one line."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.mini_gguf import F16, Q4_0, Metadata, TensorSpec, write_gguf
from tests.provision.weights import reported_files
from tests.provision.weights.reported_files import TABLES, keys_of

from llamatrix.errors import ProvisionError
from llamatrix.provision.weights.gguf_model import read_model

KEYS: Metadata = keys_of("llama", block_count=1)


def refusal(path: Path) -> str:
    with pytest.raises(ProvisionError) as caught:
        read_model(path)
    text = str(caught.value)
    assert text.startswith(f"{path.parent}/")
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid",
            ("'vers'", "git lfs pull"),
        ),
        (b"Entry not found", ("'Entr'", "the hub's reply", "15 bytes")),
        (b"<!DOCTYPE html><html>", ("web page",)),
        (b'{"error":"Invalid username or password."}', ("error message",)),
        (b"PK\x03\x04" + bytes(60), ("zip archive",)),
        (b"\x20\x01\0\0\0\0\0\0" + b'{"__metadata__":{}}', ("safetensors",)),
        (b"lmgg" + bytes(60), ("older than GGUF",)),
        (b"verse", ("'vers', 5 bytes",)),
        (b"GGUX" + bytes(60), ("'GGUX'",)),
        (b"", ("empty",)),
        (b"GG", ("not a GGUF",)),
        (b"GGUF", ("truncated or corrupt",)),
        (b"GGUF" + struct.pack("<I", 3), ("truncated or corrupt",)),
    ],
)
def test_file_of_another_kind_is_named(
    tmp_path: Path, content: bytes, words: tuple[str, ...]
) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    text = refusal(path)
    assert all(word in text for word in words), text


def test_folder_and_a_missing_file_are_named(tmp_path: Path) -> None:
    assert "not a regular file" in refusal(tmp_path)
    assert "No such file" in refusal(tmp_path / "none.gguf")


@pytest.mark.parametrize(
    ("version", "word"), [(0, "version 0"), (1, "version 1"), (4, "version 4")]
)
def test_version_that_llama_cpp_does_not_read_is_refused(
    tmp_path: Path, version: int, word: str
) -> None:
    path = write_gguf(tmp_path / "a.gguf", KEYS, TABLES, version=version)
    assert word in refusal(path)


@pytest.mark.parametrize("version", [2, 3])
def test_both_current_versions_are_read(tmp_path: Path, version: int) -> None:
    path = write_gguf(tmp_path / "a.gguf", KEYS, TABLES, version=version)
    assert [one.bytes for one in read_model(path).tensors] == [655360, 655360]


def test_big_endian_file_is_named(tmp_path: Path) -> None:
    path = reported_files.qwen35_27b(tmp_path, order=">")
    assert "a big-endian GGUF" in refusal(path)


@pytest.mark.parametrize("tensors", [2**60, 2**63, 2**64 - 1, 100])
@pytest.mark.parametrize("keys", [2**60, 0])
def test_huge_counts_are_refused_before_reading(
    tmp_path: Path, tensors: int, keys: int
) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, tensors, keys) + bytes(64))
    assert "corrupt: announces" in refusal(path)


@pytest.mark.parametrize("kind", [8, 4, 12, 7])
@pytest.mark.parametrize("count", [2**60, 2**64 - 1])
def test_huge_array_is_refused_before_reading(
    tmp_path: Path, kind: int, count: int
) -> None:
    path = tmp_path / "a.gguf"
    key = struct.pack("<Q", 3) + b"a.b" + struct.pack("<IIQ", 9, kind, count)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + key + bytes(64))
    assert "truncated or corrupt" in refusal(path)


def test_huge_string_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**60) + bytes(64)
    )
    assert "a metadata key needs 1,152,921,504,606,846,976 bytes" in refusal(path)


def test_array_of_arrays_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    key = struct.pack("<Q", 3) + b"a.b" + struct.pack("<IIQ", 9, 9, 1)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + key + bytes(64))
    assert "array of unknown type 9" in refusal(path)


def test_truncated_file_is_named_with_both_sizes(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "a.gguf", KEYS, TABLES)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)
    assert "truncated: tensor 'output.weight' ends at" in refusal(path)


@pytest.mark.parametrize("size", [30, 100, 200])
def test_file_cut_inside_its_header_is_refused(tmp_path: Path, size: int) -> None:
    path = write_gguf(tmp_path / "a.gguf", KEYS, TABLES)
    with path.open("r+b") as file:
        file.truncate(size)
    refusal(path)


@pytest.mark.parametrize(
    ("tensor", "word"),
    [
        (("blk.0.a.weight", [2**32, 2**32], Q4_0), "has the shape"),
        (("blk.0.a.weight", [33], Q4_0), "not a multiple of 32"),
        (("blk.0.a.weight", [1, 1, 1, 1, 1], F16), "5 dimensions"),
        (("blk.0." + "a" * 60, [1], F16), "too long"),
        (("token_embd.weight", [1], F16), "same name"),
    ],
)
def test_tensor_that_llama_cpp_refuses_is_named(
    tmp_path: Path, tensor: TensorSpec, word: str
) -> None:
    path = write_gguf(
        tmp_path / "a.gguf", KEYS, [TABLES[0], tensor], block_sizes={Q4_0: (2**60, 1)}
    )
    assert word in refusal(path)


def test_removed_tensor_type_is_named(tmp_path: Path) -> None:
    tensors: list[TensorSpec] = [*TABLES, ("blk.0.a.weight", [64], 31)]
    path = write_gguf(tmp_path / "a.gguf", KEYS, tensors, block_sizes={31: (32, 18)})
    assert "type 31, which llama.cpp has removed" in refusal(path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (reported_files.projector, ("a projector (mmproj)", "not a language model")),
        (
            reported_files.vision_inside,
            ("33 tensors (a.*, mm.*, v.*", "wrong number of tensors", "refuses"),
        ),
    ],
)
def test_file_without_a_text_model_is_named(
    tmp_path: Path, make: Callable[[Path], Path], words: tuple[str, ...]
) -> None:
    text = refusal(make(tmp_path))
    assert all(word in text for word in words), text


@pytest.mark.parametrize(
    ("keys", "tensors", "word"),
    [
        ({**KEYS, "general.type": "adapter"}, TABLES, "a LoRA adapter"),
        ({"general.type": "imatrix"}, TABLES, "'imatrix'"),
        ({"a.b": 1}, TABLES, "no general.architecture"),
        (KEYS, (), "has no tensors"),
        (KEYS, TABLES[1:], "no tensor token_embd.weight"),
        (KEYS, (*TABLES, ("vision_tower.a.weight", [1], F16)), "vision_tower.*"),
        ({**KEYS, "general.alignment": 3}, TABLES, "not a power of two"),
    ],
)
def test_other_contents_of_a_gguf_are_named(
    tmp_path: Path, keys: Metadata, tensors: tuple[TensorSpec, ...], word: str
) -> None:
    assert word in refusal(write_gguf(tmp_path / "a.gguf", keys, tensors))


def parts(folder: Path, *, count: int = 3, announced: int = 4) -> list[Path]:
    """A split model: tables in the first part, one tensor in each other."""
    names = [folder / f"m-{one + 1:05}-of-{count:05}.gguf" for one in range(count)]
    for index, path in enumerate(names):
        own: tuple[TensorSpec, ...] = ((f"blk.0.p{index}.weight", [64, 64], F16),)
        split: Metadata = {
            "split.no": index,
            "split.count": count,
            "split.tensors.count": announced,
        }
        keys = split if index else {**KEYS, **split}
        write_gguf(path, keys, own if index else TABLES)
    return names


def test_all_parts_of_a_split_model_are_read(tmp_path: Path) -> None:
    first, *_ = parts(tmp_path)
    header = read_model(first)
    assert len(header.tensors) == 4
    assert sum(one.bytes for one in header.tensors) == 2 * 655360 + 2 * 8192


def test_another_part_than_the_first_is_refused(tmp_path: Path) -> None:
    assert "part 2 of 3 of a split model; give the first" in refusal(parts(tmp_path)[1])


def test_missing_part_is_named(tmp_path: Path) -> None:
    first, *_, last = parts(tmp_path)
    last.unlink()
    assert "m-00003-of-00003.gguf: cannot be read" in refusal(first)


def test_first_part_of_another_name_is_refused(tmp_path: Path) -> None:
    first, *_ = parts(tmp_path)
    renamed = first.rename(tmp_path / "model.gguf")
    assert "-00001-of-00003.gguf" in refusal(renamed)


def test_parts_with_fewer_tensors_than_announced_are_refused(tmp_path: Path) -> None:
    first, *_ = parts(tmp_path, announced=9)
    assert "9 tensors announced, its 3 parts have 4" in refusal(first)


@pytest.mark.parametrize("odd", ["a\nb\x1b[2J", "long" * 50_000])
def test_odd_names_in_a_damaged_file_stay_in_one_line(tmp_path: Path, odd: str) -> None:
    tensors = (*TABLES, (odd[:60], [1], F16))
    assert len(refusal(write_gguf(tmp_path / "a.gguf", KEYS, tensors))) < 1000
    for keys in ({"general.architecture": odd}, {odd: 1}):
        path = write_gguf(tmp_path / "b.gguf", keys, TABLES[1:])
        text = refusal(path)
        assert len(text) < 2000
        assert text.isprintable()
