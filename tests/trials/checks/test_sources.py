"""What is read of a workspace that nobody vouches for."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from tests.trials.checks.made import source

from llamatrix.trials.checks.sources import dotted, mocks, read_sources, uses

Written = Callable[[Mapping[str, str]], Path]


def test_only_ordinary_python_files_outside_hidden_folders_are_read(
    written: Written, tmp_path: Path
) -> None:
    names = ("b.py", "pkg/a.py", ".venv/lib/x.py", "node_modules/y.py", "notes.txt")
    env = ("env/pyvenv.cfg", "env/lib/z.py")
    folder = written(dict.fromkeys((*names, *env), "x = 1"))
    (tmp_path / "mine.py").write_text("private = 1")
    (folder / "link.py").symlink_to(tmp_path / "mine.py")
    (folder / "linked").symlink_to(tmp_path)
    assert [each.name for each in read_sources(folder)] == ["b.py", "pkg/a.py"]


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("test_a.py", "def test_a(): pass", "test"),
        ("checks.py", "async def test_a(): pass", "test"),
        ("conftest.py", "import pytest", "test"),
        ("test_a.py", "x = 1", "script"),
        ("a.py", "def attest(): pass", "script"),
        ("a.py", "@pytest.fixture\ndef test_client(): pass", "script"),
    ],
)
def test_file_with_only_tests_is_a_test_under_any_name(
    name: str, text: str, kind: str
) -> None:
    assert source(text, name).is_test is (kind == "test")


@pytest.mark.parametrize("text", ["def f(:", "x = '\0'", "\ufffd\ufffd"])
def test_invalid_file_has_no_tree(text: str) -> None:
    broken = source(text)
    assert broken.tree is None
    assert (broken.imported, broken.strings, broken.is_test) == (frozenset(), (), False)


def test_strings_leave_docstrings_out() -> None:
    assert source('"""Says a."""\nx = "b"\ndef f():\n    "c"\n').strings == ("b",)


def test_a_module_is_used_by_any_spelling_of_its_import() -> None:
    for text in ("import google.genai", "from google import genai as g",
                 "from google.genai import types", "import google.genai.types"):  # fmt: skip
        assert uses([source(text)], "google.genai"), text
    assert not uses([source("import google.generativeai")], "google.genai")


def test_a_chain_of_names_is_read_through_its_calls() -> None:
    import ast

    expression = ast.parse("a.b(1).c[0]", mode="eval").body
    assert isinstance(expression, ast.Subscript)
    assert dotted(expression.value) == "a.b.c"
    assert dotted(expression) == ""


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "-" * 900_000 + "1",
        "x = " + "not " * 200_000 + "1",
        "x = a" + ".b" * 400_000,
        "x = 1" + "+1" * 400_000,
    ],
    ids=["signs", "not", "attributes", "sum"],
)
def test_code_that_exhausts_the_parser_has_no_tree(text: str) -> None:
    assert source(text).tree is None


def test_all_sources_together_are_bounded(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.py").write_text("#" + "x" * 900_000)
    assert [each.too_large for each in read_sources(tmp_path)] == [
        *(False, False, True, True)
    ]


SERVICE = ("httpx", "fetch")


@pytest.mark.parametrize(
    "text",
    [
        "from unittest.mock import patch",
        "from unittest import mock",
        "import unittest.mock as m",
        "import respx",
        "def test_a(mocker):\n    pass",
        "def test_a(httpx_mock):\n    pass",
        "import httpx\nhttpx.MockTransport(print)",
        "import httpx\ndef test_a(monkeypatch): monkeypatch.setattr(httpx, 'get', print)",
        "def test_a(monkeypatch):\n    monkeypatch.setattr('fetch.title', print)",
        "import httpx\ndef test_a(monkeypatch, n): monkeypatch.setattr(httpx, n, print)",
    ],
)
def test_mock_is_found(text: str) -> None:
    (found,) = mocks([source(text, "test_a.py")], SERVICE)
    assert found.startswith("test_a.py: ")


@pytest.mark.parametrize(
    "text",
    [
        "import httpx\n\ndef test_a():\n    httpx.get('u')",
        "def test_a(monkeypatch):\n    monkeypatch.setenv('KEY', 'x')",
        "import sys\n\ndef test_a(monkeypatch):\n    monkeypatch.setattr(sys, 'argv', [])",
        "import sys\ndef test_a(monkeypatch, n): monkeypatch.setattr(sys, n, [])",
        pytest.param(f"m.setattr(0x{'f' * 4000}, print)", id="number of many digits"),
        "def test_a(monkeypatch, tmp_path):\n    monkeypatch.chdir(tmp_path)",
        "def test_a(monkeypatch):\n    monkeypatch.setattr('fetch.FOLDER', 'x')",
        '"""No mocks here: no unittest.mock, no respx."""',
        "def mock_up(prompt):\n    return prompt",
    ],
)
def test_code_without_mock_is_accepted(text: str) -> None:
    assert mocks([source(text, "test_a.py")], SERVICE) == ()
