"""Synthetic ratings of synthetic trials."""

from llamatrix.records.judge_record import (
    JudgeRecord,
    JudgeRequest,
    judge_cell,
    trial_name,
)
from llamatrix.records.trial_record import TrialRecord
from llamatrix.trials.llm_judge import Given, Grade, JudgeAnswer, rubric, rubric_sha256


def made_grades(
    score: int = 4, sentence: str = "Two files, each with one job."
) -> Given:
    grade = Grade(score=score, sentence=sentence)
    return Given(grades=dict.fromkeys(rubric().aspects, grade))


def made_asked(model: str = "judge-1", *, rubric_sha: str = "") -> JudgeRequest:
    return JudgeRequest(
        model=model,
        rubric=1,
        rubric_sha256=rubric_sha or rubric_sha256(),
        prompt_sha256="b" * 64,
        characters=12_000,
        cut=(),
    )


def made_rating(
    trial: TrialRecord,
    answer: JudgeAnswer | None = None,
    *,
    model: str = "judge-1",
    rubric_sha: str = "",
    measured_at: str = "2026-11-26T12:00:00.000+00:00",
) -> JudgeRecord:
    asked = made_asked(model, rubric_sha=rubric_sha)
    return JudgeRecord(
        cell=judge_cell(trial, asked),
        trial=trial_name(trial),
        request=asked,
        answer=answer or made_grades(),
        answered_by=model,
        calls=1,
        seconds=2.5,
        measured_at=measured_at,
        host=trial.host,
        made_by=trial.made_by,
    )
