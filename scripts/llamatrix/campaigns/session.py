"""What a command works on: project, matrix, lock, and the cells it was asked for."""

from dataclasses import dataclass

from llamatrix.campaigns.agenda import Item, look_up
from llamatrix.campaigns.choice import choose_profile
from llamatrix.errors import MatrixError
from llamatrix.plan.expand import expand, select_profile
from llamatrix.plan.load import load_matrix
from llamatrix.plan.lock import load_lock
from llamatrix.plan.matrix import Matrix
from llamatrix.progress import say
from llamatrix.project import Project, find_project
from llamatrix.record.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    project: Project
    matrix: Matrix
    profile: str
    items: tuple[Item, ...]


def opened(
    profile: str = "", cells: str = "", *, again: int = 0, retry: bool = False
) -> Session:
    """Read matrix, lock and records; say which profile it is, and why."""
    if again < 0:
        raise MatrixError(f"--again {again}: write how many repeats more, 1 or above")
    project = find_project()
    matrix = load_matrix(project.matrix_file)
    choice = choose_profile(profile or None)
    about = select_profile(matrix, choice.profile).about
    say(f"profile {choice.profile} ({choice.reason}): {about}")
    lock = load_lock(project.lock_file)
    store = Store(folder=project.records)
    plan = expand(matrix, lock, choice.profile, cells=cells or None)
    return Session(
        project=project,
        matrix=matrix,
        profile=choice.profile,
        items=tuple(look_up(cell, store, again=again, retry=retry) for cell in plan),
    )
