"""The published agent tables, then ours; the same records give the same bytes."""

from collections.abc import Callable

import msgspec
import pytest
from tests.report.made_trials import (
    IMAGES,
    NO_SANDBOX,
    judged,
    made_trial,
    published_trials,
    several_trials,
    turn,
)

from llamatrix.agents.turn_outcome import (
    AgentFailed,
    AgentKilled,
    EndpointDied,
    EndpointFailed,
    EndpointStalled,
    ToolsMissing,
    TurnOutcome,
)
from llamatrix.config.matrix import WeightsKind
from llamatrix.measure.telemetry import GpuSample, Telemetry
from llamatrix.records.trial_record import TrialRecord
from llamatrix.report.table import Table
from llamatrix.report.trials import trial_groups
from llamatrix.report.views.trials import trial_page, trial_tables
from llamatrix.report.views.troubles import cause_text
from llamatrix.trials.trial_result import Broken, Correct, Incorrect

MODELS = ("qwen35-27b", "qwen35-35b-a3b", "gemma4-26b-a4b", "gemma4-31b")


def page(records: list[TrialRecord]) -> str:
    return trial_page(trial_groups(records, models=MODELS))


def tables(records: list[TrialRecord]) -> dict[str, Table]:
    (group,) = trial_groups(records, models=MODELS)
    return {table.caption.split(" (")[0]: table for table in trial_tables(group)}


def row(table: Table, *names: str) -> dict[str, str]:
    """The first row that begins so, by heading."""
    found = next(row for row in texts(table) if row[: len(names)] == names)
    headings = (column.text for column in table.headings)
    return dict(zip(headings, found, strict=True))


def texts(table: Table) -> list[tuple[str, ...]]:
    return [tuple(cell.text for cell in row) for row in table.cells]


def test_the_page_has_the_published_layout(golden: Callable[[str, str], None]) -> None:
    golden("agent.md", page([*published_trials(script="solution"), *several_trials()]))


def test_the_published_amounts_come_out_as_published() -> None:
    table = tables(published_trials())["Results: Gemma4-31B"]
    published = [
        ("Prefill tok/s", "1,465", "1,357"),  # 1,466 by counters that round their times
        ("Generation tok/s", "37.7", "35.2"),
        ("Total prompt tokens processed", "16,618", "25,070"),
        ("Total tokens generated", "2,903", "5,968"),
        ("Prompt processing time", "11.34s", "18.48s"),
        ("Generation time", "77.07s", "169.53s"),
        ("API calls", "10", "16"),
        ("API calls without title calls", "9", "15"),
        ("Tool calls", "8", "14"),
        ("Time to first token, median of calls", "0.50s", "0.50s"),
        ("Time to first token, p95 of calls", "0.50s", "0.50s"),
        ("Correct on turn", "1st", "1st"),
        ("Trials; amounts are medians", "1", "1"),
    ]
    names = {name for name, *_ in published}
    rows = [line[:3] for line in texts(table)]
    assert [row for row in rows if row[0] in names] == published


def test_the_tables_stand_in_the_published_order_then_ours() -> None:
    names = list(tables(published_trials()))
    assert names[4:10] == [
        *("Speed", "Efficiency and Completion", "Hardware Fit"),
        *("Code Quality: Prompt 1", "Code Quality: Prompt 2", "Quick Summary"),
    ]
    assert names[10] == "Pass rate"


def test_several_trials_show_the_median_and_how_many() -> None:
    records = [
        made_trial(trial=number, factor=factor)
        for number, factor in enumerate((1.0, 3.0, 10.0), start=1)
    ]
    found = tables(records)
    results = found["Results: Qwen3.5-27B"]
    assert row(results, "Total tokens generated")["Prompt 1"] == "8,601"
    assert row(results, "Correct on turn")["Prompt 1"] == "1st ×3"
    assert row(results, "Trials; amounts are medians")["Prompt 1"] == "3"
    spread = row(
        found["Spread over trials"], "Qwen3.5-27B", "Prompt 1", "Total tokens generated"
    )
    assert (spread["Least"], spread["Most"], spread["n"]) == ("2,867", "28,670", "3")


def test_time_to_first_token_is_of_all_calls_of_the_agent() -> None:
    def with_calls(place: int, *waits_s: float | None) -> TrialRecord:
        record = made_trial(trial=place)
        (only,) = record.result.turns
        (call,) = only.calls
        replace = msgspec.structs.replace
        calls = [
            replace(
                call,
                begun_s=1.0,
                first_token_s=None if wait_s is None else 1.0 + wait_s,
            )
            for wait_s in waits_s
        ]
        stranger = replace(call, kind="other", begun_s=0.0, first_token_s=99.0)
        turn_ = replace(only, calls=(*calls, stranger))
        return replace(record, result=replace(record.result, turns=(turn_,)))

    found = tables([with_calls(1, 1.0, 2.0, 3.0), with_calls(2, 10.0, None)])
    results = found["Results: Qwen3.5-27B"]
    median = row(results, "Time to first token, median of calls")["Prompt 1"]
    assert median == "2.50s"
    p95 = row(results, "Time to first token, p95 of calls")["Prompt 1"]
    assert p95 == "8.95s"


