"""Programs of a Nix store start in the sandbox: their interpreter and libraries are shown.

No machine needs Nix for it. A first sandbox, which shows this machine under a root of
its own, adds a `/nix/store` with programs as nixpkgs links them; in it a trial's own
sandbox is opened.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.sandbox.test_sandbox import SandboxRun, sandbox
from tests.shipped import ROOT

from llamatrix.project import find_project
from llamatrix.provision.compiler import find_tool
from llamatrix.provision.npm import node_program
from llamatrix.provision.programs import find_bwrap, find_uv
from llamatrix.sandbox.spec import TOOLS

STORE = Path("/nix/store")
LIBRARIES = "0-glibc"
PROGRAMS = ("node", "uv")
_LINE = re.compile(r"(?:=> )?(/\S+) \(0x")


def linked_as_nixpkgs_does(program: Path, store: Path) -> None:
    """Copy a program with its libraries; it finds them by absolute paths only."""
    package = store / f"0-{program.name}" / "bin"
    package.mkdir(parents=True)
    copy = package / program.name
    shutil.copy(program, copy)
    listed = subprocess.run(["ldd", copy], check=True, capture_output=True, text=True)
    interpreter = ""
    for path in map(Path, _LINE.findall(listed.stdout)):
        shutil.copy(path, store / LIBRARIES / path.name)
        if path.name.startswith("ld-"):
            interpreter = str(STORE / LIBRARIES / path.name)
    where = str(STORE / LIBRARIES)
    flags = ["--set-interpreter", interpreter, "--force-rpath", "--set-rpath", where]
    patchelf = find_tool("patchelf")
    assert patchelf
    subprocess.run([patchelf, *flags, copy], check=True)


def with_store(store: Path, command: list[str]) -> list[str]:
    """The command on this machine, with a store that it does not have."""
    words = [str(find_bwrap(find_project().cache)), "--tmpfs", "/"]
    for path in sorted(Path("/").iterdir()):
        if path.is_symlink():
            words += ["--symlink", str(path.readlink()), str(path)]
        elif path.name != "nix" and path.is_dir():
            words += ["--dev-bind", str(path), str(path)]
    return [*words, "--ro-bind", str(store), str(STORE), "--", *command]


@pytest.mark.slow
def test_interpreter_and_libraries_of_a_store_program_resolve(tmp_path: Path) -> None:
    node = node_program()
    assert node
    store = tmp_path / "store"
    (store / LIBRARIES).mkdir(parents=True)
    for program in (node, find_uv()):
        linked_as_nixpkgs_does(program.resolve(), store)
    (tmp_path / "trial").mkdir()
    module = f"import {__name__} as test; test.inside_of_the_first()"
    ended = subprocess.run(
        with_store(store, [sys.executable, "-c", module, str(tmp_path / "trial")]),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'scripts'}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout)
    for name in PROGRAMS:
        assert re.search(r"\d+\.\d+\.\d+", said[name]["version"])
        found = _LINE.findall(said[name]["libraries"])
        assert len(found) >= 3, said[name]["libraries"]
        assert {str(Path(path).parent) for path in found} == {str(STORE / LIBRARIES)}


def inside_of_the_first() -> None:
    """What the programs say in a trial's sandbox, as JSON on standard output."""
    tools = {name: STORE / f"0-{name}" / "bin" / name for name in PROGRAMS}
    said: dict[str, dict[str, str]] = {}
    for name in PROGRAMS:
        said[name] = {}
        for what, start in (
            ("version", ""),
            ("libraries", "LD_TRACE_LOADED_OBJECTS=1"),
        ):
            folder = Path(sys.argv[1]) / f"{name}-{what}"
            folder.mkdir()
            box = sandbox(tools=tools)
            ran = SandboxRun(folder, f"{start} {TOOLS / name} --version", box)
            said[name][what] = "\n".join(ran.lines)
    print(json.dumps(said))  # noqa: T201
