"""Output where the terminal cannot show signs, and where there is no terminal."""

import io
import signal
import sys
from collections.abc import Iterator

import pytest

from llamatrix import terminal


@pytest.fixture
def handlers() -> Iterator[None]:
    """Set the handlers of signals back behind the test."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [(number, signal.getsignal(number)) for number in numbers]
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_signal_ends_as_ctrl_c_does_unless_it_was_ignored_from_the_start() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` does
    terminal.prepare()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.usefixtures("handlers")
def test_signs_are_spelled_out_and_others_escaped_without_utf_8(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    terminal.prepare()
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
