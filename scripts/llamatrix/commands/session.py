"""What a command works on: project, matrix, lock, and the cells it was asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llamatrix.commands.agenda import Item, look_up
from llamatrix.commands.agent.agenda import TrialItem, check_agents, look_up_trials
from llamatrix.commands.choice import choose_profile
from llamatrix.config.cell import Engine
from llamatrix.config.expand import expand_plan, select_profile
from llamatrix.config.load import load_matrix
from llamatrix.config.lock import Lock, load_lock
from llamatrix.config.matrix import Matrix
from llamatrix.progress import say
from llamatrix.project import Project, find_project
from llamatrix.provision.resolve_weights import resolved_here, with_own_files
from llamatrix.provision.weights.provide import own_file
from llamatrix.records.speed_record import SPEED
from llamatrix.records.store import Store
from llamatrix.records.trial_record import AGENT


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    project: Project
    matrix: Matrix
    profile: str
    lock: Lock
    items: tuple[Item, ...]
    """The speed cells."""
    trials: tuple[TrialItem, ...]
    """The agent cells."""
    weights_dir: Path | None = None
    """A folder of the user's with published weights."""
    any_template: bool = False
    """Whether the user wants trials with whatever chat template there is."""

    @property
    def engines(self) -> tuple[Engine, ...]:
        """Of all cells, speed first."""
        speed = (item.cell for item in self.items)
        return (*speed, *(trial.cell for trial in self.trials))


def opened(
    profile: str = "",
    cells: str = "",
    *,
    again: int = 0,
    retry: bool = False,
    weights_dir: str = "",
    ask_hub: bool = False,
) -> Session:
    """Read matrix, lock and records; say which profile it is, and why.

    With `ask_hub`, for commands that use weights, entries that are unresolved in the
    lock are resolved before records are looked up: their bytes are part of a digest.
    """
    project = find_project()
    matrix = load_matrix(project.matrix_file)
    choice = choose_profile(profile or None)
    about = select_profile(matrix, choice.profile).about
    say(f"profile {choice.profile} ({choice.reason}): {about}")
    lock = load_lock(project.lock_file)
    folder = own_folder(weights_dir)
    plan = expand_plan(matrix, lock, choice.profile, cells=cells or None)
    known = weights_known(matrix, lock, plan.cells, project, folder, ask_hub=ask_hub)
    if known != lock:
        plan = expand_plan(matrix, known, choice.profile, cells=cells or None)
    check_agents(plan.agents)
    speed = Store(reports=project.reports, kind=SPEED)
    agent = Store(reports=project.reports, kind=AGENT)
    return Session(
        project=project,
        matrix=matrix,
        profile=choice.profile,
        lock=known,
        items=tuple(
            look_up(cell, speed, again=again, retry=retry) for cell in plan.speed
        ),
        trials=tuple(
            look_up_trials(cell, agent, again=again, retry=retry)
            for cell in plan.agents
        ),
        weights_dir=folder,
    )


def own_folder(weights_dir: str) -> Path | None:
    """What `--weights-dir` names; None where it was not given."""
    return Path(weights_dir).expanduser() if weights_dir else None


def weights_known(
    matrix: Matrix,
    lock: Lock,
    plan: Sequence[Engine],
    project: Project,
    folder: Path | None,
    *,
    ask_hub: bool,
) -> Lock:
    """The lock with what can be told of the plan's published weights.

    From files in the user's folder first, then, with `ask_hub`, from the hub.
    """
    unknown = {
        cell.model_key: cell.published
        for cell in plan
        if cell.published and not cell.published.hub_file
    }
    own = [name for name, locked in unknown.items() if own_file(locked, folder)]
    if ask_hub and (rest := [name for name in unknown if name not in own]):
        lock = resolved_here(matrix, rest, project)
    if own and folder:
        lock = with_own_files(matrix, lock, own, project, folder)
    return lock
