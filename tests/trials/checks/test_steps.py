"""What judged programs may leave in an installed environment for the next one: nothing."""

import importlib.util
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from llamatrix.provision.python import provide_bytecode
from llamatrix.trials.checks.inside import steps
from llamatrix.trials.checks.session import Program

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


NOTES = """
import os
from pathlib import Path

places = [Path(each, "note") for each in os.environ["PLACES"].split(":")]
print(sum(place.exists() for place in places))
for place in places:
    place.mkdir(parents=True)
"""


def test_no_note_of_a_program_reaches_the_next(
    tmp_path: Path, fake_program: Callable[[str, str], Path]
) -> None:
    work, home, shared = (tmp_path / name for name in ("work", "home", "shared"))
    for folder in (work, home / ".cache" / "project", shared):
        folder.mkdir(parents=True)
    (work / "a.py").write_text(NOTES)
    own = ("", ".cache", ".cache/project")
    places = [
        *(work, work / ".venv", work / ".cache", shared, shared / ".cache"),
        *(home / name for name in own),
    ]
    one = Program(name="it", words=("python", "-c", ""), timeout_s=60, installs=True)
    looks = replace(one, words=("a.py",), installs=False)
    plan = {
        "key": "00",
        "private": [str(home), str(shared)],
        "alone": False,
        "installed": str(home / ".cache"),
        "bytecode": "",
        "switch": 0,
        "steps": (one, replace(looks, name="first"), replace(looks, name="second")),
    }
    environment = {
        "PATH": f"{fake_program('uv', 'uv.py').parent}:{os.defpath}",
        "PLACES": ":".join(map(str, places)),
    }
    ended = subprocess.run(
        [sys.executable, "-I", "-S", steps.__file__],
        input=msgspec.json.encode(plan).decode(),
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    reports = [json.loads(line.split(" ", 3)[3]) for line in ended.stdout.splitlines()]
    assert [each["code"] for each in reports] == [0, 0, 0], ended
    assert [each["out"] for each in reports] == ["", "0\n", "0\n"]


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
