"""Builds that need no nixpkgs: npm's tarballs, the agents, the templates.

Nix runs the very phases of our derivations with this machine's node, npm and patchelf.
"""

import json
import subprocess
from pathlib import Path

import pytest
from tests.invoking import invoked_apart
from tests.nix.conftest import SYSTEM, Flake
from tests.shipped import ROOT, shipped_lock, shipped_matrix

from llamatrix import shell
from llamatrix.agents.context7 import FOLDER, context7_server
from llamatrix.commands.trial_parts import provide_tools
from llamatrix.config.expand import expand_plan
from llamatrix.project import Project
from llamatrix.provision.integrity import file_sha256
from llamatrix.provision.templates import load_correction
from llamatrix.records.speed_record import SPEED
from llamatrix.records.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.network]

MATRIX = shipped_matrix()
LOCK = shipped_lock()


@pytest.mark.parametrize("pin", MATRIX.opencode)
def test_opencode_build_keeps_the_program_section(builder: Flake, pin: str) -> None:
    (path,) = builder.build(f"opencode-{pin}")
    program = (path / "bin" / "opencode").read_bytes()
    assert b".bun" in program, "the program's own section is kept"


def test_wrong_opencode_version_fails_the_build(builder: Flake) -> None:
    """The tarball is the locked one, but --version differs from the pin."""
    for name in ("matrix.toml", "matrix.lock"):
        builder.replace(name, 'version = "1.3.2"', 'version = "1.3.0"')
    wanted = ".#opencode-april"
    ended = builder.with_stub(
        "build", wanted, "--no-link", "--option", "build-hook", ""
    )
    assert ended.returncode != 0
    assert "hash mismatch" in ended.stderr or "pins 1.3.0" in ended.stderr


@pytest.mark.parametrize("pin", MATRIX.pi)
def test_pi_starts_with_its_own_dependencies(builder: Flake, pin: str) -> None:
    (path,) = builder.build(f"pi-{pin}")
    ended = shell.run([str(path / "bin" / "pi"), "--version"], timeout_s=60)
    assert MATRIX.pi[pin].version in ended.out, ended.complaint()


@pytest.mark.parametrize("pin", MATRIX.context7)
def test_context7_starts_with_its_own_dependencies(builder: Flake, pin: str) -> None:
    (path,) = builder.build(f"context7-{pin}")
    said = subprocess.run(
        [path / "bin" / "context7-mcp", "--help"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "transport" in said.stdout + said.stderr


def test_nix_and_python_produce_the_same_templates(seeded: Flake) -> None:
    (path,) = seeded.build("templates")
    corrections = sorted((ROOT / "templates").glob("*.toml"))
    assert corrections
    for file in corrections:
        made = path / file.with_suffix(".jinja").name
        assert file_sha256(made) == load_correction(file).result_sha256


def test_builds_of_a_nix_shell_are_measured_and_recorded(
    seeded: Flake, project: Project, invoke_environment: dict[str, str]
) -> None:
    """Nix builds with a fake compiler, and the harness measures those builds."""
    (listed,) = seeded.build(f"devShells.{SYSTEM}.cpu.LLAMATRIX_NIX")
    commit = LOCK.pins["current"].commit
    ended = invoked_apart(
        *("bench", "--profile", "smoke"),
        env={
            **invoke_environment,
            "LLAMATRIX_NIX": str(listed),
            "LLAMATRIX_FAKE_BENCH": json.dumps({"commit": commit[:9]}),
        },
    )
    assert ended.returncode == 0, ended.stderr
    (built,) = seeded.build("llama-cpp-current-cpu")
    records = list(Store(reports=project.reports, kind=SPEED).read_all())
    assert records
    assert {record.build.store_path for record in records} == {str(built)}
    for name in ("builds", "sources", "sdists"):
        assert not (project.cache / name).exists(), "the shell had it"


@pytest.mark.parametrize("profile", ["smoke", "published"])
def test_agents_run_with_the_programs_of_the_nix_shell(
    seeded: Flake, project: Project, monkeypatch: pytest.MonkeyPatch, profile: str
) -> None:
    """The harness finds OpenCode and Context7 where Nix builds them."""
    (listed,) = seeded.build(f"devShells.{SYSTEM}.cpu.LLAMATRIX_NIX")
    monkeypatch.setenv("LLAMATRIX_NIX", str(listed))
    cell = expand_plan(MATRIX, LOCK, profile).agents[0]
    tools = provide_tools(cell, project)
    assert not project.cache.exists(), "nothing is fetched or built"
    paths = json.loads(listed.read_text())
    assert tools.programs["opencode"].is_relative_to(
        paths["opencode"][cell.agent.version_key]
    )
    assert tools.context7.is_relative_to(paths["context7"][cell.agent.context7])
    programs = {**tools.programs, "bwrap": tools.bwrap}
    for name, path in paths["programs"].items():
        assert programs[name].resolve() == Path(path).resolve()
    for program in programs.values():
        assert shell.run([str(program), "--version"], timeout_s=60).ok
    script = context7_server(api_url=None).argv[1]
    inside = Path(script).relative_to(FOLDER)
    node = str(tools.programs["node"])
    said = shell.run([node, str(tools.context7 / inside), "--help"], timeout_s=60)
    assert "--transport" in said.out, said.complaint()
