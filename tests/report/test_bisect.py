"""A search in words and on the page, from its records alone."""

from pathlib import Path

import msgspec
from tests.report.made_sweep import made_view

from llamatrix.host import this_host
from llamatrix.records.bisect_record import BISECT, BisectStep
from llamatrix.records.store import Store
from llamatrix.report.pages import evidence_of, write_pages
from llamatrix.report.views.bisect import Bisection, bisection_text, bisections
from llamatrix.stats.bisection import Mark
from llamatrix.stats.verdict import Verdict

_LAST = 8
_VERDICTS = {
    Mark.BAD: Verdict.SLOWER,
    Mark.GOOD: Verdict.SAME,
    Mark.SKIPPED: Verdict.INCONCLUSIVE,
}


def step(position: int, mark: Mark, **fields: object) -> BisectStep:
    made = BisectStep(
        search="0123456789ab",
        series=1,
        repository="llama.cpp",
        good="b1",
        bad="master",
        good_commit="0" * 40,
        bad_commit=f"{_LAST}" * 40,
        last=_LAST,
        position=position,
        commit=f"{position}" * 40,
        about=f"2026-11-0{position} change {position}",
        what="speed",
        case="speed/qwen35-27b.tiny/*/cpu/*tg32",
        verdict=_VERDICTS[mark],
        mark=mark,
        ratio=0.9 if mark is Mark.BAD else None,
        interval=(0.88, 0.92) if mark is Mark.BAD else None,
        pairs=5,
        builds=1,
        build_s=60.0,
        seconds=70.0,
        host=this_host(),
        measured_at="2026-11-29T12:00:00.000+00:00",
        made_by="llamatrix 0",
    )
    return msgspec.structs.replace(made, **fields)


def found(*steps: BisectStep) -> Bisection:
    (result,) = bisections(steps)
    return result


FOUND = (
    step(8, Mark.BAD),
    step(4, Mark.GOOD),
    step(6, Mark.BAD),
    step(5, Mark.GOOD),
)


def test_one_commit_is_named_with_its_interval_and_what_it_took() -> None:
    result = found(*FOUND)
    assert result.verdict is Verdict.SLOWER
    assert result.answer == (
        "the first slow commit is 666666666666 (2026-11-06 change 6), 0.900 [0.880, "
        "0.920] of the speed of b1"
    )
    assert "good end: 4 of 8; builds: 4 in 4 min" in result.cost


def test_a_search_that_goes_on_is_inconclusive() -> None:
    result = found(*FOUND[:2])
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "one of 4 up to 888888888888" in result.answer
    assert result.answer.endswith("the same command goes on from here")


def test_a_commit_that_cannot_be_tested_leaves_a_range() -> None:
    skipped = step(5, Mark.SKIPPED, reason="does not build: no such file\nlog")
    result = found(*FOUND[:3], skipped)
    assert result.verdict is Verdict.SLOWER
    assert "one of 2 up to 666666666666" in result.answer
    assert "(1 could not be tested)" in result.answer
    assert "does not build: no such file" in bisection_text(result)
    assert "log" not in bisection_text(result)


def test_a_newer_series_replaces_the_one_before() -> None:
    newer = step(8, Mark.GOOD, series=2, ratio=0.999)
    result = found(*FOUND, newer)
    assert result.verdict is Verdict.SAME
    assert result.answer.startswith("no change: master does as well as b1, 0.999")


def test_a_faster_end_asks_whether_the_ends_were_swapped() -> None:
    result = found(step(8, Mark.GOOD, verdict=Verdict.FASTER, ratio=1.2))
    assert result.answer.endswith("were the ends swapped?")


def test_a_commit_that_runs_is_good_where_a_failure_is_searched_for() -> None:
    crash = {"verdict": Verdict.BROKEN, "ratio": None, "interval": None, "pairs": 0}
    runs = step(7, Mark.GOOD, verdict=Verdict.INCONCLUSIVE)
    result = found(step(8, Mark.BAD, reason="crashed", **crash), runs)
    assert result.verdict is Verdict.BROKEN
    assert "good    runs         777777777777" in bisection_text(result)
    assert "the first broken commit is 888888888888" in result.answer


def test_searches_are_a_section_of_the_page_with_one_table(tmp_path: Path) -> None:
    store = Store(reports=tmp_path, kind=BISECT)
    for one in FOUND:
        store.append(one)
    view = made_view(tmp_path)
    write_pages(view, evidence_of(view), tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert 'id="bisect-' in page
    assert "the first slow commit is 666666666666" in page
    assert page.count(">Bisect of llama.cpp b1..master, speed") == 1
    assert "| 666666666666" in (tmp_path / "bisect.md").read_text()
