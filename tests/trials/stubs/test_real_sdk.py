"""The real google-genai SDK against our Gemini stub."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from llamatrix import shell
from llamatrix.trials.stubs.connect_proxy import connect_proxy
from llamatrix.trials.stubs.context7_api import pages
from llamatrix.trials.stubs.request_log import read_requests
from llamatrix.trials.stubs.serving import HOSTS, Stubs, prepare, serve_stubs, trusting

pytestmark = [pytest.mark.network, pytest.mark.slow]
_INSTALL_S = 600
_RUN_S = 120
PROGRAM = """
from google import genai
from google.genai import errors, types

client = genai.Client()
model = "gemini-3.1-flash-preview"
config = types.GenerateContentConfig(response_modalities=["TEXT", "IMAGE"])
answer = client.models.generate_content(model=model, contents="a fox", config=config)
image = [part.inline_data for part in answer.parts if part.inline_data]
print("plain", image[0].mime_type, image[0].data[:4])
chat = client.chats.create(model=model)
print("chat", len(chat.send_message("a fox").parts))
for piece in client.models.generate_content_stream(model=model, contents="a fox"):
    print("stream", len(piece.parts))
print("models", [each.name for each in client.models.list()])
for kind in ({"model": "gemini-9"}, {"model": model, "api_key": "wrong"}):
    own = genai.Client(api_key=kind.pop("api_key", None))
    try:
        own.models.generate_content(contents="a fox", **kind)
    except errors.ClientError as error:
        print("error", error.code, error.status)
"""


@pytest.fixture(scope="session")
def sdk_python(user_cache: Path) -> Path:
    """A virtual environment with the SDK, made once for each user."""
    folder = user_cache / "tests" / "google-genai"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        for argv in (
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [str(python), "-m", "pip", "install", "--quiet", "google-genai"],
        ):
            ended = shell.run(argv, timeout_s=_INSTALL_S)
            assert ended.ok, ended.complaint()
        (folder / "ready").touch()
    return python


def _surroundings(stubs: Stubs, way: Mapping[str, str]) -> dict[str, str]:
    trust = trusting(stubs.tls_files.authority)
    return {"PATH": "/usr/bin:/bin", "GEMINI_API_KEY": stubs.key, **trust, **way}


def test_sdk_accepts_the_stub(sdk_python: Path, stubs: Stubs) -> None:
    with serve_stubs(stubs) as port, connect_proxy(HOSTS, port=port) as way:
        ended = shell.run(
            [str(sdk_python), "-c", PROGRAM],
            env=_surroundings(stubs, way),
            timeout_s=_RUN_S,
        )
    assert ended.ok, ended.complaint()
    assert ended.out.splitlines() == [
        "plain image/png b'\\x89PNG'",
        "chat 2",
        "stream 2",
        "models ['models/gemini-3.1-flash-preview', 'models/gemini-2.5-flash-image']",
        "error 404 NOT_FOUND",
        "error 400 INVALID_ARGUMENT",
    ]


def test_code_of_the_sdks_page_runs(sdk_python: Path, tmp_path: Path) -> None:
    """Every block of it, one after the other, against the stub."""
    (page,) = (each for each in pages() if each.id == "/googleapis/python-genai")
    program = "".join(re.findall(r"```python\n(.*?)```", page.text, re.DOTALL))
    stubs = prepare(tmp_path, models=("gemini-3.1-flash-image",))
    with serve_stubs(stubs) as port, connect_proxy(HOSTS, port=port) as way:
        ended = shell.run(
            [str(sdk_python), "-c", program],
            env=_surroundings(stubs, way),
            cwd=tmp_path,
            timeout_s=_RUN_S,
        )
    assert ended.ok, ended.complaint()
    asked = read_requests(stubs.log)
    assert [each.status for each in asked] == [200, 200, 404]
    assert (tmp_path / "lighthouse.png").read_bytes().startswith(b"\x89PNG")
    assert ended.out.splitlines()[-1].startswith("404 ")
