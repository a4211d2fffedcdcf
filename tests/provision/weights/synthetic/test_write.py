import hashlib
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader

from llamatrix.config.cell import GENERATOR_VERSIONS
from llamatrix.config.matrix import WeightsKind
from llamatrix.errors import ProvisionError
from llamatrix.provision.weights.synthetic.layout import layout
from llamatrix.provision.weights.synthetic.models import MODELS, Scale, SyntheticSpec
from llamatrix.provision.weights.synthetic.tensors import GgmlType
from llamatrix.provision.weights.synthetic.write import write

_SHA256 = {
    "qwen35-27b": "eeb80a949ced4b481e2ce784d518b5ca36b7d403582ac77fb267ccfd97fc440e",
    "qwen35-35b-a3b": "cdd46be8f09562c6afcef949ea1f8424e10e0deb6eddbcb5713c93c921c7d6a3",
    "qwen35-9b": "aded34826a7a0521e18f3cbe2c1823fe39375fa2a9fabc14147bab232bdd4177",
    "qwen35-4b": "8781e71c11b31569282afb2a62ee1aade94bbf6c4a555b736d5af05c34c6b6ae",
    "gemma4-26b-a4b": "955712eabda8c2a4176cebc0398f962727999aa0be1ef389b70917e1524787f9",
    "gemma4-31b": "ec4b56e360c41ff27df744e4d991a2004ef48a6b7492cf97a96366869f254dc8",
}


def _spec(
    model: str, *, template: str = "{{ messages }}", seed: int = 0
) -> SyntheticSpec:
    return SyntheticSpec(
        model=model, scale=Scale.TINY, chat_template=template, seed=seed
    )


def _written(spec: SyntheticSpec, path: Path) -> bytes:
    write(spec, path, on_bytes=lambda _: None)
    return path.read_bytes()


def test_same_spec_makes_the_same_bytes(tmp_path: Path) -> None:
    first = _written(_spec("gemma4-26b-a4b"), tmp_path / "a.gguf")
    assert first == _written(_spec("gemma4-26b-a4b"), tmp_path / "b.gguf")
    assert first != _written(_spec("gemma4-26b-a4b", seed=1), tmp_path / "c.gguf")


@pytest.mark.parametrize("model", MODELS)
def test_bytes_are_those_of_this_generator_version(model: str, tmp_path: Path) -> None:
    """If this fails on purpose, bump GENERATOR_VERSIONS and renew the sums."""
    assert GENERATOR_VERSIONS == {WeightsKind.TINY: 3, WeightsKind.FULL: 2}
    made = _written(_spec(model), tmp_path / "x.gguf")
    assert hashlib.sha256(made).hexdigest() == _SHA256[model]


_SPECS = (
    *map(_spec, MODELS),
    *(replace(_spec(model), head=True) for model in ("qwen35-4b", "gemma4-26b-a4b")),
)


def test_assistant_has_as_many_tensors_as_the_public_one() -> None:
    spec = replace(_spec("gemma4-26b-a4b"), scale=Scale.FULL, head=True)
    types = [tensor.type for tensor in layout(spec).tensors]
    assert (len(types), types.count(GgmlType.F32)) == (49, 26)


