"""The self-test's real runs: one build against itself, behind a shim or bare."""

import shlex
import shutil
import stat
import sys
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from llamatrix.commands.regress import shim
from llamatrix.commands.regress.arms import METRICS, Asked
from llamatrix.commands.regress.command import regress
from llamatrix.commands.regress.ledger import SPEED_PAIRS, Entry
from llamatrix.commands.regress.pairing import WARM_UP
from llamatrix.commands.regress.request import Request
from llamatrix.config.cell import Cell
from llamatrix.engines.llama_cpp.engine import ENGINE, Installed
from llamatrix.errors import ReportError
from llamatrix.measure.disturbances import Watch
from llamatrix.project import Project
from llamatrix.provision.integrity import record_entry
from llamatrix.records.store import Store
from llamatrix.report.regress import Regression
from llamatrix.stats.pairs import Arm
from llamatrix.stats.verdict import Metric

_ENOUGH = 4
"""Processes that noise can be estimated from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """What is done to the candidate; the baseline is always bare."""

    name: str
    way: str = ""
    """Of `shim.py`; empty leaves the candidate bare: an A/A run."""
    amount: str = "0"


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """Where and on what the real runs are made."""

    project: Project
    pin: str
    cells: str
    budget_s: float
    tolerated_percent: float
    profile: str = ""
    metrics: tuple[Metric, ...] = METRICS
    watch: Watch | None = None


def run_scenario(setting: Setting, scenario: Scenario, folder: Path) -> Regression:
    """Run one comparison with a ledger of its own under `folder`."""
    folder.mkdir(parents=True)
    for file in (setting.project.matrix_file, setting.project.lock_file):
        shutil.copyfile(file, folder / file.name)

    def provide(arm: Arm, cell: Cell, project: Project) -> Installed:
        parts = ENGINE.install(cell, project.cache)
        if arm is Arm.BASELINE or not scenario.way:
            return parts
        return _behind_shim(parts, scenario, folder / "shim")

    asked = Asked(pin=setting.pin)
    found = regress(
        Request(
            asked=dict.fromkeys(Arm, asked),
            profile=setting.profile,
            cells=setting.cells,
            metrics=setting.metrics,
            budget_s=setting.budget_s,
            tolerated_percent=setting.tolerated_percent,
        ),
        project=Project(root=folder, cache=setting.project.cache),
        provide=provide,
        watch=setting.watch,
    )
    if found is None:
        raise ReportError(f"{scenario.name}: no comparison came of it")
    return replace(found, identical=not scenario.way)


def samples_of(folder: Path) -> dict[str, list[tuple[float, ...]]]:
    """By cell: the samples of every process of a run that gave two or more.

    Warm-up processes are left out, since they are cold on purpose, and disturbed ones
    where enough others are left.
    """
    by_case: dict[str, list[Entry]] = defaultdict(list)
    for entry in Store(reports=folder / "reports", kind=SPEED_PAIRS).read_all():
        if entry.pair != WARM_UP and len(entry.samples) > 1:
            by_case[entry.case].append(entry)
    found = {}
    for case, entries in by_case.items():
        quiet = [entry for entry in entries if not entry.disturbed]
        kept = quiet if len(quiet) >= _ENOUGH else entries
        if len(kept) >= _ENOUGH:
            found[case] = [entry.samples for entry in kept]
    return found


def _behind_shim(parts: Installed, scenario: Scenario, folder: Path) -> Installed:
    path = folder / "bin" / "llama-bench"
    path.parent.mkdir(parents=True, exist_ok=True)
    words = [
        *(sys.executable, "-I", "-S", str(Path(shim.__file__))),
        *(str(parts.built.program(path.name)), scenario.way, scenario.amount),
    ]
    path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    record_entry(folder)
    return replace(parts, built=replace(parts.built, folder=folder))
