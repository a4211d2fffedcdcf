"""Checks of the shell and Nix files that need no evaluation."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.shipped import ROOT

FOLDERS = (ROOT / "nix", ROOT / "tests" / "nix", ROOT / "tests" / "nixpkgs-stub")
SHELL = sorted(
    [
        ROOT / ".ci" / "run",
        *(path for folder in FOLDERS for path in folder.glob("*.sh")),
    ]
)
NIX = sorted(
    [ROOT / "flake.nix", *(path for folder in FOLDERS for path in folder.glob("*.nix"))]
)
SRI = re.compile(r"sha(256|512)-[A-Za-z0-9+/]{20,}")


@pytest.mark.slow
def test_shell_scripts_pass_shellcheck(require: Callable[[str], Path]) -> None:
    argv = [str(require("shellcheck")), "--severity=warning", *map(str, SHELL)]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout


def test_nix_files_contain_no_pins() -> None:
    """Only matrix and lock have hashes and revisions, except for the flake's input."""
    input_rev = json.loads((ROOT / "flake.lock").read_text())["nodes"]["nixpkgs"]
    for path in NIX:
        text = path.read_text()
        assert not SRI.search(text), f"{path.name} has a hash of its own"
        found = set(re.findall(r"\b[0-9a-f]{40}\b", text))
        own = path == ROOT / "flake.nix"
        allowed = {input_rev["locked"]["rev"]} if own else set()
        assert found == allowed, f"{path.name} has a revision of its own"


@pytest.mark.parametrize("path", NIX, ids=lambda path: path.name)
def test_nix_file_is_formatted(path: Path) -> None:
    """Rules of the formatter that can be tested without it."""
    text = path.read_text()
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    for line in text.splitlines():
        assert "\t" not in line
        assert line == line.rstrip()
        assert (len(line) - len(line.lstrip())) % 2 == 0


@pytest.mark.slow
@pytest.mark.network
def test_nix_files_parse_without_unknown_names(nix_bin: Path) -> None:
    for path in NIX:
        argv = [str(nix_bin / "nix-instantiate"), "--parse", str(path)]
        ended = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
