"""The page: one file that references nothing outside, every link resolved, all told."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import msgspec
import pytest
from tests.records.made import made_record
from tests.report.made_sweep import made_view, on_card, stored, sweep
from tests.report.made_trials import (
    NO_SANDBOX,
    made_trial,
    published_trials,
    several_trials,
    stored_trials,
)

from llamatrix.agents.turn_outcome import EndpointDied
from llamatrix.config.cell import SpeedTest
from llamatrix.config.matrix import WeightsKind
from llamatrix.engines.outcome import OutOfMemory
from llamatrix.records.speed_record import SPEED, SpeedRecord
from llamatrix.records.store import Line, R, RecordKind
from llamatrix.records.trial_record import AGENT, TrialRecord
from llamatrix.report.formats import size_text
from llamatrix.report.inputs import RecordIndex
from llamatrix.report.pages import evidence_of, write_pages
from llamatrix.report.plots import GRID, TEXT, inline_svg
from llamatrix.report.render.html import Page, Section, render
from llamatrix.report.table import Table, number, numbers
from llamatrix.trials.trial_result import Broken

_VOID = {"meta", "link", "img", "br", "hr", "input"}


@dataclass
class Seen(HTMLParser):
    """Tags with their attributes, and which tags each stands in."""

    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    """Text and address."""

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.open[-1:] == ["a"]:
            self.links.append((data, self.tags[-1][1].get("href", "")))

    def of(self, *names: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.tags if tag in names]


def lines_of(reports: Path, kind: RecordKind[R]) -> list[Line[R]]:
    index = RecordIndex(reports)
    return [index.of(record) for record in index.read(kind)]


def written(
    records: list[SpeedRecord], reports: Path, trials: list[TrialRecord] | None = None
) -> str:
    stored(reports, records)
    stored_trials(reports, trials or [])
    view = made_view(reports)
    write_pages(view, evidence_of(view), reports)
    return (reports / "index.html").read_text()


def read_links(seen: Seen) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for text, address in seen.links:
        found.setdefault(text, set()).add(address)
    return found


def parsed(text: str) -> Seen:
    seen = Seen()
    seen.feed(text)
    seen.close()
    return seen


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page and its records are, for all who only read."""
    return tmp_path_factory.mktemp("reports")


@pytest.fixture(scope="module")
def page(reports: Path) -> Seen:
    """Two groups, one with a failure, one of another host; trials, scripted and not."""
    failed = msgspec.structs.replace(
        on_card("gemma4-31b", SpeedTest(n_prompt=4096, n_gen=0), 1.0),
        outcome=OutOfMemory(exit_code=1, tail=()),
    )
    tiny = sweep(0.1, host="another-cpu-1", gpus=(), weights=WeightsKind.TINY)
    trials = [*published_trials(script="solution"), *several_trials()]
    return parsed(written([*sweep(0.97), failed, *tiny], reports, trials))


def test_every_tag_is_closed(page: Seen) -> None:
    assert page.open == []


def test_the_page_references_nothing_outside(page: Seen) -> None:
    for tag, attributes in page.tags:
        assert tag not in {"iframe", "object", "embed", "base", "form"}
        for key in ("src", "srcset", "action", "poster", "xlink:href", "ping"):
            assert key not in attributes, (tag, attributes)
        address = attributes.get("href", "")
        assert ":" not in address.partition("#")[0] or address == "data:,"
        assert not address.startswith("/")
    text = "".join(page.texts)
    assert "@import" not in text
    assert "url(" not in text
    for attributes in page.of("path", "g", "text", "use"):
        assert "url(http" not in attributes.get("style", "")


def test_ids_are_unique(page: Seen) -> None:
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_every_link_resolves(page: Seen, reports: Path) -> None:
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = [one["href"] for one in page.of("a", "use")]
    assert len(links) > 100
    for link in links:
        if link.startswith("#"):
            assert unquote(link[1:]) in ids, link
        else:
            assert (reports / link).is_file(), link


