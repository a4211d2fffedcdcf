"""Judge a workspace: run the task's check.py in its own process, on a copy."""

import os
import shutil
import stat
import sys
from pathlib import Path

import msgspec

from llamatrix import shell
from llamatrix.errors import MeasureError
from llamatrix.redaction import redact
from llamatrix.sandbox.session import memory_file
from llamatrix.scratch import scratch_folder
from llamatrix.trials.checks.evidence import Case, encode_case
from llamatrix.trials.checks.execution_environment import ExecutionEnvironment
from llamatrix.trials.checks.finding import (
    Finding,
    Judgement,
    Kind,
    Needs,
    State,
    verdict_of,
)
from llamatrix.trials.checks.task import Task

_ROOT = Path(__file__).resolve().parents[3]
_PASSED_ON = {"TMPDIR", "LANG", "VIRTUAL_ENV"}
NOT_COPIED = {".venv", ".git", "__pycache__", "node_modules", ".pytest_cache"}
"""Files that are not the agent's work."""


def judge(
    task: Task,
    workspace: Path,
    *,
    transcript: Path | None,
    execution: ExecutionEnvironment,
) -> Judgement:
    """Judge a workspace, which is not changed, by the task's checks.

    Without a transcript, the checks that need one are not applicable. MeasureError
    where check.py itself fails.
    """
    if not workspace.is_dir():
        raise MeasureError(f"{workspace}: no such folder")
    if transcript is not None and not transcript.is_file():
        raise MeasureError(f"{transcript}: no such file")
    names = tuple(
        name
        for name, check in task.checks.items()
        if transcript is not None or check.needs is Needs.WORKSPACE
    )
    with scratch_folder("judged") as aside:
        copy = aside / "workspace"
        copy_workspace(workspace, copy)
        case = Case(
            task=task,
            workspace=str(copy),
            transcript=None if transcript is None else str(transcript.resolve()),
            execution=execution,
            checks=names,
        )
        by_check = {each.check: each for each in _answers(case, aside)}
    for name in task.checks.keys() - set(names):
        reason = "There is no trajectory."
        by_check[name] = Finding(check=name, state=State.NOT_APPLICABLE, reason=reason)

    def shown(finding: Finding) -> Finding:
        reason = redact(finding.reason, execution.secrets).replace(str(copy), ".")
        return msgspec.structs.replace(finding, reason=reason)

    findings = tuple(shown(by_check[name]) for name in task.checks)
    return Judgement(task=task.id, verdict=verdict_of(findings), findings=findings)


def copy_workspace(workspace: Path, copy: Path) -> None:
    """Copy files, folders and links (as links), and nothing else.

    MeasureError where one cannot be copied.
    """

    def left_out(folder: str, names: list[str]) -> set[str]:
        modes = {name: os.lstat(Path(folder, name)).st_mode for name in names}
        kinds = (stat.S_ISREG, stat.S_ISDIR, stat.S_ISLNK)
        plain = {n for n, mode in modes.items() if any(is_(mode) for is_ in kinds)}
        return NOT_COPIED | (set(names) - plain)

    try:
        shutil.copytree(workspace, copy, symlinks=True, ignore=left_out)
    except OSError as error:
        # shutil.Error lists the source, the copy and the error of each file
        first = error.args[0][0][2] if isinstance(error, shutil.Error) else error
        raise MeasureError(f"{workspace}: cannot be copied: {first}") from error


def _answers(case: Case, aside: Path) -> tuple[Finding, ...]:
    answers, program = aside / "answers.json", case.task.folder / "check.py"
    with memory_file("case.json", encode_case(case)) as file:  # it holds keys
        ended = shell.run(
            [sys.executable, "-B", str(program), f"/proc/self/fd/{file}", str(answers)],
            cwd=aside,
            env={
                "PYTHONPATH": str(_ROOT),
                "PATH": os.defpath,
                "HOME": str(aside),
                **{name: os.environ[name] for name in _PASSED_ON & os.environ.keys()},
            },
            timeout_s=case.task.limits.check_s,
            pass_fds=[file],
        )
    findings = _read(answers)
    if ended.limit:
        findings += tuple(
            _too_slow(case, name) for name in case.checks[len(findings) :]
        )
    if tuple(each.check for each in findings) != case.checks:
        complaint = redact(ended.complaint(), case.execution.secrets)
        raise MeasureError(
            f"{case.task.id}/check.py did not answer all checks: {complaint}"
        )
    return findings


def _read(answers: Path) -> tuple[Finding, ...]:
    try:
        lines = answers.read_bytes().splitlines()
        return tuple(msgspec.json.decode(line, type=Finding) for line in lines)
    except (OSError, msgspec.MsgspecError):
        return ()


def _too_slow(case: Case, name: str) -> Finding:
    """Return the finding for a check that the programs left no time for."""
    required = case.task.checks[name].kind is Kind.REQUIRES
    return Finding(
        check=name,
        state=State.FAILED if required else State.NOT_APPLICABLE,
        reason=f"The programs took more than {case.task.limits.check_s:.0f} s.",
    )


def feedback(task: Task, judgement: Judgement) -> str:
    """Return the next turn's prompt: what is still wrong; empty if nothing failed."""
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