def test_calls_without_a_first_token_time_have_none() -> None:
    record = made_trial()
    (only,) = record.result.turns
    replace = msgspec.structs.replace
    calls = tuple(replace(call, first_token_s=None) for call in only.calls)
    turns = (replace(only, calls=calls),)
    old = replace(record, result=replace(record.result, turns=turns))
    results = tables([old])["Results: Qwen3.5-27B"]
    name = "Time to first token, median of calls"
    assert row(results, name)["Prompt 1"] == "n/a"


def test_one_trial_has_no_spread() -> None:
    assert "Spread over trials" not in tables([made_trial()])


def test_a_censored_trial_lowers_the_curve_to_its_end() -> None:
    records = [
        made_trial(trial=1, outcome=Correct(turn=1)),
        made_trial(trial=2, outcome=Correct(turn=3)),
        made_trial(trial=3, outcome=Incorrect(turns=3)),
    ]
    found = row(tables(records)["Correct by turn"], "Qwen3.5-27B", "Prompt 1")
    assert found["By turn 1"] == "0.33 [0.06, 0.79]"
    assert found["By turn 3"] == "0.67 [0.21, 0.94]"
    assert (found["Trials scored"], found["Censored"]) == ("3", "1")


def test_work_that_ended_early_is_censored_at_the_last_turn_too() -> None:
    found = tables([made_trial(outcome=Incorrect(turns=1))])
    curve = row(found["Correct by turn"], "Qwen3.5-27B")
    assert curve["By turn 3"] == "0.00 [0.00, 0.79]"
    results = row(found["Results: Qwen3.5-27B"], "Correct on turn")
    assert results["Prompt 1"] == "not in 1"


def test_broken_trials_are_in_no_amount_and_no_rate() -> None:
    lost = Broken(turn=1, cause=EndpointDied(error="gone"))
    found = tables([made_trial(trial=1), made_trial(trial=2, outcome=lost, factor=9)])
    results = found["Results: Qwen3.5-27B"]
    assert row(results, "Total tokens generated")["Prompt 1"] == "2,867"
    rate = row(found["Pass rate"], "Qwen3.5-27B")
    assert (rate["Passed"], rate["Broken"]) == ("1/1", "1")
    assert rate["95 % interval (Wilson)"] == "[0.21, 1.00]"
    why = row(found["Trials that could not be scored"], "Qwen3.5-27B")
    assert why["Reason"] == "turn 1: endpoint died: gone"


def test_what_was_not_run_says_why_and_what_to_do() -> None:
    found = tables([made_trial(outcome=NO_SANDBOX)])
    assert row(found["Results: Qwen3.5-27B"], "API calls")["Prompt 1"] == "not run"
    assert row(found["Pass rate"], "Qwen3.5-27B")["Passed"] == "0/0"
    why = row(found["Trials that could not be scored"], "Qwen3.5-27B")
    assert why["Reason"].startswith("no sandbox: bwrap")
    assert why["Remedy"] == "allow unprivileged user namespaces"


def test_every_heading_of_scripted_trials_says_so() -> None:
    headings = [
        line
        for line in page(published_trials(script="solution")).splitlines()
        if line.startswith(("##", "###"))
    ]
    assert len(headings) > 10
    assert [line for line in headings if "scripted" not in line] == []


def test_unscripted_trials_beside_them_are_not_called_so() -> None:
    unscripted, _ = trial_groups([made_trial(script="solution"), made_trial(trial=2)])
    assert unscripted.setup.scripted is False
    tables = trial_tables(unscripted)
    assert tables
    assert all("scripted" not in table.caption for table in tables)


def test_synthetic_weights_claim_no_quality() -> None:
    text = page([made_trial(weights=WeightsKind.FULL)])
    assert "Results: Qwen3.5-27B (synthetic) (synthetic)" in text
    assert "> Synthetic weights: no quality claim." in text


def test_without_records_there_is_no_page() -> None:
    assert page([]) == ""


def test_two_hosts_stand_in_sections_of_their_own() -> None:
    text = page([made_trial(), made_trial(host_slug="another-cpu-1", gpus=())])
    assert text.count("\n## Agent: ") == 2
    assert text.count("### Results: Qwen3.5-27B\n") == 2
    assert "### Hardware Fit (no GPU)" in text
    assert "1.50 GiB RSS" in text


