"""Both services together; and real uv and pip with nothing but the index."""

import os
import socket
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx
import pytest
from tests.made_wheels import made_wheel
from tests.shipped import ROOT

from llamatrix import shell
from llamatrix.provision.compiler import find_tool
from llamatrix.provision.python import provide_wheels
from llamatrix.trials.stubs.request_log import read_requests
from llamatrix.trials.stubs.serving import services
from llamatrix.trials.stubs.wheel_index import LOCKED, indexed

NOWHERE = "http://127.0.0.1:9"
TEST = "import httpx\n\n\ndef test_it() -> None:\n    assert httpx.codes.OK == 200\n"
Runs = Callable[..., str]


def test_service_requests_are_logged(tmp_path: Path) -> None:
    made_wheel(tmp_path / "wheels", "tool")
    log = tmp_path / "logs of nobody yet" / "requests.jsonl"
    with (
        services(wheels=tmp_path / "wheels", log=log) as ports,
        httpx.Client(trust_env=False) as client,
    ):
        there = f"http://127.0.0.1:{ports.context7}"
        asked = {"libraryId": "/encode/httpx", "query": "get"}
        assert ports.pages_served() == 0
        assert client.get(f"{there}/v2/context", params=asked).is_success
        assert client.get(f"{there}/v2/context").status_code == 404
        assert ports.pages_served() == 1
        index = indexed(ports.packages)["UV_DEFAULT_INDEX"]
        assert client.get(f"{index}/tool/").is_success
        assert client.get(f"{index}/none/").status_code == 404
    assert [(each.path, each.status) for each in read_requests(log)] == [
        ("/v2/context", 200),
        ("/v2/context", 404),
        ("/simple/tool/", 200),
        ("/simple/none/", 404),
    ]
    for port in (ports.context7, ports.packages):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)


def test_log_without_requests_is_empty(tmp_path: Path) -> None:
    made_wheel(tmp_path / "wheels", "tool")
    log = tmp_path / "requests.jsonl"
    log.write_text("of another day")
    with services(wheels=tmp_path / "wheels", log=log):
        pass
    assert read_requests(log) == ()


@pytest.fixture
def surroundings(user_cache: Path, tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """The shipped index, an empty home, and no other way out of it.

    When the test is done, every file must have come from the index. Not our virtual
    environment, but the Python below it is on the PATH: uv takes what is installed
    beside the Python that it finds for as good as asked for.
    """
    log = tmp_path / "requests.jsonl"
    uv = find_tool("uv")
    assert uv
    for name in ("home", "bin"):
        (tmp_path / name).mkdir()
    (tmp_path / "bin" / "uv").symlink_to(uv)
    environment = {
        "PATH": f"{tmp_path / 'bin'}:{sys.base_prefix}/bin:/usr/bin:/bin",
        "HOME": str(tmp_path / "home"),
        "PIP_CONFIG_FILE": os.devnull,
        "HTTPS_PROXY": NOWHERE,
        "HTTP_PROXY": NOWHERE,
        "NO_PROXY": "127.0.0.1",
    }
    with services(wheels=provide_wheels(LOCKED, user_cache), log=log) as ports:
        yield {**environment, **indexed(ports.packages)}
    asked = read_requests(log)
    assert [each for each in asked if each.path.endswith(".whl")]
    assert {each.status for each in asked} == {200}


@pytest.fixture
def run(surroundings: Mapping[str, str], tmp_path: Path) -> Runs:
    folder = tmp_path / "work"
    folder.mkdir()

    def runs(*argv: str) -> str:
        ended = shell.run(argv, env=surroundings, cwd=folder, timeout_s=300)
        assert ended.ok, ended.complaint()
        return ended.out

    return runs


@pytest.mark.slow
@pytest.mark.network
def test_uv_runs_a_program_with_packages_beside_it(run: Runs) -> None:
    program = "import httpx, pytest; print(httpx.__name__, pytest.__name__)"
    packages = ("--with", "httpx", "--with", "pytest")
    assert run("uv", "run", *packages, "python", "-c", program) == "httpx pytest\n"


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("kind", ["--bare", "--app", "--build-backend=hatch"])
def test_uv_makes_a_project_and_runs_its_tests(
    run: Runs, tmp_path: Path, kind: str
) -> None:
    run("uv", "init", kind)
    run("uv", "add", "httpx")
    run("uv", "add", "--dev", "pytest")
    (tmp_path / "work" / "test_it.py").write_text(TEST)
    assert "1 passed" in run("uv", "run", "pytest", "-q")
    assert "colorama" in (tmp_path / "work" / "uv.lock").read_text()


@pytest.mark.slow
@pytest.mark.network
def test_uv_runs_a_script_that_names_its_packages(run: Runs, tmp_path: Path) -> None:
    script = tmp_path / "work" / "draw.py"
    run("uv", "init", "--script", "draw.py")
    run("uv", "add", "--script", "draw.py", "google-genai", "pillow", "python-dotenv")
    head, _, _ = script.read_text().partition("\n\n\n")
    program = (
        "from google import genai\nimport dotenv, PIL\nprint(genai.Client.__name__)"
    )
    script.write_text(f"{head}\n{program}\n")
    assert run("uv", "run", "draw.py") == "Client\n"


@pytest.mark.slow
@pytest.mark.network
def test_pip_installs_from_the_index(run: Runs) -> None:
    run(sys.executable, "-m", "venv", "own")
    run("own/bin/python", "-m", "pip", "install", "-q", "httpx[http2]")
    assert run("own/bin/python", "-c", "import h2; print(h2.__name__)") == "h2\n"


@pytest.mark.slow
@pytest.mark.network
def test_our_own_package_carries_pages_and_list(run: Runs, tmp_path: Path) -> None:
    """Built by the build back end out of the index: what is data is no module."""
    run("uv", "build", "--wheel", "--out-dir", str(tmp_path / "built"), str(ROOT))
    (built,) = (tmp_path / "built").glob("*.whl")
    carried = set(zipfile.ZipFile(built).namelist())
    folder = LOCKED.parent
    wanted = {LOCKED, LOCKED.with_suffix(".in"), *(folder / "docs").glob("*.md")}
    assert {
        f"llamatrix/trials/stubs/{path.relative_to(folder)}" for path in wanted
    } <= carried
