"""One loaded project: what a command reads once and passes down."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path

from msgspec.structs import replace as replace_fields

from llamatrix.config.complaint import nearest
from llamatrix.config.expand import Plan, expand_plan, select_profile
from llamatrix.config.load import file_problem, load_matrix
from llamatrix.config.lock import Lock, load_lock
from llamatrix.config.matrix import Matrix, Model
from llamatrix.errors import MatrixError, ProvisionError
from llamatrix.nvml import driver_problem, gpus
from llamatrix.progress import say
from llamatrix.project import Project, find_project, user_path
from llamatrix.units import bytes_text

_BY_CARD = (
    (22 * 2**30, "published"),
    (15 * 2**30, "card-16gb"),
    (11 * 2**30, "card-12gb"),
    (7 * 2**30, "card-8gb"),
)
"""The least memory of a card for a profile: cards report less than they are sold with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """The project, its two files as read, and the profile that was chosen."""

    project: Project
    matrix: Matrix
    lock: Lock
    profile: str
    weights_dir: Path | None = None
    """The user's own folder of published GGUFs."""

    @property
    def server_key(self) -> str:
        """The name of the server flags of the profile; MatrixError where it has none."""
        server = select_profile(self.matrix, self.profile).server
        if server is None:
            raise MatrixError(
                f"matrix.toml: profiles.{self.profile}.server: missing: name one of "
                f"{', '.join(self.matrix.servers)} to serve this profile's models"
            )
        return server

    def plan(self, cells: str = "") -> Plan:
        """The cells of the profile that match a glob; all of them for an empty one."""
        return expand_plan(self.matrix, self.lock, self.profile, cells=cells)

    def with_lock(self, lock: Lock) -> "Context":
        return replace(self, lock=lock)

    def narrowed(self, **axes: tuple[str, ...]) -> "Context":
        """Return the context with other pins or models in its profile, and all their cells."""
        profiles = self.matrix.profiles
        profile = replace_fields(
            profiles[self.profile], include=("*",), exclude=(), also=(), **axes
        )
        profiles = {**profiles, self.profile: profile}
        return replace(self, matrix=replace_fields(self.matrix, profiles=profiles))

    def with_models(self, models: Mapping[str, Model]) -> "Context":
        """Return the context with these entries for models of the matrix."""
        models = {**self.matrix.models, **models}
        return replace(self, matrix=replace_fields(self.matrix, models=models))


def load_context(
    profile: str = "",
    *,
    model: str = "",
    weights_dir: str = "",
    project: Project | None = None,
) -> Context:
    """Read matrix.toml and matrix.lock; say which profile is used, and why.

    A model, by key or by path, takes the place of the profile's own.
    """
    project = project or find_project()
    matrix = load_matrix(project.matrix_file)
    choice = choose_profile(profile)
    about = select_profile(matrix, choice.profile).about
    say(f"profile {choice.profile} ({choice.reason}): {about}")
    context = Context(
        project=project,
        matrix=matrix,
        lock=load_lock(project.lock_file),
        profile=choice.profile,
        weights_dir=user_path(weights_dir) if weights_dir else None,
    )
    if model:
        matrix, key = with_model(matrix, model, flag="--model")
        context = replace(context, matrix=matrix).narrowed(models=(key,))
    return context


def with_model(matrix: Matrix, name: str, *, flag: str) -> tuple[Matrix, str]:
    """Return the key of a model that is named by key or by path.

    A file that the matrix lacks is added to it as a local model, in memory.
    """
    if name in matrix.models:
        return matrix, name
    path = user_path(name)
    if not path.is_file():
        if path.suffix == ".gguf":
            files = [str(path_here) for path_here in path.parent.glob("*.gguf")]
            raise MatrixError(f"{flag} {name!r}: no such file{nearest(name, files)}")
        hint = nearest(name, matrix.models)
        raise MatrixError(f"{flag} {name!r}: neither a model nor a file{hint}")
    for key, model in matrix.models.items():
        if model.local and Path(model.file).resolve() == path.resolve():
            return matrix, key
    key = key_of(path.stem, matrix.models)
    model = Model(file=str(path.absolute()), name=unused_name(path.stem, matrix))
    if problem := file_problem(model.file):
        raise MatrixError(f"{flag} {problem}")
    return replace_fields(matrix, models={**matrix.models, key: model}), key


def key_of(stem: str, taken: Collection[str]) -> str:
    """Return the key of a file: its name in lower case; numbered where it is taken."""
    key = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-") or "model"
    return free_name(key, "{}-{}", taken)


def free_name(name: str, numbered: str, taken: Collection[str]) -> str:
    """Return the name, or the first number of it that is not taken."""
    names = chain([name], (numbered.format(name, number) for number in count(2)))
    return next(free for free in names if free not in taken)


def unused_name(stem: str, matrix: Matrix) -> str:
    """Return the name of a file for tables, numbered where another model has it."""
    return free_name(stem, "{} ({})", {model.name for model in matrix.models.values()})


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Which profile a command uses, and why."""

    profile: str
    reason: str


def choose_profile(named: str | None = None) -> Choice:
    """Return the named profile, else the one that fits this machine.

    `published` needs a CUDA card that can hold its models; smaller cards get a profile
    of smaller models, and machines without one `smoke`.
    ProvisionError where a card is present and its driver does not answer.
    """
    if named:
        return Choice(profile=named, reason="as asked")
    cards = sorted(gpus(), key=lambda card: card.memory_bytes)
    need = f"`published` needs {bytes_text(_BY_CARD[0][0])}"
    if not cards and (problem := driver_problem()):
        raise ProvisionError(f"{problem}; or name a profile, e.g. --profile smoke")
    if not cards:
        return Choice(profile="smoke", reason=f"no CUDA device found, {need}")
    size_bytes = cards[-1].memory_bytes
    card = f"{cards[-1].name} has {bytes_text(size_bytes)}"
    if size_bytes >= _BY_CARD[0][0]:
        return Choice(profile="published", reason=card)
    return Choice(profile=profile_of_card(size_bytes), reason=f"{card}, {need}")


def profile_of_card(size_bytes: int) -> str:
    """The profile whose models a card of this size holds."""
    fits = (profile for least_bytes, profile in _BY_CARD if size_bytes >= least_bytes)
    return next(fits, "smoke")
