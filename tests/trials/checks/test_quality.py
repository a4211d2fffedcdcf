"""The fixed set of static findings, and the counts beside them."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from llamatrix.trials.checks.quality import Aspect, Quality, quality

Written = Callable[[Mapping[str, str]], Path]
CAREFUL = '''
"""Draws."""

from google import genai


def draw(client: genai.Client, prompt: str) -> bytes:
    """One image."""
    return client.models.generate_content(model="m", contents=prompt)


def main() -> None:
    """All images."""
    client = genai.Client()
    try:
        draw(client, "a fox")
    except ValueError as error:
        print(error)
'''
CARELESS = """
import base64
import os
from google import genai

def draw(prompt):
    client = genai.Client(api_key="a1b2c3d4e5f6g7h8")
    # a comment is no code
    response = client.models.generate_content(model="m", contents=prompt)
    try:
        os.mkdir("images")
    except:
        pass
    return response
"""


def rules(found: Quality, aspect: Aspect) -> set[str]:
    return {flaw.rule for flaw in found.flaws if flaw.aspect is aspect}


def test_good_code_has_no_flaws(written: Written) -> None:
    found = quality(written({"draw.py": CAREFUL, "test_draw.py": "def test_a(): pass"}))
    assert found.flaws == ()
    assert (found.scripts, found.test_files, found.functions) == (1, 1, 2)
    assert (found.documented, found.typed) == (2, 2)
    assert (found.api_calls, found.guarded_api_calls) == (1, 1)


def test_every_published_flaw_has_its_rule(written: Written) -> None:
    hello = "def main():\n    print('Hello')\n\nmain()\n"
    found = quality(written({"draw.py": CARELESS, "main.py": hello}))
    assert {"client-per-call", "dead-file"} == rules(found, Aspect.STRUCTURE)
    assert {"unguarded-api-call", "E722", "S110"} <= rules(found, Aspect.ERROR_HANDLING)
    assert {"F401", "PTH102"} <= rules(found, Aspect.CLEANLINESS)
    assert rules(found, Aspect.CRITICAL) == {"hard-coded-key"}
    assert (found.functions, found.documented, found.typed) == (2, 0, 0)
    assert (found.api_calls, found.guarded_api_calls) == (1, 0)
    assert found.code_lines == 11 + 3
    (unused,) = (flaw for flaw in found.flaws if flaw.rule == "F401")
    assert (unused.file, unused.line) == ("draw.py", 2)


def test_ruff_settings_and_noqa_of_the_agent_are_ignored(written: Written) -> None:
    files = {
        "a.py": "import os  # noqa: F401\n# ruff: noqa\n",
        "pyproject.toml": "[tool.ruff.lint]\nselect = []\n",
    }
    assert [flaw.rule for flaw in quality(written(files)).flaws] == ["F401"]


def test_syntax_error_is_a_critical_flaw(written: Written) -> None:
    found = quality(written({"a.py": "def f(:\n"}))
    assert rules(found, Aspect.CRITICAL) == {"invalid-syntax"}


def test_empty_workspace_has_no_flaws(tmp_path: Path) -> None:
    assert quality(tmp_path).flaws == ()


@pytest.mark.parametrize(
    ("body", "guarded"),
    [
        ("try:\n    httpx.get('u')\nexcept httpx.HTTPError:\n    pass", 1),
        ("try:\n    httpx.get('u')\nfinally:\n    pass", 0),
        ("try:\n    pass\nexcept OSError:\n    httpx.get('u')", 0),
        ("with httpx.Client() as client:\n    client.post('u')", 0),
    ],
)
def test_a_call_is_guarded_only_in_the_body_of_a_try_that_catches(
    written: Written, body: str, guarded: int
) -> None:
    found = quality(written({"a.py": f"import httpx\n{body}\n"}))
    assert (found.api_calls, found.guarded_api_calls) == (1, guarded)
