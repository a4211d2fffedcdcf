"""What counts as a mock, however it is spelled, and what does not."""

import pytest
from tests.trials.checks.made import source

from llamatrix.trials.checks.sources import mocks

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
    ],
)
def test_this_is_a_mock(text: str) -> None:
    (found,) = mocks([source(text, "test_a.py")], SERVICE)
    assert found.startswith("test_a.py: ")


@pytest.mark.parametrize(
    "text",
    [
        "import httpx\n\ndef test_a():\n    httpx.get('u')",
        "def test_a(monkeypatch):\n    monkeypatch.setenv('KEY', 'x')",
        "import sys\n\ndef test_a(monkeypatch):\n    monkeypatch.setattr(sys, 'argv', [])",
        "def test_a(monkeypatch, tmp_path):\n    monkeypatch.chdir(tmp_path)",
        "def test_a(monkeypatch):\n    monkeypatch.setattr('fetch.FOLDER', 'x')",
        '"""No mocks here: no unittest.mock, no respx."""',
        "def mock_up(prompt):\n    return prompt",
    ],
)
def test_this_is_none(text: str) -> None:
    assert mocks([source(text, "test_a.py")], SERVICE) == ()
