"""A task's folder: `task.toml`, `prompt.md`, `seed/`, `check.py`, `solution/`."""

import hashlib
import shutil
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta, Struct

from llamatrix.config.complaint import complaints, nearest
from llamatrix.config.load import read_toml
from llamatrix.errors import MeasureError
from llamatrix.trials.checks.finding import Kind, Needs

TASKS = Path(__file__).resolve().parents[2] / "tasks"
TRAJECTORY = "trajectory.jsonl"
_VERSION_CHARACTERS = 12
Seconds = Annotated[float, Meta(gt=0)]


class _Strict(Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Prompt(_Strict, frozen=True, kw_only=True):
    source: str
    """Where the words of prompt.md come from."""
    seed_note: str = ""
    """Whose the files in seed/ are."""


class Limits(_Strict, frozen=True, kw_only=True):
    check_s: Seconds
    """For check.py as a whole."""
    program_s: Seconds
    """For each program of the agent's that it runs."""


class Service(_Strict, frozen=True, kw_only=True):
    """The API that the work must really have asked; without a host there is none."""

    host: str = ""
    method: str = ""
    path: str = ""
    """A regular expression for the whole path."""
    key: str = ""
    """The environment variable that the service's key is read from; empty for none."""


class AcceptedModel(_Strict, frozen=True, kw_only=True):
    name: str
    reason: str


class Check(_Strict, frozen=True, kw_only=True):
    kind: Kind
    needs: Needs
    promise: str
    """What is true of good work, as one sentence for the model to read."""


class Edit(_Strict, frozen=True, kw_only=True):
    file: str
    """In the solution's workspace; `trajectory.jsonl` is the transcript."""
    old: str
    new: str


class Wrong(_Strict, frozen=True, kw_only=True):
    """The solution, mutated in one way: it fails one check and passes every other."""

    fails: str
    also_fails: tuple[str, ...] = ()
    """Checks that cannot but fail with it."""
    not_judged: tuple[str, ...] = ()
    """Checks that are not applicable where that one fails."""
    why: str
    edits: tuple[Edit, ...] = ()
    writes: dict[str, str] = {}
    removes: tuple[str, ...] = ()


class Script(_Strict, frozen=True, kw_only=True):
    """The solution's transcript, ended too early once."""

    after: Annotated[int, Meta(gt=0)]
    """So many steps in …"""
    says: str
    """… it takes itself for done, in these words."""


class Task(_Strict, frozen=True, kw_only=True):
    id: str = ""
    """The name of its folder."""
    title: str
    prompt: Prompt
    limits: Limits
    service: Service = Service()
    packages: dict[str, str] = {}
    """Module to the package it comes from, where the two may differ."""
    expect: dict[str, str] = {}
    """Texts check.py compares with."""
    arguments: dict[str, str] = {}
    """Values for a script that needs arguments, by a pattern of the argument's name."""
    models: tuple[AcceptedModel, ...] = ()
    served_models: tuple[str, ...] = ()
    """Other models that the stub serves, as the real service does."""
    checks: dict[str, Check]
    wrong: tuple[Wrong, ...] = ()
    scripts: dict[str, Script] = {}
    """Transcripts beside the solution's own, by name."""

    @property
    def folder(self) -> Path:
        return TASKS / self.id

    @property
    def seed(self) -> Path:
        return self.folder / "seed"

    @property
    def all_models(self) -> tuple[str, ...]:
        return (*(model.name for model in self.models), *self.served_models)


def task_ids() -> tuple[str, ...]:
    return tuple(sorted(path.parent.name for path in TASKS.glob("*/task.toml")))


def load_task(name: str) -> Task:
    """Return the task of that name; MeasureError with a line for each mistake in it."""
    if name not in task_ids():
        raise MeasureError(f"unknown task {name!r}{nearest(name, task_ids())}")
    return read_task(TASKS / name / "task.toml")


def read_task(path: Path) -> Task:
    raw = read_toml(path)
    mistakes = list(complaints(raw, Task))
    if not mistakes:
        task = msgspec.convert({**raw, "id": path.parent.name}, type=Task)
        mistakes = list(_contradictions(task))
        if not mistakes:
            return task
    raise MeasureError(
        "\n".join(f"{path.parent.name}/task.toml: {x}" for x in mistakes)
    )


def task_digest(name: str) -> str:
    folder = load_task(name).folder
    paths = (path for path in folder.rglob("*") if path.is_file())
    return _digest((p for p in paths if "__pycache__" not in p.parts), folder)


def _digest(paths: Iterable[Path], root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(f"{path.relative_to(root)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@cache
def check_version(name: str) -> str:
    """Return the digest of all that decides a verdict: the checks and the code they use."""
    task = load_task(name).folder
    judging = Path(__file__).parent
    stubs = TASKS.parent / "trials" / "stubs"
    paths = [task / "check.py", task / "task.toml"]
    paths += [*judging.rglob("*.py"), *stubs.rglob("*.py")]
    return _digest(paths, TASKS.parent)[:_VERSION_CHARACTERS]


def read_prompt(task: Task) -> str:
    return (task.folder / "prompt.md").read_text()


def _contradictions(task: Task) -> Iterator[str]:
    for index, wrong in enumerate(task.wrong):
        for name in (wrong.fails, *wrong.also_fails, *wrong.not_judged):
            if name not in task.checks:
                hint = nearest(name, task.checks)
                yield f"wrong[{index}]: unknown check {name!r}{hint}"
        if not (wrong.edits or wrong.writes or wrong.removes):
            yield f"wrong[{index}]: changes nothing; give edits, writes or removes"
    failing = {wrong.fails for wrong in task.wrong}
    for check in task.checks:
        if check not in failing:
            yield f"checks.{check}: no wrong solution shows that it can fail"


class KnownWork(NamedTuple):
    """A workspace and a transcript whose verdict is known."""

    workspace: Path
    transcript: Path


def no_op(folder: Path) -> KnownWork:
    """An empty workspace, and an empty transcript."""
    work = KnownWork(folder / "workspace", folder / TRAJECTORY)
    work.workspace.mkdir()
    work.transcript.touch()
    return work


def seed_only(task: Task, folder: Path) -> KnownWork:
    """The seed as the agent finds it, and an empty transcript."""
    work = no_op(folder)
    shutil.copytree(task.seed, work.workspace, dirs_exist_ok=True)
    return work


def reference_solution(task: Task, folder: Path) -> KnownWork:
    """The solution, with the transcript that was written for it."""
    work, solution = no_op(folder), task.folder / "solution"
    shutil.copytree(solution / "workspace", work.workspace, dirs_exist_ok=True)
    shutil.copy(solution / TRAJECTORY, work.transcript)
    return work


def mutated_solution(task: Task, wrong: Wrong, folder: Path) -> KnownWork:
    """The solution, changed as `wrong` says; MeasureError where that no longer applies."""
    work = reference_solution(task, folder)
    for edit in wrong.edits:
        own = work.workspace / edit.file
        place = work.transcript if edit.file == TRAJECTORY else own
        text = place.read_text() if place.is_file() else ""
        if edit.old not in text:
            raise MeasureError(
                f"{task.id}/task.toml: {edit.file} does not contain {edit.old!r}"
            )
        place.write_text(text.replace(edit.old, edit.new))
    for name, text in wrong.writes.items():
        (work.workspace / name).write_text(text)
    for name in wrong.removes:
        (work.workspace / name).unlink()
    return work
