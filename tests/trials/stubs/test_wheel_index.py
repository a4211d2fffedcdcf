"""The package index of a folder: what uv and pip get from it, and the shipped list."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.made_wheels import made_wheel

from llamatrix.errors import MeasureError
from llamatrix.proxy.serving import address, loopback_listener, serving
from llamatrix.trials.checks.task import load_task, task_ids
from llamatrix.trials.stubs.context7_api import Page, pages
from llamatrix.trials.stubs.wheel_index import LOCKED, WISHED, wheel_index

JSON = {"Accept": "application/vnd.pypi.simple.v1+json, text/html;q=0.1"}
LOCKED_VERSIONS = dict(
    re.findall(r"^([a-z0-9-]+)==(\S+)", LOCKED.read_text(), re.MULTILINE)
)


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    made_wheel(tmp_path / "wheels", "other", python="")
    return made_wheel(tmp_path / "wheels", "my_tool", python=">=3.11,<4")


@pytest.fixture
def client(wheel: Path) -> Iterator[httpx.Client]:
    with (
        loopback_listener() as listener,
        serving(wheel_index(wheel.parent), [listener]),
        httpx.Client(base_url=address(listener), trust_env=False) as ours,
    ):
        yield ours


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_projects_are_listed_by_their_normal_names(client: httpx.Client) -> None:
    assert re.findall(r'href="([^"]+)"', client.get("/simple/").text) == [
        "my-tool/",
        "other/",
    ]
    listed = client.get("/simple/", headers=JSON).json()["projects"]
    assert [each["name"] for each in listed] == ["my-tool", "other"]


@pytest.mark.parametrize("name", ["my-tool", "My_Tool", "my.tool"])
def test_listed_file_has_the_listed_hash(
    client: httpx.Client, wheel: Path, name: str
) -> None:
    page = client.get(f"/simple/{name}/")
    (href,) = re.findall(r'href="([^"]+)"', page.text)
    file, _, digest = href.partition("#sha256=")
    got = client.get(page.url.join(file)).content
    assert got == wheel.read_bytes()
    assert digest == sha256(got)
    assert 'data-requires-python="&gt;=3.11,&lt;4"' in page.text


def test_json_listing_matches_html(client: httpx.Client, wheel: Path) -> None:
    answer = client.get("/simple/my-tool/", headers=JSON)
    assert answer.headers["content-type"] == "application/vnd.pypi.simple.v1+json"
    (file,) = answer.json()["files"]
    assert file["filename"] == wheel.name
    assert file["hashes"] == {"sha256": sha256(wheel.read_bytes())}
    assert file["requires-python"] == ">=3.11,<4"
    assert file["size"] == wheel.stat().st_size
    assert client.get(answer.url.join(file["url"])).content == wheel.read_bytes()


def test_metadata_is_served_beside_the_wheel(client: httpx.Client, wheel: Path) -> None:
    page = client.get("/simple/my-tool/").text
    metadata = client.get(f"/files/{wheel.name}.metadata").content
    assert b"Name: my_tool" in metadata
    assert f'data-core-metadata="sha256={sha256(metadata)}"' in page


def test_wheel_for_any_python_has_no_requires_python(client: httpx.Client) -> None:
    assert "requires-python" not in client.get("/simple/other/").text
    (file,) = client.get("/simple/other/", headers=JSON).json()["files"]
    assert file["requires-python"] is None


@pytest.mark.parametrize(
    "path", ["/simple/none/", "/files/none.whl", "/files/..%2Fwanted.txt", "/"]
)
def test_unknown_project_or_file_is_404(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404


def test_a_folder_without_wheels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MeasureError, match="holds no wheels"):
        wheel_index(tmp_path)


def test_a_broken_wheel_is_named(wheel: Path) -> None:
    wheel.write_bytes(b"half a wheel")
    with pytest.raises(MeasureError, match=r"my_tool-1\.0.*is not a wheel"):
        wheel_index(wheel.parent)


def test_the_list_is_exact_once_for_each_name_and_has_no_address() -> None:
    text = LOCKED.read_text()
    entries = re.split(r"\n(?=\S)", text)
    assert len(entries) == len(LOCKED_VERSIONS)  # pip takes no name twice
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text


def test_every_requested_package_is_locked() -> None:
    wished = re.findall(r"^[a-z0-9-]+", WISHED.read_text(), re.MULTILINE)
    assert set(wished) <= set(LOCKED_VERSIONS)


@pytest.mark.parametrize("name", task_ids())
def test_package_of_a_tasks_solution_is_locked(name: str) -> None:
    assert set(load_task(name).packages.values()) <= set(LOCKED_VERSIONS)


PACKAGES = {
    "/encode/httpx": "httpx",
    "/googleapis/python-genai": "google-genai",
    "/pytest-dev/pytest": "pytest",
}


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.id)
def test_a_documented_library_has_the_version_that_is_installed(page: Page) -> None:
    """Else look the page over: it may tell of what is no longer so."""
    assert f"Version {page.version}" in page.text
    if package := PACKAGES.get(page.id):
        assert page.version == LOCKED_VERSIONS[package]
