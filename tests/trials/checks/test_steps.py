"""What judged programs may leave in an installed environment for the next one: nothing."""

import importlib.util
import os
import sys
import time
import zipfile
from pathlib import Path

import pytest

from llamatrix.provision.python import provide_bytecode
from llamatrix.trials.checks.inside import steps

MODULE = "def answer():\n    return 42\n"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """An environment with one package, as uv leaves it."""
    packages = tmp_path / "uv" / "project" / "lib" / "python3.11" / "site-packages"
    for name, text in {
        "single.py": MODULE,
        "demo/__init__.py": MODULE,
        "demo-1.0.dist-info/METADATA": "",
    }.items():
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_text(text)
    return packages


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "demo-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("single.py", MODULE)
        wheel.writestr("demo/__init__.py", MODULE)
        wheel.writestr("demo/absent/module.py", MODULE)
        wheel.writestr("demo/template.py", "{{ not python }}")
    return provide_bytecode(wheels)


def test_linked_bytecode_is_used_and_belongs_to_its_source(
    tmp_path: Path, installed: Path, layer: Path
) -> None:
    steps.link_bytecode(str(layer), str(tmp_path / "uv"))
    for source in (installed / "single.py", installed / "demo" / "__init__.py"):
        compiled = Path(importlib.util.cache_from_source(str(source)))
        assert compiled.resolve().is_relative_to(layer)
        content = compiled.read_bytes()
        assert content[4:16] == b"\3\0\0\0" + importlib.util.source_hash(
            MODULE.encode()
        )


@pytest.mark.parametrize("name", ["single.py", "demo/__init__.py"])
def test_forged_bytecode_and_edits_do_not_reach_the_next_program(
    tmp_path: Path, installed: Path, layer: Path, name: str
) -> None:
    uv = str(tmp_path / "uv")
    steps.link_bytecode(str(layer), uv)
    before = steps.listing(uv)
    steps.undo_changes(uv, before)
    assert installed.is_dir(), "nothing has changed"
    source = installed / name
    compiled = Path(importlib.util.cache_from_source(str(source)))
    if name == "single.py":
        compiled.unlink()
        compiled.write_bytes(b"forged")
    else:
        status = source.stat()
        time.sleep(0.02)
        source.write_text(MODULE.replace("42", "43"))
        os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    steps.undo_changes(uv, before)
    assert not installed.exists()


def test_bytecode_is_made_again_where_it_was_damaged(
    tmp_path: Path, layer: Path
) -> None:
    (compiled,) = layer.glob(f"*/__pycache__/single.{sys.implementation.cache_tag}.pyc")
    intact = compiled.read_bytes()
    compiled.write_bytes(intact[:-1])
    assert provide_bytecode(tmp_path / "wheels") == layer
    assert compiled.read_bytes() == intact