@pytest.mark.parametrize("spec", _SPECS, ids=lambda spec: f"{spec.model}-{spec.head}")
def test_reader_finds_the_planned_tensors(spec: SyntheticSpec, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    write(spec, path, on_bytes=lambda _: None)
    found = [
        (t.name, tuple(int(n) for n in t.shape), t.tensor_type.name, int(t.n_bytes))
        for t in GGUFReader(path).tensors
    ]
    planned = layout(spec).tensors
    assert found == [(t.name, t.shape, str(t.type), t.bytes) for t in planned]


@pytest.mark.parametrize("model", MODELS)
def test_file_is_marked_synthetic_with_its_spec(model: str, tmp_path: Path) -> None:
    path, spec = tmp_path / "x.gguf", _spec(model, template="{{ mine }}")
    write(spec, path, on_bytes=lambda _: None)
    said = {name: f.contents() for name, f in GGUFReader(path).fields.items()}
    assert said["general.name"] == f"SYNTHETIC {model} (tiny)"
    assert said["general.tags"] == ["synthetic", "random-weights"]
    assert said["general.file_type"] == 15
    assert said["llamatrix.synthetic.digest"] == spec.digest()
    assert said["tokenizer.chat_template"] == "{{ mine }}"
    assert said[f"{said['general.architecture']}.context_length"] == 262144


def test_rows_of_silent_tokens_are_zero_and_of_others_are_not(tmp_path: Path) -> None:
    path, spec = tmp_path / "x.gguf", _spec("qwen35-27b")
    write(spec, path, on_bytes=lambda _: None)
    silent = layout(spec).tensors[-1].silent_rows
    output = next(t for t in GGUFReader(path).tensors if t.name == "output.weight")
    spoken = [int(row) for row in np.flatnonzero(np.any(output.data, axis=1))]
    assert silent
    assert spoken == sorted(set(range(len(output.data))) - set(silent))


@pytest.mark.parametrize("sparse", [False, True])
def test_progress_adds_up_to_the_size_of_the_file(
    tmp_path: Path, *, sparse: bool
) -> None:
    path, seen = tmp_path / "x.gguf", list[int]()
    write(_spec("gemma4-31b"), path, on_bytes=seen.append, sparse=sparse)
    assert sum(seen) == path.stat().st_size


def test_sparse_file_has_the_header_and_a_hole_for_the_rest(tmp_path: Path) -> None:
    spec = SyntheticSpec(model="qwen35-27b", scale=Scale.FULL, chat_template="")
    path = tmp_path / "x.gguf"
    write(spec, path, on_bytes=lambda _: None, sparse=True)
    assert path.stat().st_size > layout(spec).tensor_bytes
    assert path.stat().st_blocks * 512 < 20e6


def test_full_disk_is_reported_with_sizes() -> None:
    with pytest.raises(ProvisionError, match=r"no room .* at /dev: .* needed, .* free"):
        write(_spec("qwen35-27b"), Path("/dev/full"), on_bytes=lambda _: None)
    assert Path("/dev/full").exists()


def test_file_larger_than_free_space_is_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=2**30)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    spec = SyntheticSpec(model="qwen35-27b", scale=Scale.FULL, chat_template="")
    path, seen = tmp_path / "x.gguf", list[int]()
    path.write_text("older")
    with pytest.raises(ProvisionError, match=r"16\.4 GiB needed, 1 GiB free"):
        write(spec, path, on_bytes=seen.append)
    assert seen == []
    assert path.read_text() == "older"


def test_write_that_fails_half_way_leaves_no_file(tmp_path: Path) -> None:
    program = """
import resource, sys
from dataclasses import replace
from pathlib import Path
from llamatrix.errors import ProvisionError
from llamatrix.provision.weights.synthetic.models import Scale, SyntheticSpec
from llamatrix.provision.weights.synthetic.tensors import GgmlType
from llamatrix.provision.weights.synthetic.write import write
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
spec = SyntheticSpec(model="qwen35-27b", scale=Scale.TINY, chat_template="")
try:
    write(spec, Path(sys.argv[1]), on_bytes=lambda _: None)
except ProvisionError as error:
    print(error)
"""
    path = tmp_path / "x.gguf"
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "cannot be written: File too large" in done.stdout
    assert not path.exists()


@pytest.mark.parametrize("model", ["qwen35-35b-a3b", "gemma4-26b-a4b"])
def test_full_size_file_is_written_in_a_few_hundred_megabytes(model: str) -> None:
    """Write all tensors into a file that takes no space."""
    program = """
import re, shutil, sys
from dataclasses import replace
from pathlib import Path
from llamatrix.provision.weights.synthetic.models import Scale, SyntheticSpec
from llamatrix.provision.weights.synthetic.tensors import GgmlType
from llamatrix.provision.weights.synthetic.write import write
endless = shutil.disk_usage("/")._replace(free=2**50)
shutil.disk_usage = lambda _: endless
spec = SyntheticSpec(model=sys.argv[1], scale=Scale.FULL, chat_template="")
count = 0
def add(more):
    global count
    count += more
write(spec, Path("/dev/null"), on_bytes=add)
status = Path("/proc/self/status").read_text()  # ru_maxrss knows our parent's peak too
print(count, int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) * 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, model],
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    written_bytes, peak_rss_bytes = map(int, done.stdout.split())
    assert written_bytes > 15 * 2**30
    assert peak_rss_bytes < 400 * 2**20


def test_interrupted_write_leaves_no_file(tmp_path: Path) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "x.gguf"
    with pytest.raises(KeyboardInterrupt):
        write(_spec("qwen35-27b"), path, on_bytes=interrupt)
    assert not path.exists()


def test_missing_folder_is_a_provision_error(tmp_path: Path) -> None:
    with pytest.raises(ProvisionError, match="No such file or directory"):
        write(_spec("qwen35-27b"), tmp_path / "no" / "x.gguf", on_bytes=lambda _: None)
