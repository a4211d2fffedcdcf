"""Which keys are found in code, and that they are never quoted."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from tests.trials.checks.made import source

from llamatrix.trials.checks.keys import hard_coded_keys, literal_key_lines
from llamatrix.trials.checks.sources import read_sources

KEY = "a1b2c3d4e5f6g7h8i9"
Written = Callable[[Mapping[str, str]], Path]


@pytest.mark.parametrize(
    "text",
    [
        f"API_KEY = '{KEY}'",
        f"api_key: str = '{KEY}'",
        f"genai.Client(api_key='{KEY}')",
        f"os.environ['GEMINI_API_KEY'] = '{KEY}'",
        f"os.environ.setdefault('GEMINI_API_KEY', '{KEY}')",
        f"os.getenv('GEMINI_API_KEY', '{KEY}')",
        f"config = {{'api_key': '{KEY}'}}",
        f"def make(prompt, api_key='{KEY}'):\n    pass",
    ],
)
def test_a_key_written_out_is_found_however_it_is_given(text: str) -> None:
    assert literal_key_lines(source(text)) == (1,)


@pytest.mark.parametrize(
    "text",
    [
        "API_KEY = os.environ['GEMINI_API_KEY']",
        "API_KEY = 'your-api-key-goes-here'",
        "genai.Client(api_key='test')",
        "MODEL = 'gemini-3.1-flash-image-preview'",
        "os.getenv('GEMINI_API_KEY', '')",
    ],
)
def test_a_placeholder_is_no_key(text: str) -> None:
    assert literal_key_lines(source(text)) == ()


def test_the_runs_own_key_is_found_in_any_text_file_and_not_quoted(
    written: Written,
) -> None:
    folder = written({"run.sh": "#!/bin/sh\nexport K=plain-secret\n", "a.py": ""})
    found = hard_coded_keys(folder, read_sources(folder), ["plain-secret"])
    assert found == ("run.sh, line 2",)


def test_what_has_the_shape_of_a_google_key_is_found_under_any_name(
    written: Written,
) -> None:
    folder = written({"a.py": f"x = 'AIza{'b' * 35}'"})
    assert hard_coded_keys(folder, read_sources(folder), []) == ("a.py, line 1",)


def test_a_key_in_dot_env_is_not_in_the_code(written: Written) -> None:
    folder = written({".env": f"GEMINI_API_KEY=AIza{'b' * 35}", "a.py": ""})
    assert hard_coded_keys(folder, read_sources(folder), []) == ()