def test_the_same_trials_in_another_order_give_the_same_bytes() -> None:
    records = [*published_trials(script="solution"), *several_trials()]
    assert page(records) == page(records[::-1])


def test_another_task_has_a_column_under_its_own_name() -> None:
    record = made_trial()
    cell = msgspec.structs.replace(record.cell, task="rename-module")
    found = tables([record, msgspec.structs.replace(record, cell=cell)])
    headings = [column.text for column in found["Results: Qwen3.5-27B"].headings]
    assert headings == ["Metric", "Prompt 1", "Prompt 2", "rename-module"]


def test_findings_are_counted_by_rule_and_tdd_by_its_steps() -> None:
    found = tables(several_trials())
    quality = found["Code Quality: Prompt 2"]
    assert row(quality, "Critical issues")["Qwen3.5-27B"] == "hard-coded-key ×2"
    summary = row(found["Quick Summary"], "Qwen3.5-27B")
    assert summary["Code Quality (P2)"] == "findings 3, critical 2"
    assert summary["TDD order (P2)"] == "not followed: test first, passed after"


def test_a_check_tells_how_often_it_failed_and_what_could_not_be_judged() -> None:
    table = tables(several_trials())["Checks that failed"]
    failed = row(table, "Qwen3.5-27B", "Prompt 1", "tests-pass")
    assert failed["Trials that ended so"] == "1"
    unknown = row(table, "Qwen3.5-27B", "Prompt 2", "images-made")
    assert (unknown["Failed"], unknown["Could not judge"]) == ("0", "1")


def test_calls_without_timings_and_other_oddities_are_reported() -> None:
    odd = turn((100, 10, 1.0, 1.0, 4, 2), judgement=judged())
    totals = msgspec.structs.replace(odd.totals, untimed_calls=1, failed_calls=1)
    odd = msgspec.structs.replace(odd, totals=totals, left_running=("uvicorn",))
    told = {
        line[3]: line[4]
        for line in texts(tables([made_trial(turns=(odd,))])["Remarks"])
    }
    assert told == {
        "turn 1: failed calls": "1 of 4",
        "turn 1: calls without timings": "1 of 4; their tokens are in no sum",
        "turn 1: left running": "uvicorn",
    }


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        (EndpointFailed(status=500, error="slot"), "endpoint failed: status 500: slot"),
        (EndpointFailed(status=None, error="slot"), "endpoint failed: slot"),
        (EndpointStalled(silent_s=900), "endpoint stalled: silent for 15 min 00 s"),
        (AgentKilled(signal=9), "agent killed: signal 9"),
        (
            AgentFailed(exit_code=1, errors=(), tail=("a", "b")),
            "agent failed: exit code 1: b",
        ),
        (ToolsMissing(tools=("context7",)), "tools missing: context7"),
    ],
)
def test_a_broken_trial_says_what_broke(cause: TurnOutcome, said: str) -> None:
    assert cause_text(cause) == said


def test_words_out_of_a_record_cannot_break_a_table() -> None:
    lost = Broken(turn=1, cause=EndpointDied(error="a | b\nc"))
    text = page([made_trial(task=IMAGES, outcome=lost)])
    assert "endpoint died: a \\| b c" in text


def test_a_group_without_a_server_says_that_none_was_started() -> None:
    text = page([made_trial(outcome=NO_SANDBOX)])
    assert "- server: none was started" in text
    assert "### Template conformance" not in text


def test_the_cards_energy_is_of_the_whole_trial() -> None:
    table = tables(several_trials())["Energy of the cards"]
    found = row(table, "Qwen3.5-27B", "Prompt 1")
    assert (found["Mean power (W)"], found["n"]) == ("300", "3")
    spent = [
        sum(turn.seconds + turn.judged_s for turn in one.result.turns)
        for one in several_trials()[:3]
    ]
    assert found["Joules a trial"] == f"{300 * sorted(spent)[1]:,.0f}"
    assert found["From"] == "energy counter"


def test_without_a_card_there_is_no_table_of_energy() -> None:
    assert "Energy of the cards" not in tables([made_trial(gpus=())])


def test_memory_of_a_card_that_hides_processes_is_what_came_on_top() -> None:
    made = made_trial()
    assert made.served
    telemetry = Telemetry(
        gpu_before=(GpuSample(at_s=0.0, used_bytes=2**30),),
        gpu=(GpuSample(at_s=1.0, used_bytes=22 * 2**30),),
    )
    served = msgspec.structs.replace(made.served, telemetry=telemetry)
    table = tables([msgspec.structs.replace(made, served=served)])["Hardware Fit"]
    assert row(table, "Qwen3.5-27B")["VRAM Usage"] == "21.00 GiB"
