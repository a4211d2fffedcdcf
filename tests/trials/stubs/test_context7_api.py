"""The back end of Context7: what a search finds, and what a library's page says."""

import ast
import json
import re
import subprocess
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from tests.shipped import ROOT

from llamatrix import shell
from llamatrix.config.load import load_matrix
from llamatrix.config.lock import load_lock, locked_npm
from llamatrix.provision.npm import node_program
from llamatrix.provision.npm_tree import provide_pinned_tree
from llamatrix.proxy.serving import address, loopback_listener, serving
from llamatrix.trials.checks.task import load_task
from llamatrix.trials.stubs.context7_api import Page, context7_api, pages

PACKAGE = "@upstash/context7-mcp"
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


@contextmanager
def serve_stubs() -> Iterator[str]:
    with loopback_listener() as listener, serving(context7_api(), [listener]):
        yield address(listener)


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with serve_stubs() as url, httpx.Client(base_url=url, trust_env=False) as ours:
        yield ours


def found(client: httpx.Client, name: str) -> list[str]:
    answer = client.get("/v2/libs/search", params={"query": "?", "libraryName": name})
    assert answer.status_code == 200
    return [each["id"] for each in answer.json()["results"]]


@pytest.mark.parametrize(
    ("name", "best"),
    [
        ("httpx", "/encode/httpx"),
        ("HTTPX", "/encode/httpx"),
        ("python httpx library", "/encode/httpx"),
        ("google-genai", "/googleapis/python-genai"),
        ("google gemini", "/googleapis/python-genai"),
        ("Google Gen AI SDK", "/googleapis/python-genai"),
        ("gemini image generation API", "/googleapis/python-genai"),
        ("nano banana", "/googleapis/python-genai"),
        ("pytest", "/pytest-dev/pytest"),
        ("uv", "/astral-sh/uv"),
    ],
)
def test_library_is_found_by_its_common_names(
    client: httpx.Client, name: str, best: str
) -> None:
    assert found(client, name)[0] == best


@pytest.mark.parametrize("name", ["react", "python", "the api docs", "uvicorn"])
def test_a_library_without_a_page_is_not_found(client: httpx.Client, name: str) -> None:
    assert found(client, name) == []


def test_search_returns_the_fields_that_the_server_prints(client: httpx.Client) -> None:
    answer = client.get("/v2/libs/search", params={"query": "", "libraryName": "uv"})
    (listing,) = answer.json()["results"]
    assert listing["versions"] == ["v0.13.9"]
    assert listing["trustScore"] >= 7
    assert listing["totalSnippets"] > 3


def test_a_librarys_page_is_plain_text_without_its_head(client: httpx.Client) -> None:
    for name in ("/encode/httpx", "/encode/httpx/v0.28.1"):
        answer = client.get("/v2/context", params={"query": "get", "libraryId": name})
        assert answer.headers["content-type"].startswith("text/plain")
        assert answer.text.startswith("# HTTPX\n")
        assert "raise_for_status" in answer.text


def test_an_unknown_library_is_a_404_that_says_what_to_do(client: httpx.Client) -> None:
    for name in ("/encode/httpx2", "httpx", ""):
        answer = client.get("/v2/context", params={"query": "x", "libraryId": name})
        assert answer.status_code == 404
        assert "resolve-library-id" in answer.json()["message"]


def test_unknown_call_is_refused(client: httpx.Client) -> None:
    assert client.get("/v2/libs/search").status_code == 400
    assert client.get("/v3/other").status_code == 404


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.id)
def test_a_page_is_short_and_its_code_is_python(page: Page) -> None:
    assert 60 <= len(page.text.splitlines()) <= 120
    blocks = BLOCK.findall(page.text)
    assert blocks
    for kind, code in blocks:
        if kind == "python":
            ast.parse(code)
        elif kind == "toml":
            tomllib.loads(code)


def test_the_libraries_of_both_prompts_have_a_page() -> None:
    ids = {page.id for page in pages()}
    assert ids >= {"/encode/httpx", "/googleapis/python-genai"}


def test_the_documented_image_models_are_served_and_accepted() -> None:
    (page,) = (each for each in pages() if each.id == "/googleapis/python-genai")
    task = load_task("gemini-images")
    accepted = {model.name for model in task.models}
    in_code = {
        name
        for _, code in BLOCK.findall(page.text)
        for name in re.findall(r"gemini-[\w.-]+-image[\w-]*", code)
    }
    assert in_code
    assert in_code <= accepted
    named = set(re.findall(r"gemini-[\w.-]+-image[\w-]*", page.text))
    assert in_code < named <= accepted | set(task.served_models)


def calls(*asked: tuple[str, dict[str, str]]) -> str:
    """A session of an MCP client, one message for each line; number 0 lists tools."""
    begin = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    }
    messages: list[dict[str, object]] = [
        {"id": "begin", "method": "initialize", "params": begin},
        {"method": "notifications/initialized"},
        {"id": 0, "method": "tools/list"},
    ]
    for number, (name, arguments) in enumerate(asked, start=1):
        call = {"name": name, "arguments": arguments}
        messages.append({"id": number, "method": "tools/call", "params": call})
    return "".join(
        json.dumps({"jsonrpc": "2.0", **message}) + "\n" for message in messages
    )


def text_of(answer: dict[str, dict[str, list[dict[str, str]]]]) -> str:
    content = answer["result"].get("content")
    return content[0]["text"] if content else json.dumps(answer["result"])


def results(argv: Sequence[str], session: str, *, url: str, last: int) -> list[str]:
    """What the server answers to each numbered message, as text, in their order.

    Its input stays open meanwhile: at the end of it the newer one ends at once.
    """
    texts: dict[int, str] = {}
    environment = {
        "PATH": "/usr/bin:/bin",
        "CONTEXT7_API_URL": url,
        "OTEL_SDK_DISABLED": "true",
    }
    with shell.started(argv, env=environment, stdin=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        with process.stdin as messages:
            messages.write(session.encode())
            messages.flush()
            for line in process.stdout:
                answer = json.loads(line)
                if isinstance(answer.get("id"), int):
                    texts[answer["id"]] = text_of(answer)
                if len(texts) > last:
                    break
    return [texts[number] for number in sorted(texts)]


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("pin", ["april", "current"])
def test_context7_server_of_each_pin_returns_the_stubs_pages(
    pin: str, user_cache: Path
) -> None:
    lock = load_lock(ROOT / "matrix.lock")
    locked = locked_npm(load_matrix(ROOT / "matrix.toml"), lock, "context7", pin)
    folder = provide_pinned_tree("context7", pin, locked, root=ROOT, cache=user_cache)
    node = node_program()
    assert node
    script = folder / "node_modules" / PACKAGE / "dist" / "index.js"
    asked = (
        ("resolve-library-id", {"libraryName": "httpx", "query": "a GET request"}),
        ("query-docs", {"libraryId": "/encode/httpx", "query": "a GET request"}),
        ("resolve-library-id", {"libraryName": "react", "query": "hooks"}),
        ("query-docs", {"libraryId": "/facebook/react", "query": "hooks"}),
    )
    argv = [str(node), str(script), "--transport", "stdio"]
    with serve_stubs() as url:
        tools, listed, page, none, unknown = results(
            argv, calls(*asked), url=url, last=4
        )
    assert "resolve-library-id" in tools
    assert "query-docs" in tools
    assert "Context7-compatible library ID: /encode/httpx" in listed
    assert "Source Reputation: High" in listed
    assert page.startswith("# HTTPX\n")
    assert "raise_for_status" in page
    assert "No libraries found" in none
    assert "Use resolve-library-id" in unknown
