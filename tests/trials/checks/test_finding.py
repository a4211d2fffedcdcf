"""What is said about work: verdict, redaction, and the next turn's prompt."""

import pytest

from llamatrix.redaction import redact
from llamatrix.trials.checks.finding import (
    Finding,
    Judgement,
    State,
    Verdict,
    verdict_of,
)
from llamatrix.trials.checks.judge import feedback
from llamatrix.trials.checks.task import Task

P, F, N = State.PASSED, State.FAILED, State.NOT_APPLICABLE


def finding(state: State, check: str = "tests-pass", reason: str = "") -> Finding:
    return Finding(check=check, state=state, reason=reason)


@pytest.mark.parametrize(
    ("states", "verdict"),
    [
        ((P, P), Verdict.PASSED),
        ((P, F), Verdict.FAILED),
        ((N, F), Verdict.FAILED),
        ((P, N), Verdict.UNDECIDED),
    ],
)
def test_not_applicable_check_makes_the_verdict_undecided(
    states: tuple[State, ...], verdict: Verdict
) -> None:
    assert verdict_of([finding(state) for state in states]) is verdict


def test_feedback_lists_exactly_the_failures(task: Task) -> None:
    judgement = Judgement(
        task=task.id,
        verdict=Verdict.FAILED,
        findings=(
            finding(F, "tests-pass", "1 failed, 0 passed."),
            finding(P, "prints-title", "printed"),
            finding(N, "context7-called", "not given"),
            finding(F, "no-mocks", "test_a.py: imports respx."),
        ),
    )
    text = feedback(task, judgement)
    assert (
        "- Expected: The pytest test passes under `uv run`. Found: 1 failed, 0 passed.\n"
        "- Expected: Nothing mocks the API. Found: test_a.py: imports respx.\n"
    ) in text
    assert text.count("\n- ") == 2
    assert "tests-pass" not in text


def test_feedback_is_empty_without_failures(task: Task) -> None:
    judgement = Judgement(task=task.id, verdict=Verdict.PASSED, findings=(finding(P),))
    assert feedback(task, judgement) == ""


@pytest.mark.parametrize(
    "secret", ["AIza" + "x" * 35, "sk-" + "a" * 20, "hf_" + "b" * 30, "our-own-secret"]
)
def test_secret_is_redacted_everywhere(secret: str) -> None:
    text = redact(f"key={secret}; {secret}", ["our-own-secret", "our-own"])
    assert text == "key=[redacted]; [redacted]"


def test_key_after_an_escaped_line_end_is_redacted() -> None:
    assert redact(f"one\\nsk-{'a' * 20}\\n") == "one\\n[redacted]\\n"


def test_words_that_resemble_keys_are_kept() -> None:
    text = "task-check asks for sk-learn; AIza is a prefix; ab"
    assert redact(text, ["ab"]) == text