def test_every_figure_has_a_text_alternative(page: Seen) -> None:
    ids = {attributes.get("id") for _, attributes in page.tags}
    figures = page.of("svg")
    # two plots for each group, two for each comparison; of trials where the time went,
    # and a curve for each prompt with a scored trial (the undecided one is none), and one
    # comparison, of those in which a model spoke
    # and of all models speed over correctness
    assert len(figures) == 2 * 2 + 2 * 2 + (1 + 2) + (1 + 1) + 1 + 1
    for figure in figures:
        assert figure["role"] == "img"
        assert set(figure["aria-labelledby"].split()) <= ids
    for image in page.of("img"):
        assert image["alt"]


def test_every_table_has_a_caption_and_scoped_headings(page: Seen) -> None:
    assert len(page.of("caption")) == len(page.of("table")) > 8
    assert {heading["scope"] for heading in page.of("th")} == {"col", "row"}


def test_every_number_leads_to_its_record(page: Seen, reports: Path) -> None:
    places = [(line.sha256, line.file) for line in lines_of(reports, SPEED)]
    places += [(line.sha256, line.file) for line in lines_of(reports, AGENT)]
    digests = {sha256[:16] for sha256, _ in places}
    rows = {
        one["id"].removeprefix("rec-")
        for one in page.of("th")
        if one.get("id", "").startswith("rec-")
    }
    assert rows == digests
    files = {one["href"] for one in page.of("a") if one["href"].startswith("records/")}
    assert files == {file for _, file in places}


def test_the_language_the_title_and_the_screen_are_reported(page: Seen) -> None:
    (document,) = page.of("html")
    assert document["lang"] == "en"
    named = [title for title in page.of("title") if "id" in title]
    assert len(named) == len(page.of("svg"))
    assert {"width=device-width, initial-scale=1", "light dark"} <= {
        one.get("content") for one in page.of("meta")
    }


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    first = written(sweep(), tmp_path / "one", several_trials())
    second = written(sweep(), tmp_path / "other", several_trials())
    assert first == second


def test_a_failure_and_a_finding_stand_on_the_page(page: Seen) -> None:
    text = "".join(page.texts)
    assert "out of memory" in text
    assert "3,069 / 3,037 = 1.0105" in text
    assert "say nothing about the models they are named after" in text


def test_trials_stand_in_the_summary_and_in_sections_of_their_own(page: Seen) -> None:
    agents = [one["id"] for one in page.of("section") if one["id"].startswith("a-")]
    assert len(agents) == 2
    assert agents[1] == f"{agents[0]}-scripted"
    assert "summary-agent" in {one.get("id") for one in page.of("table")}
    against = {one["id"] for one in page.of("section")}
    assert f"blog-2026-04-05-{agents[0]}" in against
    assert f"blog-2026-04-05-{agents[1]}" not in against
    assert "endpoint died: connection | reset by peer" in "".join(page.texts)


def test_everything_about_scripted_trials_says_so(tmp_path: Path) -> None:
    seen = parsed(written([], tmp_path, published_trials(script="solution")))
    sections = {one["id"] for one in seen.of("section") if one["id"].startswith("a-")}
    badges = [one for one in seen.of("span") if one.get("class") == "badge"]
    assert len(badges) == len(sections) + 1  # the legend tells what it means
    assert "".join(seen.texts).count("no quality claim") == 2  # … and the fact `speaks`


def test_a_curve_tells_its_band_and_who_was_never_correct(page: Seen) -> None:
    text = "".join(page.texts)
    assert "turn 1 0.33 (0.06 to 0.79)" in text
    assert "1 of 3 trials never" in text


def test_a_number_of_a_trial_leads_to_a_record_of_its_own_cell(tmp_path: Path) -> None:
    trials = [made_trial(), made_trial("gemma4-31b"), made_trial(task="gemini-images")]
    seen = parsed(written([], tmp_path, trials))
    lines = {
        (line.record.cell.model_key, line.record.cell.task): f"#rec-{line.sha256[:16]}"
        for line in lines_of(tmp_path, AGENT)
    }
    texts = read_links(seen)
    assert texts["2,474"] == {lines["qwen35-27b", "httpx-post"]}
    assert texts["2,189"] == {lines["qwen35-27b", "gemini-images"]}
    assert texts["77.07s"] == {lines["gemma4-31b", "httpx-post"]}


