"""Output where the terminal cannot show signs, and where there is no terminal."""

import io
import signal
import sys

import pytest

from llamatrix import terminal


def test_signs_are_spelled_out_and_others_escaped_without_utf_8(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    handlers = [(one, signal.getsignal(one)) for one in (15, 1)]
    terminal.prepare()
    for number, handler in handlers:
        signal.signal(number, handler)
    sys.stdout.write("april → current: 2 × 4.8 ± 0.1 – ok… Ü\n")
    sys.stdout.flush()
    assert raw.getvalue() == b"april -> current: 2 x 4.8 +- 0.1 - ok... \\xdc\n"


def test_words_have_no_colour_beside_a_terminal() -> None:
    assert terminal.paint("SLOWER", "bad") == "SLOWER"


def test_words_have_a_colour_on_a_terminal_unless_no_color_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert terminal.paint("SLOWER", "bad") == "\x1b[31mSLOWER\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert terminal.paint("SLOWER", "bad") == "SLOWER"
