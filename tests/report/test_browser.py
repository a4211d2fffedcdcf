"""The page in a real browser: no error, no request, tables that sort, folds that open."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from tests.report.made_sweep import sweep
from tests.report.test_html import written

_BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
_DRIVER = shutil.which("chromedriver")
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


@pytest.fixture
def opened(browser: Browser, page: Path) -> Browser:
    """The page as it is when it was just opened."""
    browser.open(page.as_uri())
    return browser


def test_it_opens_without_an_error_and_without_a_request(opened: Browser) -> None:
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


def test_dark_and_light_are_different_and_readable(opened: Browser) -> None:
    rules = opened.run(
        """
        return [...document.styleSheets[0].cssRules]
          .filter((rule) => rule.conditionText?.includes("dark"))
          .length;
        """
    )
    assert rules == 1
