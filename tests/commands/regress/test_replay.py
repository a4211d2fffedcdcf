"""`invoke regress --replay` as a user runs it, against fake servers."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.commands.regress.conftest import forget_build, ledger_lines
from tests.invoking import invoked
from tests.shipped import ROOT
from tests.trials.replayed import call, record

from llamatrix.commands.flags import RegressFlags
from llamatrix.commands.regress import compare_replays
from llamatrix.measure.disturbances import Load, Mark
from llamatrix.project import Project
from llamatrix.proxy.call import CallKind
from llamatrix.stats.verdict import Verdict

Replay = Callable[..., subprocess.CompletedProcess[str]]
_SLOW = {"current": {"speed": 0.8}}


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return record(
        tmp_path / "calls", call(1, CallKind.TITLE), call(2), call(3), call(4)
    )


@pytest.fixture
def replay(
    invoke_environment: dict[str, str], pins: Project, recording: Path
) -> Replay:
    """Run `invoke regress --replay` on one model, with wishes for the fakes."""
    assert pins.cache.exists()

    def run(*arguments: str, **wishes: object) -> subprocess.CompletedProcess[str]:
        flags = {
            "--baseline": "april",
            "--candidate": "current",
            "--profile": "engines",
            "--cells": "*gemma4-31b*",
            "--max-background-load": "100",
            "--replay": str(recording),
        }
        shared = [
            verdict
            for name, value in flags.items()
            if name not in arguments
            for verdict in (name, value)
        ]
        env = {**invoke_environment, "LLAMATRIX_FAKE_REPLAY": json.dumps(wishes)}
        return invoked("regress", *shared, *arguments, env=env)

    return run


def verdicts(printed: str) -> dict[str, str]:
    return {
        cell["id"].rpartition("/")[2]: cell["verdict"]
        for cell in json.loads(printed)["cells"]
    }


def test_equal_engines_are_the_same_in_every_metric(
    pins: Project, replay: Replay
) -> None:
    ended = replay("--json")
    assert ended.returncode == 0, ended.stderr
    assert verdicts(ended.stdout) == {"pp": "SAME", "tg": "SAME", "ttft": "SAME"}
    found = json.loads(ended.stdout)
    assert [cell["unit"] for cell in found["cells"]] == ["tok/s", "tok/s", "s"]
    assert found["cells"][0]["id"].startswith(
        "replay/gemma4-31b.tiny/april..current/cpu/"
    )
    lines = ledger_lines(pins)
    assert found["processes"] == len(lines), "one process gives all three metrics"
    assert found["headline"]["ratio"] == pytest.approx(1.0, abs=0.005)
    assert found["headline"]["interval"] is not None
    assert sum(line["pair"] != 0 for line in lines) == 2 * 5


@pytest.mark.slow
def test_both_arms_get_the_very_same_tokens(pins: Project, replay: Replay) -> None:
    replay("--metric", "tg")
    lines = ledger_lines(pins)
    assert len({str(line["script"]) for line in lines}) == 1
    calls = [
        [(one["index"], one["prompt_tokens"]) for one in line["outcome"]["calls"]]  # type: ignore[index]
        for line in lines
    ]
    assert calls.count(calls[0]) == len(calls)
    assert [index for index, _ in calls[0]] == [1, 2, 3, 4]


def test_a_loss_is_slower_and_exit_10(replay: Replay) -> None:
    ended = replay("--json", pins=_SLOW)
    assert ended.returncode == 10, ended.stderr
    cells = json.loads(ended.stdout)["cells"]
    assert {cell["verdict"] for cell in cells} == {"SLOWER"}
    assert [cell["ratio"] for cell in cells] == pytest.approx([0.8] * 3, rel=1e-3)


@pytest.mark.slow
def test_lost_cache_is_slower_only_in_time_to_first_token(replay: Replay) -> None:
    ended = replay("--json", pins={"current": {"forgets": True}})
    assert ended.returncode == 10, ended.stderr
    assert verdicts(ended.stdout) == {"pp": "SAME", "tg": "SAME", "ttft": "SLOWER"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"fail": {"3": "die"}}, "candidate: call 3: died"),
        ({"fail": {"1": "refuse"}}, "candidate: call 1: refused"),
        ({"fail": {"4": "short"}}, "4 tokens generated of 5"),
        ({"starts": False}, "candidate: before the first call: not-served"),
    ],
)
def test_candidate_that_fails_in_mid_replay_is_broken(
    pins: Project, replay: Replay, wish: dict[str, object], said: str
) -> None:
    ended = replay(pins={"current": wish})
    assert ended.returncode == 11, ended.stderr
    assert said in ended.stdout
    assert len([line for line in ledger_lines(pins) if line["pair"]]) == 4


def test_a_candidate_that_does_not_build_is_broken(
    pins: Project, replay: Replay
) -> None:
    forget_build(pins, "current")
    ended = replay("--json")
    assert ended.returncode == 11, ended.stderr
    assert set(verdicts(ended.stdout).values()) == {"BROKEN"}
    assert ledger_lines(pins) == []


def test_a_baseline_that_does_not_start_stops_with_exit_4(replay: Replay) -> None:
    ended = replay(pins={"april": {"starts": False}})
    assert ended.returncode == 4
    assert "some last words" in ended.stderr


@pytest.mark.slow
def test_rerun_measures_nothing_and_again_begins_a_series(
    pins: Project, replay: Replay
) -> None:
    first = replay("--json")
    lines = ledger_lines(pins)
    second = replay("--json")
    assert "nothing measured" in second.stderr
    assert ledger_lines(pins) == lines
    assert json.loads(second.stdout)["cells"] == json.loads(first.stdout)["cells"]
    replay("--again", "--metric", "pp")
    assert {line["series"] for line in ledger_lines(pins)} == {1, 2}


@pytest.mark.slow
def test_pairs_of_another_recording_are_never_mixed(
    pins: Project, replay: Replay, recording: Path
) -> None:
    replay("--metric", "tg")
    record(recording, call(1, CallKind.TITLE), call(2), says="another ")
    ended = replay("--metric", "tg", pins=_SLOW)
    assert ended.returncode == 10, ended.stderr
    assert len({line["digest"] for line in ledger_lines(pins)}) == 2


@pytest.mark.slow
def test_prompts_that_changed_since_the_last_pairs_are_not_mixed_with_them(
    pins: Project, replay: Replay
) -> None:
    """As where a template writes the date."""
    replay("--metric", "tg", "--budget", "0s", day="Thursday")
    before = ledger_lines(pins)
    assert before
    ended = replay("--metric", "tg", day="Friday")
    assert ended.returncode == 5
    assert "--again begins a new series" in ended.stderr
    assert ledger_lines(pins) == before
    assert replay("--metric", "tg", "--again", day="Friday").returncode == 0


@dataclass(slots=True)
class Busy:
    """A machine on which others work while the sixth to eighth process run."""

    processes: int = 0

    def mark(self) -> Mark:
        self.processes += 1
        return Mark(total_s=0, busy_s=0, stolen_s=0, own_s=0, throttled=0)

    def since(self, begin: Mark) -> Load:
        del begin
        return Load(foreign_percent=50.0 if 6 <= self.processes <= 8 else 1.0)


@pytest.mark.slow
def test_disturbed_pairs_are_repeated(pins: Project, recording: Path) -> None:
    flags = RegressFlags(
        baseline="april",
        candidate="current",
        profile="engines",
        cells="*gemma4-31b*",
        metric="ttft",
        replay=str(recording),
    )
    found = compare_replays(flags, project=pins, watch=Busy())
    assert found
    (cell,) = found.judgement.cells
    assert cell.verdict is Verdict.SAME
    assert cell.comparison.left_out
    lines = ledger_lines(pins)
    disturbed = {line["pair"] for line in lines if line["disturbed"]} - {0}
    assert disturbed
    assert len({line["pair"] for line in lines} - disturbed - {0}) == 5


@pytest.mark.slow
def test_server_flags_are_compared_with_equal_pins(
    pins: Project, replay: Replay
) -> None:
    with pins.matrix_file.open("a") as matrix:
        text = pins.matrix_file.read_text()
        begin = text.index("[servers.smoke]")
        smoke = text[begin : text.index("\n\n", begin)]
        other = smoke.replace("servers.smoke", "servers.other")
        matrix.write("\n" + other.replace("ubatch_size = 512", "ubatch_size = 256"))
    ended = replay("--candidate", "april,server:other", "--json")
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["identical"] is False
    assert "/april/cpu/smoke..other/" in found["cells"][0]["id"]
    argvs = {str(line["arm"]): line["argv"] for line in ledger_lines(pins)}
    assert "256" not in argvs["baseline"]  # type: ignore[operator]
    assert "256" in argvs["candidate"]  # type: ignore[operator]


def gemma_template(folder: Path, name: str) -> str:
    path = folder / name
    path.write_text(f"<|turn>{{{{ messages }}}}{name}")
    return str(path)


@pytest.mark.slow
def test_templates_are_compared_with_prompts_of_their_own(
    pins: Project, replay: Replay, tmp_path: Path
) -> None:
    """The fake passes no case of either: nothing is new in that."""
    files = [gemma_template(tmp_path, name) for name in ("a.jinja", "b.jinja")]
    ended = replay(
        *("--metric", "ttft", "--json"),
        *("--baseline", f"april,template:{files[0]}"),
        *("--candidate", f"april,template:{files[1]}"),
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert "/april/cpu/a.jinja..b.jinja/" in found["cells"][0]["id"]
    assert found["identical"] is False
    scripts = {(line["arm"], line["script"]) for line in ledger_lines(pins)}
    assert len(scripts) == 2
    assert len({script for _, script in scripts}) == 2
    argvs = {str(line["arm"]): line["argv"] for line in ledger_lines(pins)}
    assert "b.jinja" in argvs["candidate"]  # type: ignore[operator]
    assert str(tmp_path) not in json.dumps(ledger_lines(pins))


def test_a_candidate_that_fails_template_conformance_is_broken_without_pairs(
    pins: Project, replay: Replay, tmp_path: Path
) -> None:
    """Of the baseline's template, which is in its weights, nothing is known."""
    template = gemma_template(tmp_path, "bad.jinja")
    ended = replay("--candidate", f"april,template:{template}", "--json")
    assert ended.returncode == 11, ended.stderr
    cells = json.loads(ended.stdout)["cells"]
    assert {cell["verdict"] for cell in cells} == {"BROKEN"}
    assert "bad.jinja fails essential cases" in cells[0]["notes"][0]
    assert ledger_lines(pins) == []


def test_a_dry_run_starts_no_server(pins: Project, replay: Replay) -> None:
    ended = replay("--dry-run")
    assert ended.returncode == 0, ended.stderr
    assert "4 calls" in ended.stderr
    assert ledger_lines(pins) == []
    assert not pins.logs.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--replay", "/nonexistent"), 5, "no calls.jsonl there"),
        (("--candidate", "current,sweep:smoke"), 2, "a replay has no sweep"),
        (("--candidate", "current,server:smok"), 2, "did you mean 'smoke'?"),
        (("--metric", "tps"), 2, "--metric 'tps': not known"),
        (("--candidate", "current,template:vendr"), 2, "did you mean 'vendor'?"),
    ],
)
def test_replay_with_a_wrong_flag_is_one_line(
    replay: Replay, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended = replay(*arguments)
    assert ended.returncode == code
    assert said in ended.stderr.splitlines()[-1]


def test_no_line_holds_a_path(pins: Project, replay: Replay, recording: Path) -> None:
    replay("--metric", "tg", pins={"current": {"fail": {"2": "die"}}})
    text = json.dumps(ledger_lines(pins))
    assert "died" in text
    for folder in (pins.cache, pins.root, recording, ROOT):
        assert str(folder) not in text
