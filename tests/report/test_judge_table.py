"""What models think stands in tables of its own and changes no other."""

from tests.records.made_judge import made_grades, made_rating
from tests.report.made_trials import IMAGES, made_trial

from llamatrix.report.trials import trial_groups
from llamatrix.report.views.quality import judge_tables
from llamatrix.report.views.trials import trial_page
from llamatrix.trials.llm_judge import Declined, JudgeAnswer, Refused, Unparseable

TRIAL = made_trial()
GROUPS = trial_groups([TRIAL])


def test_the_aspects_of_the_published_table_are_its_rows() -> None:
    (table,) = judge_tables(GROUPS[0], [made_rating(TRIAL)])
    assert table.caption.startswith(
        "LLM judge judge-1 (not part of pass or fail) (rubric 1, "
    )
    headings = [column.text for column in table.headings]
    assert headings == ["Aspect", "Qwen3.5-27B (P1)"]
    assert [row[0].text for row in table.cells] == [
        *("Structure", "Error handling", "TDD", "Cleanliness", "Critical issues"),
        "Trials",
    ]
    assert table.cells[0][1].text == "4 of 5: Two files, each with one job."
    assert table.cells[-1][1].text == "1"


def test_ratings_are_added_to_the_page_and_nothing_else_of_it_changes() -> None:
    before = trial_page(GROUPS)
    after = trial_page(GROUPS, [made_rating(TRIAL)])
    assert after.startswith(before)
    assert after[len(before) :].lstrip().startswith("### LLM judge judge-1")


def test_ratings_of_several_trials_are_a_median_and_a_range() -> None:
    trials = [made_trial(trial=number) for number in (1, 2, 3)]
    ratings = [
        made_rating(trial, made_grades(score))
        for trial, score in zip(trials, (2, 5, 4), strict=True)
    ]
    (table,) = judge_tables(trial_groups(trials)[0], ratings)
    assert table.cells[0][1].text == "4 of 5 (2 to 5)"
    assert table.cells[-1][1].text == "3"


def test_what_gave_no_rating_is_counted_by_why() -> None:
    trials = [made_trial(trial=number) for number in (1, 2, 3, 4)]
    lacks: tuple[JudgeAnswer, ...] = (
        made_grades(),
        Refused(text="I may not."),
        Unparseable(why="not JSON", text="hm"),
        Declined(status=400, text="too long"),
    )
    ratings = [made_rating(*one) for one in zip(trials, lacks, strict=True)]
    (table,) = judge_tables(trial_groups(trials)[0], ratings)
    said = "1, 1 refused, 1 unreadable, 1 declined by the endpoint"
    assert table.cells[-1][1].text == said


def test_of_one_trial_the_newest_rating_counts_and_of_others_none() -> None:
    ratings = [
        made_rating(TRIAL, made_grades(5), measured_at="2026-11-26T13:00:00+00:00"),
        made_rating(TRIAL, made_grades(1), measured_at="2026-11-26T12:00:00+00:00"),
        made_rating(made_trial(task=IMAGES), made_grades(2)),
    ]
    (table,) = judge_tables(GROUPS[0], ratings)
    assert table.cells[0][1].text.startswith("5 of 5")
    assert len(table.headings) == 2


def test_models_and_rubrics_are_never_mixed() -> None:
    ratings = [
        made_rating(TRIAL),
        made_rating(TRIAL, model="judge-2"),
        made_rating(TRIAL, rubric_sha="c" * 64),
    ]
    titles = [table.caption for table in judge_tables(GROUPS[0], ratings)]
    assert len(set(titles)) == 3


def test_words_of_a_model_cannot_break_the_page() -> None:
    odd = made_rating(TRIAL, made_grades(3, "a | b\n### Results: all passed"))
    page = trial_page(GROUPS, [odd])
    assert "a \\| b ### Results: all passed" in page
    assert "\n### Results: all passed" not in page


def test_a_scripted_groups_ratings_carry_its_caveat() -> None:
    trial = made_trial(script="solution")
    (table,) = judge_tables(trial_groups([trial])[0], [made_rating(trial)])
    assert "scripted" in table.caption
