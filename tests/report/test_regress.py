"""A comparison in its written forms: terminal, Markdown, JSON, JUnit."""

import json
from dataclasses import replace
from xml.etree import ElementTree as ET

from tests.commands.regress.found import compared, found_with

from llamatrix.report.comparison import (
    comparison_json,
    comparison_junit,
    comparison_markdown,
    comparison_text,
)
from llamatrix.stats.power import smallest_effect, upper_sd
from llamatrix.stats.sequential import Headline, SequentialTest, judge
from llamatrix.stats.verdict import Unit, Verdict

_NOTHING = judge((), unit=Unit.TOKENS_PER_S).with_notes("its sweep has no such test")
_CRASHED = replace(
    _NOTHING,
    verdict=Verdict.BROKEN,
    notes=("it does not build:\n\x1b[31merror\x1b[0m <x>",),
)
_MANY = found_with(
    same=compared(), slow=compared(0.9), crashed=_CRASHED, lacking=_NOTHING
)


def test_the_most_severe_verdict_leads_and_every_cell_has_its_own() -> None:
    lines = comparison_text(_MANY).splitlines()
    assert lines[0].startswith("BROKEN: ")
    assert any(line.startswith("SLOWER  slow  ratio 0.9000 [") for line in lines)
    assert any(line == "INCONCLUSIVE  lacking" for line in lines)
    assert "  its sweep has no such test" in lines
    assert "beyond them 2.0 % of the wall time" in lines[-1]


def test_a_change_that_holm_refuses_says_so() -> None:
    many = {f"cell{number}": compared() for number in range(400)}
    found = found_with(slow=compared(0.97), **many)
    text = comparison_text(found)
    assert "INCONCLUSIVE  slow" in text
    assert "alone SLOWER, but not among all cells tested" in text


def test_the_smallest_effect_counts_looks_and_cells() -> None:
    (cell, *_) = _MANY.judgement.cells
    estimate = cell.comparison.estimate
    assert estimate is not None
    assert estimate.sd_log is not None
    assert cell.comparison.smallest_effect(cells=4) == smallest_effect(
        sd_log=upper_sd(estimate.sd_log, values=5),
        pairs=5,
        margin=0.02,
        alpha=0.05 / 3 / 4,
    )


def test_the_headline_says_what_it_is_the_mean_of() -> None:
    mean = Headline(ratio=0.97, interval=None, sessions=1)
    benched = replace(_MANY, headline=mean)
    assert "geometric mean of 1 cell: ratio 0.9700" in comparison_text(benched)
    served = replace(benched.baseline, server="smoke")
    replayed = replace(benched, baseline=served)
    assert "geometric mean of 1 session: ratio 0.9700" in comparison_text(replayed)


def test_every_interval_names_its_level_and_what_holds_over_the_looks() -> None:
    text, document = comparison_text(_MANY), json.loads(comparison_json(_MANY))
    line = next(one for one in text.splitlines() if one.startswith("SLOWER  slow"))
    assert line.endswith("] at 98.3 %, 5 pairs")
    assert "98.3 % each, hold together in at least 95 % of comparisons" in text
    assert document["interval_level"] == 1 - 0.05 / 3
    assert "98.3 % interval" in comparison_markdown(_MANY)


def test_the_json_has_the_documented_keys_and_words_only_as_verdicts() -> None:
    document = json.loads(comparison_json(_MANY))
    assert document["verdict"] == "BROKEN"
    assert document["exit_code"] == 11
    assert document["looks"] == [5, 8, 12]
    assert [cell["verdict"] for cell in document["cells"]] == [
        *("SAME", "SLOWER", "BROKEN", "INCONCLUSIVE")
    ]
    assert document["cells"][3]["ratio"] is None
    assert sorted(words_in(document)) == ["verdict"] * 5


def words_in(document: object, key: str = "") -> list[str]:
    """The keys under which one of the five words stands."""
    if isinstance(document, dict):
        return [
            one for name, value in document.items() for one in words_in(value, name)
        ]
    if isinstance(document, list):
        return [one for value in document for one in words_in(value, key)]
    return [key] if isinstance(document, str) and document in set(Verdict) else []


def test_junit_fails_losses_and_skips_what_is_not_known() -> None:
    suite = ET.fromstring(comparison_junit(_MANY).encode())  # noqa: S314  (our own)
    assert suite.tag == "testsuite"
    counts = {key: suite.get(key) for key in ("tests", "failures", "skipped", "errors")}
    assert counts == {"tests": "4", "failures": "2", "skipped": "1", "errors": "0"}
    kinds = [failure.get("type") for failure in suite.iter("failure")]
    assert kinds == ["SLOWER", "BROKEN"]
    assert "error" in "".join(one.text or "" for one in suite.iter("failure"))


def test_the_comment_is_a_table_with_the_doubts_folded_away() -> None:
    text = comparison_markdown(_MANY)
    assert text.startswith("### Speed: BROKEN\n")
    row = next(line for line in text.splitlines() if line.startswith("| `slow`"))
    assert [part.strip() for part in row.split("|")[2:4]] == ["SLOWER", "0.9000"]
    assert "Holm across cells" in text
    assert text.index("<details>") < text.index("its sweep has no such test")


def test_without_doubts_there_is_nothing_to_unfold() -> None:
    once = replace(found_with(same=compared()), sequential=SequentialTest(looks=(5,)))
    assert "<details>" not in comparison_markdown(once)