def test_a_median_names_every_record_it_was_made_of(tmp_path: Path) -> None:
    trials = [made_trial(trial=place, factor=place) for place in (1, 2, 3)]
    seen = parsed(written([], tmp_path, trials))
    rows = [f"rec-{line.sha256[:16]}" for line in lines_of(tmp_path, AGENT)]
    median = next(
        tag for tag in seen.of("a") if tag.get("title", "").startswith("2474.")
    )
    assert median["title"].endswith(" tokens/s, of 3 records")
    assert sorted(median["data-records"].split()) == sorted(rows)
    assert median["href"] == f"#{median['data-records'].split()[0]}"


def test_sizes_sort_by_their_bytes_whatever_unit_they_are_shown_in() -> None:
    sizes = (300 * 2**20, 16 * 2**30, 2**40)
    rows = tuple((str(size), number(size, size_text, "bytes")) for size in sizes)
    table = Table(caption="Sizes", columns=("Model", *numbers("Size")), rows=rows)
    section = Section(id="s", title="S", tables=(table,))
    text = render(
        Page(title="P", about="", sections=(section,), downloads=(), bibtex=""),
        sha256_of=str,
    )
    shown = re.findall(r'data-sort="(\d+)" class="number">(.*?)<', text)
    assert shown == [
        (str(300 * 2**20), "300 MiB"),
        (str(16 * 2**30), "16.00 GiB"),
        (str(2**40), "1024.00 GiB"),
    ]


def test_what_is_reported_of_a_trial_leads_to_that_trial(tmp_path: Path) -> None:
    trials = [made_trial(), made_trial(trial=77, outcome=NO_SANDBOX)]
    seen = parsed(written([], tmp_path, trials))
    _, line = lines_of(tmp_path, AGENT)
    assert read_links(seen)["77"] == {f"#rec-{line.sha256[:16]}"}


def test_without_trials_the_page_says_nothing_of_them(tmp_path: Path) -> None:
    text = written(sweep(), tmp_path)
    assert "trials.csv" not in text
    assert "summary-agent" not in text


def test_without_speeds_the_page_is_of_trials_alone(tmp_path: Path) -> None:
    text = written([], tmp_path, [made_trial()])
    assert "speed.csv" not in text
    assert 'href="turns.csv"' in text
    assert parsed(text).open == []


def test_words_out_of_a_record_cannot_become_markup(tmp_path: Path) -> None:
    record = made_record()
    named = msgspec.structs.replace(record.host, cpu_model="<script>alert(1)</script>")
    text = written([msgspec.structs.replace(record, host=named)], tmp_path)
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_a_plot_takes_its_colours_from_the_page() -> None:
    raw = (
        '<?xml version="1.0"?><svg xmlns="a" width="1pt" viewBox="0 0 1 1">'
        "<metadata>made today</metadata>"
        f'<g id="a" style="fill: {TEXT}; stroke: {GRID}"/>'
        '<use xlink:href="#a"/><path clip-path="url(#a)"/></svg>'
    )
    made = inline_svg(raw, id_="p", title="<T>", description="D")
    assert made == (
        '<svg viewBox="0 0 1 1" role="img" aria-labelledby="p-title p-desc">'
        '<title id="p-title">&lt;T&gt;</title><desc id="p-desc">D</desc>'
        '<g id="p-a" style="fill: currentColor; stroke: var(--grid)"/>'
        '<use href="#p-a"/><path clip-path="url(#p-a)"/></svg>'
    )


def test_trials_whose_server_never_began_or_was_lost_are_reported_as_broken(
    tmp_path: Path,
) -> None:
    died = Broken(turn=1, cause=EndpointDied(error="gone"))
    replace = msgspec.structs.replace
    never = replace(made_trial(outcome=died, turns=(), gpus=()), served=None)
    lost = made_trial(outcome=died, trial=2, gpus=())
    assert lost.served
    assert lost.served.memory
    memory = replace(lost.served.memory, peak_rss_bytes=None)
    lost = replace(lost, served=replace(lost.served, memory=memory))
    texts = parsed(written([], tmp_path, [never, lost])).texts
    assert texts.count("turn 1: endpoint died: gone") == 2


def test_the_page_cites_this_project_and_the_source_it_compares_with(
    tmp_path: Path,
) -> None:
    text = written(sweep(), tmp_path)
    cited = text.split('<details id="cite">')[1].split("</details>")[0]
    assert "@software{llamatrix," in cited
    assert "howpublished = {aayushgarg.dev/posts/2026-04-05-qwen35-vs-gemma4}" in cited
