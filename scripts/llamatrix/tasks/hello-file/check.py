"""A file of given content, written and run with tools."""

import re

from llamatrix.trials.checks.check import Answer, answer, failed, passed
from llamatrix.trials.checks.evidence import Case, Evidence, Plan
from llamatrix.trials.stubs.world import World

NAME = "hello.py"
RUNS_IT = re.compile(r"^\s*(uv run )?(\S*/)?(python[\d.]*( -\w+)* )?(\S*/)?hello\.py\b")


def plan(case: Case) -> Plan:
    return Plan(script={World.REAL: case.task.expect["printed"]}, suite=())


def file_prints(evidence: Evidence) -> Answer:
    runs = [run for run in evidence.every_run if NAME in run.program.words]
    if not runs:
        return failed(f"There is no file {NAME} that runs.")
    for run in runs:
        if run.ok and run.out.strip() == evidence.task.expect["printed"]:
            return passed(f"`{run.command}` prints the line.")
    return failed(f"{NAME} does not print the line alone. {runs[0].trouble}")


def was_run(evidence: Evidence) -> Answer:
    """Decide by the tool's result, as it passed between agent and model."""
    text = evidence.task.expect["printed"]
    calls = [call for call in evidence.calls or () if runs_it(call.command)]
    if not calls:
        return failed(f"No tool ran {NAME}.")
    if any(call.completed and text in call.output for call in calls):
        return passed(f"A tool ran {NAME}, and it printed the line.")
    return failed(f"A tool ran {NAME}, but it did not print the line.")


def runs_it(command: str) -> bool:
    """Return whether a part of the command line runs the file."""
    return any(RUNS_IT.match(part) for part in re.split(r"[\n;]|&&|\|\|", command))


answer({"file-prints": file_prints, "was-run": was_run}, plan)
