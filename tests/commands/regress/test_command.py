"""`invoke regress` as a user runs it, against a fake engine: words and bad days."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from tests.commands.regress.conftest import (
    Regress,
    forget_build,
    ledger_lines,
    regress_argv,
)
from tests.shipped import ROOT
from tests.waiting import wait_until

from llamatrix.project import Project
from llamatrix.stats.pairs import drawn_order

_CELL = "speed/qwen35-27b.tiny/april..current/cpu"
_SLOW = {"current": {"speed": 0.8}}


def verdicts(printed: str) -> dict[str, str]:
    return {cell["id"]: cell["verdict"] for cell in json.loads(printed)["cells"]}


@pytest.mark.usefixtures("pins")
def test_equal_speeds_are_the_same_and_exit_0(regress: Regress) -> None:
    ended = regress("--json")
    assert ended.returncode == 0, ended.stderr
    assert verdicts(ended.stdout) == {f"{_CELL}/tg32": "SAME", f"{_CELL}/pp512": "SAME"}
    assert json.loads(ended.stdout)["verdict"] == "SAME"


@pytest.mark.usefixtures("pins")
def test_a_loss_is_slower_and_exit_10_in_every_format(
    regress: Regress, tmp_path: Path
) -> None:
    files = [tmp_path / "out" / name for name in ("junit.xml", "comment.md")]
    ended = regress(
        *("--metric", "tg", "--json"),
        *("--junit", str(files[0]), "--markdown", str(files[1])),
        pins=_SLOW,
    )
    assert ended.returncode == 10, ended.stderr
    (cell,) = json.loads(ended.stdout)["cells"]
    assert cell["verdict"] == "SLOWER"
    assert cell["ratio"] == pytest.approx(0.8, rel=1e-3)
    assert cell["interval"][1] < 0.81
    assert cell["smallest_detectable"] < cell["smallest_effect"]
    assert cell["smallest_effect"] >= cell["margin"] == 0.02
    assert 'failures="1"' in files[0].read_text()
    assert '<failure type="SLOWER"' in files[0].read_text()
    assert "| SLOWER" in files[1].read_text()


@pytest.mark.usefixtures("pins")
def test_a_gain_is_faster_and_exit_0(regress: Regress) -> None:
    ended = regress("--metric", "pp", pins={"current": {"speed": 1.3}})
    assert ended.returncode == 0
    assert ended.stdout.startswith("FASTER")


@pytest.mark.usefixtures("pins")
def test_only_the_cell_that_crashes_is_broken(regress: Regress) -> None:
    ended = regress("--json", pins={"current": {"fail": {"32": "crash"}}})
    assert ended.returncode == 11
    notes = "\n".join(json.loads(ended.stdout)["cells"][0]["notes"])
    assert "crashed with exit code -6" in notes
    assert "GGML_ASSERT(false) failed" in notes
    assert verdicts(ended.stdout) == {
        f"{_CELL}/pp512": "SAME",
        f"{_CELL}/tg32": "BROKEN",
    }


def test_a_candidate_that_hangs_is_broken(pins: Project, regress: Regress) -> None:
    matrix = pins.matrix_file
    matrix.write_text(matrix.read_text().replace("timeout_s = 120", "timeout_s = 1"))
    ended = regress("--metric", "tg", pins={"current": {"fail": {"32": "hang"}}})
    assert ended.returncode == 11, ended.stderr
    assert "no end after" in ended.stdout
    lines = [line for line in ledger_lines(pins) if line["arm"] == "candidate"]
    outcomes = [line["outcome"] for line in lines]
    assert {outcome["type"] for outcome in outcomes} == {"timed-out"}  # type: ignore[index]
    assert len([line for line in lines if line["pair"]]) == 2


def test_a_candidate_that_does_not_build_is_broken_with_the_compilers_words(
    pins: Project, regress: Regress
) -> None:
    forget_build(pins, "current")
    ended = regress("--json", "--metric", "tg")
    assert ended.returncode == 11, ended.stderr
    (cell,) = json.loads(ended.stdout)["cells"]
    assert cell["verdict"] == "BROKEN"
    assert "does not build" in cell["notes"][0]
    assert "CMakeLists.txt" in cell["notes"][0]


def test_a_baseline_that_does_not_build_stops_with_exit_3(
    pins: Project, regress: Regress
) -> None:
    forget_build(pins, "april")
    ended = regress()
    assert ended.returncode == 3
    assert "april" in ended.stderr


def test_baseline_without_values_is_inconclusive_after_few_pairs(
    pins: Project, regress: Regress
) -> None:
    ended = regress("--metric", "tg", pins={"april": {"fail": {"32": "crash"}}})
    assert ended.returncode == 12
    assert len([line for line in ledger_lines(pins) if line["pair"]]) == 4


def test_identical_pins_are_compared_with_a_note(
    pins: Project, regress: Regress
) -> None:
    ended = regress("--candidate", "april", "--metric", "tg")
    assert ended.returncode == 0
    assert "both arms are the same (A/A)" in ended.stdout
    assert {line["arm"] for line in ledger_lines(pins)} == {"baseline", "candidate"}


def test_a_metric_that_one_side_lacks_is_inconclusive_with_the_reason(
    pins: Project, regress: Regress
) -> None:
    text = pins.matrix_file.read_text()
    begin = text.index("[sweeps.smoke]")
    smoke = text[begin : text.index("\n\n", begin)]
    without = smoke.replace("sweeps.smoke", "sweeps.prompts").replace("[32]", "[]")
    pins.matrix_file.write_text(f"{text}\n{without}\n")
    ended = regress("--candidate", "current,sweep:prompts", "--json")
    assert ended.returncode == 12, ended.stderr
    cells = {cell["id"]: cell for cell in json.loads(ended.stdout)["cells"]}
    prompt, generation = sorted(cells)
    assert cells[prompt]["verdict"] == "SAME"
    assert cells[generation]["verdict"] == "INCONCLUSIVE"
    assert "'prompts' of one arm has no tg test" in " ".join(cells[generation]["notes"])


def test_the_order_of_each_pair_is_drawn_from_the_seed_that_is_stored(
    pins: Project, regress: Regress
) -> None:
    regress("--metric", "tg")
    lines = ledger_lines(pins)
    (seed,) = {line["seed"] for line in lines}
    assert isinstance(seed, int)
    pairs = [line for line in lines if line["pair"]]
    assert [line["order"] for line in pairs] == list(range(1, 11))
    assert [line["arm"] for line in pairs] == [
        arm for pair in range(1, 6) for arm in drawn_order(seed, pair)
    ]


def test_rerun_measures_nothing_and_a_new_series_has_another_seed(
    pins: Project, regress: Regress
) -> None:
    first = regress("--metric", "tg", "--json")
    lines = ledger_lines(pins)
    second = regress("--metric", "tg", "--json")
    assert "nothing measured" in second.stderr
    assert ledger_lines(pins) == lines
    assert json.loads(second.stdout)["cells"] == json.loads(first.stdout)["cells"]
    regress("--metric", "tg", "--again")
    seeds = {(line["series"], line["seed"]) for line in ledger_lines(pins)}
    assert {series for series, _ in seeds} == {1, 2}
    assert len(seeds) == 2


def test_pairs_of_another_build_are_never_mixed(
    pins: Project, regress: Regress
) -> None:
    regress("--metric", "tg")
    matrix = pins.matrix_file
    matrix.write_text(
        matrix.read_text().replace("ubatch_size = 512", "ubatch_size = 256")
    )
    regress("--metric", "tg", pins=_SLOW)
    digests = [line["digest"] for line in ledger_lines(pins)]
    files = list((pins.reports / "regress").rglob("*.jsonl"))
    assert len(set(digests)) == len(files) == 2
    assert digests == sorted(digests, key=digests.index)


def test_ctrl_c_keeps_pairs_and_a_rerun_continues(
    pins: Project, regress: Regress, invoke_environment: dict[str, str]
) -> None:
    harness = subprocess.Popen(
        regress_argv("--metric", "tg"),
        cwd=ROOT,
        env={**invoke_environment, "LLAMATRIX_FAKE_BENCH": '{"delay_s": 0.3}'},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until(
        lambda: len([line for line in ledger_lines(pins) if line["pair"]]) >= 3,
        within_s=120,
    )
    os.kill(harness.pid, signal.SIGINT)
    _, said = harness.communicate(timeout=30)
    assert harness.returncode == 130
    assert "the same command goes on from there" in said
    kept = ledger_lines(pins)
    rerun = regress("--metric", "tg")
    assert rerun.returncode == 0, rerun.stderr
    lines = ledger_lines(pins)
    assert lines[: len(kept)] == kept
    processes = [(line["pair"], line["arm"]) for line in lines if line["pair"]]
    assert len(processes) == len(set(processes))
    whole = [pair for pair, arm in processes if (pair, "candidate") in processes]
    assert 5 <= len(set(whole)) <= 6


def test_a_dry_run_says_the_plan_and_measures_nothing(
    pins: Project, regress: Regress
) -> None:
    ended = regress("--dry-run")
    assert ended.returncode == 0
    assert "looks after 5, 8, 12 pairs" in ended.stderr
    assert not ledger_lines(pins)
    regress("--metric", "tg")
    after = regress("--dry-run", "--metric", "tg")
    assert "5 earlier pairs" in after.stderr


@pytest.mark.usefixtures("pins")
def test_plan_is_printed_before_the_first_pair(regress: Regress) -> None:
    said = regress("--metric", "tg").stderr
    assert "would see a loss of" in said
    assert "budget 20 min" in said


def test_a_spent_budget_is_inconclusive_and_says_what_is_missing(
    pins: Project, regress: Regress
) -> None:
    ended = regress("--metric", "tg", "--budget", "0s")
    assert ended.returncode == 12
    assert "the budget ended after 0 complete pairs; its next look needs 5" in (
        ended.stdout
    )
    assert {line["pair"] for line in ledger_lines(pins)} == {0}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--candidate", "curent"), "did you mean 'current'?"),
        (("--candidate", "opencode:1.2"), "unknown kind 'opencode'"),
        (("--candidate", "endpoint:x"), "--candidate 'endpoint:x': not in matrix.toml"),
        (
            ("--candidate", "draft:mpt-1"),
            "--candidate 'draft:mpt-1': not in matrix.toml; did you mean 'mtp-1'?",
        ),
        (
            ("--candidate", "draft:mtp-1"),
            "draft: one arm names a draft, so the other must name one too",
        ),
        (("--candidate", "../llama.cpp"), "no folder with llama.cpp's source"),
        (("--candidate", "b1234"), "known builds: b8643"),
        (("--candidate", "build:gpu"), "--candidate 'build:gpu': not in matrix.toml"),
        (("--candidate", "pin:april,pin:june"), "names two pins"),
        (("--candidate", "agent:april"), "'agent:april': only with --agent"),
        (("--candidate", ""), "--candidate: missing; name both arms"),
        (("--metric", "ttft"), "--metric 'ttft': not known"),
        (("--candidate", "current,server:smoke"), "llama-bench has no server"),
        (("--candidate", "template:vendor"), "give a recorded session as --replay"),
        (("--budget", "soon"), "--budget 'soon' is no duration"),
        (("--cells", "*none*"), "--cells '*none*' matches no cell"),
        (("--max-background-load", "120"), "expected a number from 0 to 100"),
    ],
)
@pytest.mark.usefixtures("pins")
def test_a_mistake_is_one_line_and_exit_code_2(
    regress: Regress, arguments: tuple[str, ...], said: str
) -> None:
    ended = regress(*arguments)
    assert ended.returncode == 2
    assert said in ended.stderr.splitlines()[-1]


def test_no_line_of_a_ledger_holds_a_path(pins: Project, regress: Regress) -> None:
    regress("--metric", "tg")
    text = json.dumps(ledger_lines(pins))
    assert str(pins.cache) not in text
    assert str(ROOT) not in text


def test_help_groups_the_flags(regress: Regress) -> None:
    ended = regress("--help")
    for group in ("Arms", "Subject", "Models", "Measure", "Output"):
        assert f"{group} " in ended.stdout
