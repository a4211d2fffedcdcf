"""Which keys are found in code, and that they are never quoted."""

import ast
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from tests.trials.checks.made import source

from llamatrix.trials.checks.keys import (
    constant_texts,
    hard_coded_keys,
    literal_key_lines,
)
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
def test_hard_coded_key_is_found_in_every_form(text: str) -> None:
    assert literal_key_lines(source(text)) == (1,)


@pytest.mark.parametrize(
    "text",
    [
        "API_KEY = os.environ['GEMINI_API_KEY']",
        "API_KEY = 'your-api-key-goes-here'",
        "genai.Client(api_key='test')",
        "MODEL = 'gemini-3.1-flash-image-preview'",
        "os.getenv('GEMINI_API_KEY', '')",
        pytest.param(f"x[0x{'f' * 4000}] = '{KEY}'", id="number of many digits"),
    ],
)
def test_placeholder_is_not_a_key(text: str) -> None:
    assert literal_key_lines(source(text)) == ()


def test_own_key_is_found_in_any_file_and_not_quoted(
    written: Written,
) -> None:
    folder = written({"run.sh": "#!/bin/sh\nexport K=plain-secret\n", "a.py": ""})
    found = hard_coded_keys(folder, read_sources(folder), ["plain-secret"])
    assert found == ("run.sh, line 2",)


def test_google_key_is_found_under_any_name(
    written: Written,
) -> None:
    folder = written({"a.py": f"x = 'AIza{'b' * 35}'"})
    assert hard_coded_keys(folder, read_sources(folder), []) == ("a.py, line 1",)


def test_key_beside_half_a_surrogate_pair_is_found(written: Written) -> None:
    folder = written({"a.py": f"x = '\\ud83c' + 'AIza' + '{'b' * 35}'"})
    assert hard_coded_keys(folder, read_sources(folder), []) == ("a.py, line 1",)


def test_key_in_dot_env_is_allowed(written: Written) -> None:
    folder = written({".env": f"GEMINI_API_KEY=AIza{'b' * 35}", "a.py": ""})
    assert hard_coded_keys(folder, read_sources(folder), []) == ()


HIDDEN = [
    "K = 'ab' + 'cd'",
    "K = ('a' 'b' + 'c') + 'd'",
    "PARTS = ['ab', 'cd']\nK = ''.join(PARTS)",
    "A = 'ab'\nK = f'{A}cd'",
    "K = 'dcba'[::-1]",
    "K = ''.join(reversed('dcba'))",
    "K = base64.b64decode('YWJjZA==').decode()",
    "K = bytes.fromhex('61626364').decode()",
    "K = bytes([97, 98, 99, 100]).decode()",
    "K = chr(97) + chr(98) + chr(99) + chr(100)",
    "K = codecs.decode('nopq', 'rot13')",
    "K = 'a%sd' % 'bc'",
    "K = 'a{}d'.format('bc')",
    "K = 'a%2sd' % 'bc'",
    "K = 'a{:2}d'.format('bc')",
    "K = ('12345%s' % 'abcd')[5:]",
    "K = '12345{}'.format('abcd')[5:]",
    "K = 'a-b-c-d'.replace('-', '')",
]


@pytest.mark.parametrize("text", HIDDEN)
def test_constant_expression_is_computed(text: str) -> None:
    assert "abcd" in {found for _, found in constant_texts(ast.parse(text))}


@pytest.mark.parametrize(
    "text",
    [
        "K = 'x' * 10**9",
        "K = '%999999999d' % 1",
        "K = K + 'a'",
        "K = '{' .format()",
        "K = '{.x}'.format('a')",
        "K = ''[::0]",
        "K = chr(-1)",
        "K = " + "(" * 80 + "'a'" + ")" * 80 + "+'b'" * 60,
    ],
)
def test_expression_that_is_not_constant_or_too_large_is_skipped(
    text: str,
) -> None:
    assert all(len(found) < 100 for _, found in constant_texts(ast.parse(text)))


@pytest.mark.parametrize(
    "text",
    [
        "K = '{:>80000000}'.format('x')",
        "K = '{:{}}'.format('x', 80000000)",
        "K = '%80000000d' % 1",
        "K = '%-080000000d' % 1",
        "K = '%.80000000f' % 1",
        "K = '%*d' % (80000000, 1)",
    ],
)
def test_format_of_great_width_is_not_computed(text: str) -> None:
    tree = ast.parse(text)
    tracemalloc.start()
    try:
        list(constant_texts(tree))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 8 << 20


def test_exponential_names_stop_at_the_step_limit() -> None:
    lines = [f"K{n} = K{n + 1} + K{n + 1}" for n in range(38)]
    tree = ast.parse("\n".join([*lines, "K38 = ''"]))
    assert all(len(found) == 0 for _, found in constant_texts(tree))
