"""Imports between packages point upwards only; third-party packages have one home."""

import ast
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from tests.shipped import ROOT

SOURCE = ROOT / "scripts" / "llamatrix"
PACKAGES = (
    *("foundation", "config", "provision", "engines", "sandbox", "proxy", "agents"),
    *("trials", "measure", "stats", "records", "compare", "reference", "report"),
    *("commands", "cluster"),
)
HOMES = {
    "PIL": {"trials.checks.inside.decode", "trials.stubs.gemini_api"},
    "anyio": {
        "sandbox.forwarding",
        "trials.stubs.connect_proxy",
        "trials.stubs.world",
    },
    "filelock": {"exclusive"},
    "gguf": {"provision.weights.synthetic.write"},
    "httpx": {
        *("trials.scripted", "proxy.cost", "proxy.proxy", "web"),
    },
    "huggingface_hub": {"provision.weights.hub"},
    "invoke": {"commands.program"},
    "jinja2": {"measure.templates.render", "report.render.html"},
    "matplotlib": {"report.plots"},
    "numpy": {
        "commands.compare_selftest",
        "measure.stream",
        "provision.weights.synthetic.write",
        *("stats.pass_rates", "stats.simulation", "stats.trials"),
    },
    "platformdirs": {"project"},
    "prometheus_client": {"engines.llama_cpp.output"},
    "psutil": {
        "engines.llama_cpp.server",
        "host",
        "measure.disturbances",
        "measure.telemetry",
        "proxy.agent_process",
    },
    "pynvml": {"nvml"},
    "ray": {"cluster.ray"},
    "rich": {"progress"},
    "scipy": {"stats.intervals"},
    "starlette": {
        *("trials.scripted", "trials.stubs.context7_api"),
        *("trials.stubs.gemini_api", "trials.stubs.post_api"),
        *("trials.stubs.request_log", "trials.stubs.serving"),
        *("trials.stubs.wheel_index", "proxy.cost"),
        *("proxy.proxy", "proxy.serving"),
    },
    "pytest": {"trials.checks.inside.run_tests"},
    "subprocess": {"shell", "trials.checks.inside.steps"},
    "tabulate": {"report.render.markdown"},
    "tomli_w": {"commands.add", "provision.resolve"},
    "trustme": {"trials.stubs.serving"},
    "uvicorn": {"proxy.serving"},
}
DISTRIBUTIONS = packages_distributions()
IN_SANDBOX = {"pytest"}
"""Installed for judged code in its own environment, never for the harness."""
_EVERYWHERE = {*sys.stdlib_module_names, "llamatrix", "msgspec"}
MODULES = sorted(
    path for path in SOURCE.rglob("*.py") if "llamatrix/tasks" not in path.as_posix()
)


def name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            if node.module == "llamatrix":
                yield from (f"llamatrix.{alias.name}" for alias in node.names)


def package_of(module: str) -> str:
    first = module.split(".", maxsplit=1)[0]
    return first if first in PACKAGES else "foundation"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_upwards_only(path: Path) -> None:
    place = PACKAGES.index(package_of(name_of(path)))
    for imported in imports(path):
        if imported.startswith("llamatrix."):
            other = package_of(imported.removeprefix("llamatrix."))
            assert PACKAGES.index(other) <= place, f"{name_of(path)} imports {imported}"


def test_third_party_package_is_imported_at_home_only() -> None:
    found = defaultdict(set)
    for path in MODULES:
        for imported in imports(path):
            package = imported.split(".")[0]
            if package in HOMES or package not in _EVERYWHERE:
                found[package].add(name_of(path))
    assert found.keys() == HOMES.keys(), "a package without a home, or the reverse"
    for package, modules in found.items():
        assert modules == HOMES[package], (
            f"{package} is imported elsewhere than at home"
        )


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if package_of(name_of(path)) == "report"],
    ids=name_of,
)
def test_reports_know_agents_and_engines_by_their_contracts_alone(path: Path) -> None:
    contracts = {
        "llamatrix.agents",
        "llamatrix.agents.turn_outcome",
        "llamatrix.engines.outcome",
    }
    members = ("llamatrix.agents", "llamatrix.engines")
    assert {one for one in imports(path) if one.startswith(members)} <= contracts


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in MODULES
        if package_of(name_of(path)) in {"sandbox", "proxy", "agents", "trials"}
    ],
    ids=name_of,
)
def test_trials_and_agents_know_engines_by_their_contract_alone(path: Path) -> None:
    engines = {one for one in imports(path) if one.startswith("llamatrix.engines")}
    assert engines <= {"llamatrix.engines.protocol", "llamatrix.engines.outcome"}


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in MODULES
        if package_of(name_of(path)) in {"measure", "compare", "commands"}
    ],
    ids=name_of,
)
def test_rooms_above_engines_know_them_by_their_contracts_alone(path: Path) -> None:
    members = [one for one in imports(path) if "engines.llama_cpp" in one]
    assert members == []


def requirements() -> frozenset[str]:
    """Return the distributions that the harness requires, optional ones included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].items()
    lists = [lines for extra, lines in extras if extra not in {"dev", "docs"}]
    return frozenset(
        normalized(Requirement(line).name)
        for lines in (project["dependencies"], *lists)
        for line in lines
    )


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def providers(package: str) -> frozenset[str]:
    """Return the distributions that provide a package; its own name if none is here."""
    return frozenset(map(normalized, DISTRIBUTIONS.get(package, [package])))


def unprovided(packages: Iterable[str], required: frozenset[str]) -> list[str]:
    return sorted(one for one in packages if not providers(one) & required)


def third_party_packages() -> set[str]:
    packages = {name.split(".")[0] for path in MODULES for name in imports(path)}
    return packages - {*sys.stdlib_module_names, "llamatrix", *IN_SANDBOX}


def test_every_imported_package_is_a_requirement() -> None:
    """Otherwise it works only where something else happened to install it."""
    assert unprovided(third_party_packages(), requirements()) == []


@pytest.mark.parametrize("package", sorted(third_party_packages()))
def test_removed_requirement_of_imported_package_is_noticed(package: str) -> None:
    remaining = requirements() - providers(package)
    assert remaining != requirements()
    assert unprovided([package], remaining) == [package]
