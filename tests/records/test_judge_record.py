"""A rating as a line of the store, and what makes it another question."""

from pathlib import Path

import msgspec
from tests.records.made_judge import made_asked, made_rating
from tests.report.made_trials import made_trial

from llamatrix.records.judge_record import JUDGE, judge_cell
from llamatrix.records.store import Store
from llamatrix.records.trial_record import AGENT


def test_judge_record_is_stored_beside_trials(tmp_path: Path) -> None:
    trial = made_trial()
    trials, ratings = (
        Store(reports=tmp_path, kind=AGENT),
        Store(reports=tmp_path, kind=JUDGE),
    )
    trials.append(trial)
    ratings.append(made_rating(trial))
    assert list(trials.read_all()) == [trial]
    assert list(ratings.read_all()) == [made_rating(trial)]
    rest = "qwen35-27b/april/cuda/april/httpx-post.jsonl"
    assert (ratings.folder / trial.host.slug / "opinion" / rest).is_file()


def test_changed_trial_model_rubric_or_prompt_changes_the_digest() -> None:
    trial, asked = made_trial(), made_asked()
    replace = msgspec.structs.replace
    digests = {
        judge_cell(record, what).digest
        for record, what in (
            (trial, asked),
            (made_trial(trial=2), asked),
            (made_trial(measured_at="2026-11-21T12:00:00.000+00:00"), asked),
            (trial, made_asked("judge-2")),
            (trial, replace(asked, rubric_sha256="c" * 64)),
            (trial, replace(asked, prompt_sha256="c" * 64)),
        )
    }
    assert len(digests) == 6


def test_trial_record_contains_no_rating() -> None:
    assert b"opinion" not in msgspec.json.encode(made_trial())
