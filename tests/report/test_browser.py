"""The page in a real browser: no error, no request, tables that sort, folds that open."""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from platformdirs import user_cache_dir
from tests.report.made_sweep import sweep
from tests.report.test_html import written

_BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
_DRIVER = shutil.which("chromedriver")
_AXE = "4.10.3"
_FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--window-size=390,844"),
]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (_BROWSER and _DRIVER), reason="chromium or chromedriver not installed"
    ),
]


class Browser:
    """One session of chromedriver, over its own HTTP interface (W3C WebDriver)."""

    def __init__(self, port: int, profile: Path) -> None:
        self._client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False
        )
        options: dict[str, object] = {
            "binary": _BROWSER,
            "args": [*_FLAGS, f"--user-data-dir={profile}"],
        }
        wanted: dict[str, object] = {
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        made = self._post("/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{made['sessionId']}"

    def open(self, address: str) -> None:
        self._post(f"{self._session}/url", {"url": address})

    def run(self, script: str) -> Any:  # noqa: ANN401  (whatever JavaScript returns)
        body = {"script": script, "args": []}
        return self._post(f"{self._session}/execute/sync", body)

    def look(self, *, width: int, mode: str) -> None:
        """Emulate a screen of this width, light or dark, or paper."""
        self._devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self._devtools(
            "Emulation.setEmulatedMedia",
            media="print" if mode == "print" else "screen",
            features=[
                {
                    "name": "prefers-color-scheme",
                    "value": "dark" if mode == "dark" else "light",
                }
            ],
        )

    def _devtools(self, command: str, **params: object) -> None:
        body = {"cmd": command, "params": params}
        self._post(f"{self._session}/goog/cdp/execute", body)

    def log(self, kind: str) -> list[str]:
        entries = self._post(f"{self._session}/se/log", {"type": kind})
        return [entry["message"] for entry in entries]

    def close(self) -> None:
        self._client.delete(self._session)
        self._client.close()

    def _post(self, path: str, body: Mapping[str, object]) -> Any:  # noqa: ANN401
        answer = self._client.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()["value"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    assert _DRIVER
    with subprocess.Popen(
        [_DRIVER, "--port=0"], stdout=subprocess.PIPE, text=True
    ) as driver:
        assert driver.stdout
        found = next(
            match
            for line in driver.stdout
            if (match := re.search(r"started successfully on port (\d+)", line))
        )
        opened = Browser(int(found[1]), tmp_path_factory.mktemp("profile"))
        yield opened
        opened.close()
        driver.terminate()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    reports = tmp_path_factory.mktemp("reports")
    written(sweep(0.97), reports)
    return reports / "index.html"


@pytest.fixture(scope="session")
def axe() -> str:
    """The script of axe-core, fetched by npm into the cache of the tests."""
    folder = Path(user_cache_dir("llamatrix-tests")) / f"axe-core-{_AXE}"
    script = folder / "node_modules" / "axe-core" / "axe.min.js"
    npm = shutil.which("npm")
    if not script.exists():
        if npm is None:
            pytest.skip("axe-core: npm is not installed")
        folder.mkdir(parents=True, exist_ok=True)
        fetched = subprocess.run(
            [
                *(npm, "install", "--no-audit", "--no-fund", "--ignore-scripts"),
                *("--prefix", str(folder), f"axe-core@{_AXE}"),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if not script.exists():
            pytest.skip(f"axe-core cannot be fetched: {fetched.stderr[-200:]}")
    return script.read_text(encoding="utf-8")


@pytest.fixture
def opened(browser: Browser, page: Path) -> Browser:
    """The page as it is when it was just opened."""
    browser.open(page.as_uri())
    return browser


def test_the_page_opens_without_an_error_and_without_a_request(opened: Browser) -> None:
    assert opened.log("browser") == []
    events = [
        msgspec.json.decode(line)["message"] for line in opened.log("performance")
    ]
    addresses = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
        and event["params"]["documentURL"].startswith("file:")  # not the browser's own
    ]
    assert addresses
    outside = [one for one in addresses if not one.startswith(("file:", "data:"))]
    assert outside == []


def test_tables_sort_by_number_both_ways(opened: Browser) -> None:
    column = """
        const table = document.getElementById("summary-speed");
        return [...table.tBodies[0].rows].map((row) => Number(row.cells[1].dataset.sort));
    """
    click = """
        document.querySelectorAll("#summary-speed thead button")[1].click();
        return document.querySelectorAll("#summary-speed th[aria-sort]")[0].ariaSort;
    """
    before = opened.run(column)
    assert before != sorted(before)
    assert opened.run(click) == "ascending"
    assert opened.run(column) == sorted(before)
    assert opened.run(click) == "descending"
    assert opened.run(column) == sorted(before, reverse=True)


def test_a_number_unfolds_its_record_even_where_the_browser_does_not(
    opened: Browser,
) -> None:
    shown = opened.run(
        """
        const link = document.querySelector("#summary-speed a[href^='#rec-']");
        const row = document.getElementById(link.hash.slice(1));
        const before = row.closest("details").open;
        history.replaceState(null, "", link.hash);
        dispatchEvent(new HashChangeEvent("hashchange"));
        return [before, row.closest("details").open];
        """
    )
    assert shown == [False, True]


def test_nothing_is_wider_than_a_phone_but_what_scrolls(opened: Browser) -> None:
    width = "return [document.documentElement.scrollWidth, innerWidth];"
    content, window = opened.run(width)
    assert content <= window


LOOKS = [
    (width, mode) for width in (420, 1024, 1400) for mode in ("light", "dark", "print")
]
look = pytest.mark.parametrize(("width", "mode"), LOOKS)


@look
def test_the_page_is_not_wider_than_the_window(
    opened: Browser, width: int, mode: str
) -> None:
    opened.look(width=width, mode=mode)
    opened.open(opened.run("return location.href"))
    content, window = opened.run(
        """
        document.querySelectorAll("details").forEach((fold) => (fold.open = true));
        return [document.documentElement.scrollWidth, innerWidth];
        """
    )
    assert content <= window


def test_no_table_scrolls_on_a_laptop_even_with_every_fold_open(
    opened: Browser,
) -> None:
    opened.look(width=1400, mode="light")
    wide = opened.run(
        """
        document.querySelectorAll("details").forEach((fold) => (fold.open = true));
        return [...document.querySelectorAll(".scroll")]
          .filter((region) => region.scrollWidth > region.clientWidth + 1)
          .map((region) => region.querySelector("table").id);
        """
    )
    assert wide == []


def test_rows_are_cards_with_headings_on_a_phone(opened: Browser) -> None:
    opened.look(width=420, mode="light")
    opened.open(opened.run("return location.href"))
    row, headings = opened.run(
        """
        const row = document.querySelector("#ranking tbody tr");
        const labels = [...row.cells].slice(1).map((cell) => cell.dataset.label);
        return [getComputedStyle(row).display, labels];
        """
    )
    assert row == "block"
    assert all(headings)
    assert any(text.startswith("Generation, tokens/s") for text in headings)


def test_three_answers_stand_above_the_fold(opened: Browser) -> None:
    opened.look(width=1400, mode="light")
    bottoms = opened.run(
        """
        return [...document.querySelectorAll(".card")]
          .map((card) => card.getBoundingClientRect().bottom);
        """
    )
    assert len(bottoms) == 3
    assert max(bottoms) < 900


def test_paper_shows_conditions_and_no_single_records(opened: Browser) -> None:
    visible = """
        return ["details:not(.records) dl", "details.records table"]
          .map((place) => document.querySelector(place).checkVisibility());
        """
    opened.look(width=1024, mode="light")
    opened.open(opened.run("return location.href"))
    assert opened.run(visible) == [False, False]
    opened.look(width=1024, mode="print")
    assert opened.run(visible) == [True, False]


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_axe_finds_no_violation_on_the_page(
    opened: Browser, axe: str, mode: str
) -> None:
    opened.look(width=1400, mode=mode)
    opened.run(axe)
    opened.run(
        """
        document.querySelectorAll("details").forEach((fold) => (fold.open = true));
        axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21aa"] })
          .then((found) => (window.found = found));
        """
    )
    deadline = time.monotonic() + 60
    while (found := opened.run("return window.found?.violations")) is None:
        assert time.monotonic() < deadline, "axe-core does not end"
        time.sleep(0.2)
    assert [
        (violation["id"], violation["nodes"][0]["html"][:200]) for violation in found
    ] == []


def test_dark_and_light_are_different_and_readable(opened: Browser) -> None:
    rules = opened.run(
        """
        return [...document.styleSheets[0].cssRules]
          .filter((rule) => rule.conditionText?.includes("dark"))
          .length;
        """
    )
    assert rules == 1
