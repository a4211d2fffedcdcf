"""A file of given text: no model can make one without a tool."""

from llamatrix.trials.checks.check import Answer, answer, failed, passed
from llamatrix.trials.checks.evidence import Case, Evidence, Plan
from llamatrix.trials.checks.sources import text_of

NAME = "hello.txt"


def plan(_case: Case) -> Plan:
    return Plan(script={}, suite=())


def has_text(evidence: Evidence) -> Answer:
    """Accept the full stop of the prompt's sentence, and space around the text."""
    path = evidence.folder / NAME
    if not path.is_file():
        return failed(f"There is no file {NAME}.")
    text = text_of(path)
    if text.strip().removesuffix(".") == evidence.task.expect["text"]:
        return passed(f"{NAME} has the text.")
    return failed(f"{NAME} has another text.")


answer({"has-text": has_text}, plan)
