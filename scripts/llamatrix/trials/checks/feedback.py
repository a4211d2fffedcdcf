"""The next turn's prompt: what the checks found wrong, in plain words."""

from llamatrix.trials.checks.finding import Judgement
from llamatrix.trials.checks.task import Task


def feedback(task: Task, judgement: Judgement) -> str:
    """What is still wrong, for the model to read; empty where nothing failed."""
    if not judgement.failed:
        return ""
    lines = [
        "I checked your work and it is not finished yet. This is what I found:",
        "",
        *(
            f"- Expected: {task.checks[finding.check].promise} Found: {finding.reason}"
            for finding in judgement.failed
        ),
        "",
        "Please fix this, keep what already works, and run it again to make sure.",
    ]
    return "\n".join(lines) + "\n"
