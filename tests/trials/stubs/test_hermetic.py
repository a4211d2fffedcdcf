"""In a real sandbox without a network: uv finds its packages, Context7 its pages."""

import json
import sys
import time
from pathlib import Path

import pytest
from tests.shipped import ROOT

from llamatrix.agents.context7 import FOLDER, context7_server
from llamatrix.config.load import load_matrix
from llamatrix.config.lock import load_lock, locked_npm
from llamatrix.provision.compiler import find_tool
from llamatrix.provision.npm import node_program
from llamatrix.provision.npm_tree import provide_pinned_tree
from llamatrix.provision.programs import find_bwrap
from llamatrix.provision.python import provide_wheels
from llamatrix.sandbox.forwarding import forwarding
from llamatrix.sandbox.session import open_sandbox
from llamatrix.sandbox.spec import HOME, TOOLS, SandboxSpec, inside_path
from llamatrix.sandbox.workspace_archive import pack
from llamatrix.trials.stubs.request_log import read_requests
from llamatrix.trials.stubs.serving import services
from llamatrix.trials.stubs.wheel_index import LOCKED, indexed

pytestmark = [pytest.mark.network, pytest.mark.slow]
CONTEXT7, PACKAGES = 8101, 8102
LIMIT_S = 300
MESSAGES = (
    {
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    },
    {"method": "notifications/initialized"},
    {
        "id": 2,
        "method": "tools/call",
        "params": {
            "name": "query-docs",
            "arguments": {"libraryId": "/astral-sh/uv", "query": "run"},
        },
    },
)


def sandbox(cache: Path, pin: str) -> SandboxSpec:
    locked = locked_npm(
        load_matrix(ROOT / "matrix.toml"),
        load_lock(ROOT / "matrix.lock"),
        "context7",
        pin,
    )
    folder = provide_pinned_tree("context7", pin, locked, root=ROOT, cache=cache)
    uv, node = find_tool("uv"), node_program()
    assert uv
    assert node
    return SandboxSpec(
        bwrap=find_bwrap(cache),
        ports=(CONTEXT7, PACKAGES),
        tools={"uv": uv, "node": node},
        shown={FOLDER: folder},
    )


def said_inside(box: SandboxSpec, command: str, cache: Path, folder: Path) -> list[str]:
    """Run a shell command with both services in reach; what it prints.

    The wheels are for the Python that runs us, so uv has to find that one first.
    """
    (folder / "seed").mkdir()
    pack(folder / "in.tar", home={}, work=folder / "seed")
    complaints = folder / "complaints"
    complaints.touch()
    server = context7_server(api_url=f"http://127.0.0.1:{CONTEXT7}")
    job = box.job(
        ["/bin/sh", "-ec", command],
        env={
            "PATH": f"{TOOLS}:{sys.base_prefix}/bin:{inside_path()}",
            "HOME": str(HOME),
            **server.environment,
            **indexed(PACKAGES),
        },
    )
    lines: list[str] = []
    wheels = provide_wheels(LOCKED, cache)
    with (
        services(wheels=wheels, log=folder / "requests.jsonl") as ports,
        open_sandbox(box, job, complaints=complaints) as session,
        forwarding(
            tuple(zip(session.listeners, (ports.context7, ports.packages), strict=True))
        ),
    ):
        session.begin(folder / "in.tar")
        until = time.monotonic() + LIMIT_S
        while not session.over() and time.monotonic() < until:
            lines += session.hear(wait_s=0.05)
        session.finish(folder / "out.tar")
        lines += session.last_words()
    return lines


def test_uv_adds_runs_and_tests(user_cache: Path, tmp_path: Path) -> None:
    test = "import httpx, google.genai\\ndef test_it(): assert httpx.codes.OK == 200"
    command = (
        "uv init --bare; uv add httpx google-genai; uv add --dev pytest; "
        f"printf '{test}' >test_it.py; uv run pytest -q; "
        "uv run --no-project --with pillow python -c 'import PIL; print(PIL.__name__)'"
    )
    box = sandbox(user_cache, "april")
    lines = said_inside(box, command, user_cache, tmp_path)
    assert any(line.startswith("1 passed") for line in lines), lines
    assert lines[-1] == "PIL"
    asked = read_requests(tmp_path / "requests.jsonl")
    assert {each.status for each in asked} == {200}
    assert "warning" not in (tmp_path / "complaints").read_text()


@pytest.mark.parametrize("pin", ["april", "current"])
def test_context7_returns_the_stubs_page_in_a_sandbox(
    user_cache: Path, tmp_path: Path, pin: str
) -> None:
    """As the agent's configuration starts it, over standard input and output."""
    text = "\n".join(json.dumps({"jsonrpc": "2.0", **each}) for each in MESSAGES)
    server = context7_server(api_url=None)
    command = (
        f"(cat <<'END'\n{text}\nEND\nwhile [ ! -e answered ]; do sleep 0.1; done) | "
        f"{' '.join(server.argv)} | while read -r line; do printf '%s\\n' \"$line\"; "
        'case "$line" in *\'"id":2\'*) touch answered;; esac; done'
    )
    box = sandbox(user_cache, pin)
    lines = said_inside(box, command, user_cache, tmp_path)
    (answer,) = (
        each for each in map(json.loads, filter(None, lines)) if each.get("id") == 2
    )
    assert answer["result"]["content"][0]["text"].startswith("# uv\n")
    (asked,) = read_requests(tmp_path / "requests.jsonl")
    assert (asked.path, asked.status) == ("/v2/context", 200)
