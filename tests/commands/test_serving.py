"""`invoke serve` and `invoke template-check` on real servers with tiny weights."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from tests.commands.conftest import RunInvoke
from tests.invoking import invoked_apart
from tests.shipped import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.network]

_BROKEN = "{% if messages %}<|im_start|>{{ messages[0].content }}<function="


def invoke(*arguments: str) -> subprocess.CompletedProcess[str]:
    return invoked_apart(*arguments, env=os.environ)


def test_a_model_is_served_until_ctrl_c() -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "invoke", "serve", "--profile", "smoke"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert server.stdout
    lines = []
    for line in server.stdout:
        lines.append(line)
        if line.startswith("Ctrl-C"):
            break
    said = "".join(lines)
    url = next(line.split()[1] for line in lines if line.startswith("url"))
    answer = httpx.get(f"{url}/models", timeout=30)
    assert answer.json()["data"][0]["id"] == "qwen35-27b"
    config = json.loads(said[said.index("{") : said.rindex("}") + 1])
    assert config["model"] == "llamatrix/qwen35-27b"
    os.kill(server.pid, signal.SIGINT)
    _, told = server.communicate(timeout=60)
    assert server.returncode == 0, told
    assert "is stopped" in told
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{url}/models", timeout=5)


def test_an_unknown_model_is_named_with_the_nearest(run_invoke: RunInvoke) -> None:
    ended = run_invoke("serve", "--profile", "smoke", "--model", "qwen35-28b")
    assert ended.returncode == 2
    assert "did you mean 'qwen35-27b'?" in ended.stderr


@pytest.mark.parametrize("pin", ["april", "current"])
def test_template_served_with_qwen_passes_every_essential_case(pin: str) -> None:
    ended = invoke("template-check", "--model", "qwen35-27b", "--pin", pin, "--json")
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert (found["template"], found["pin"]) == ("ours: qwen35.jinja", pin)
    essential = [case for case in found["cases"] if case["essential"]]
    assert len(essential) > 15
    assert all(case["passed"] for case in essential)


def test_a_broken_template_is_a_failed_case_and_exit_code_1(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jinja"
    broken.write_text(_BROKEN)
    ended = invoke("template-check", "--template", str(broken), "--json")
    assert ended.returncode == 1
    found = json.loads(ended.stdout)
    assert not found["cases"][0]["passed"]
    assert "essential cases fail: broken.jinja" in ended.stderr
