"""A task's authored transcripts by name: its solution, and ways that take longer."""

from collections.abc import Sequence

from llamatrix.config.complaint import nearest
from llamatrix.errors import MeasureError
from llamatrix.trials.checks.task import Task
from llamatrix.trials.scripted.transcript import Step, Transcript, load_transcript

SOLUTION = "solution"


def script_of(task: Task, name: str) -> Transcript:
    """`solution`, or one that says too early that it is done (`task.toml`, scripts).

    The checks then find what is missing, and the next turn goes on with the rest.
    """
    path = task.folder / "solution" / "transcript.json"
    solution = load_transcript(path)
    if name == SOLUTION:
        return solution
    script = task.scripts.get(name)
    if script is None:
        known = (SOLUTION, *task.scripts)
        raise MeasureError(f"{task.id}: no transcript {name!r}{nearest(name, known)}")
    if script.after >= len(solution.steps):
        raise MeasureError(
            f"{task.id}/task.toml: scripts.{name}.after: {script.after} is not below "
            f"the {len(solution.steps)} steps of the solution"
        )
    return Transcript(steps=_interrupted(solution.steps, script.after, script.says))


def _interrupted(steps: Sequence[Step], after: int, says: str) -> tuple[Step, ...]:
    return (*steps[:after], Step(text=says), *steps[after:])
