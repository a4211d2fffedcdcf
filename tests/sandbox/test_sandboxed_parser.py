"""A parser of ours on an agent's files: JSON comes back, and no bomb goes off."""

from collections.abc import Callable
from pathlib import Path

import pytest

from llamatrix.project import find_project
from llamatrix.provision.programs import bwrap_here
from llamatrix.sandbox.sandboxed_parser import (
    ParserFailedError,
    ParserLimits,
    parse_sandboxed,
)
from llamatrix.sandbox.spec import probe

MIB = 1 << 20
WAYS = [
    pytest.param(False, id="no sandbox"),
    pytest.param(True, id="sandbox", marks=pytest.mark.slow),
]
Parse = Callable[..., object]


@pytest.fixture(params=WAYS)
def parse(request: pytest.FixtureRequest, tmp_path: Path) -> Parse:
    """Run a script of the test as a parser of the folder `data`."""
    bwrap = bwrap_here(find_project().cache) if request.param else None
    if request.param and (bwrap is None or probe(bwrap)):
        pytest.skip("no bubblewrap, or no user namespaces, on this machine")
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.txt").write_text("mine")

    def run(script: str, *words: str, **limits: int) -> object:
        parser = tmp_path / "parser.py"
        parser.write_text(script)
        kept = ParserLimits(**limits)
        return parse_sandboxed(
            parser, data, *words, type_=object, bwrap=bwrap, limits=kept
        )

    return run


def test_parser_gets_data_and_words_and_returns_json(parse: Parse) -> None:
    script = (
        "import json, pathlib, sys\n"
        "from llamatrix.trials.checks import sources\n"
        "data = pathlib.Path(sys.argv[1])\n"
        "print(json.dumps([(data / 'a.txt').read_text(), *sys.argv[2:]]))\n"
    )
    assert parse(script, "one word", "two") == ["mine", "one word", "two"]


def test_a_bomb_ends_at_the_memory_limit(parse: Parse) -> None:
    with pytest.raises(ParserFailedError, match="more than 128 MiB of memory"):
        parse("x = bytearray(1 << 30)", memory_bytes=128 * MIB)


def test_an_endless_loop_ends_at_the_time_limit(parse: Parse) -> None:
    with pytest.raises(ParserFailedError, match="more than 1 s to parse"):
        parse("while True: pass", seconds=1)


def test_sleeping_parser_ends_at_the_time_limit(parse: Parse) -> None:
    with pytest.raises(ParserFailedError, match="more than 1 s to parse"):
        parse("import time; time.sleep(600)", seconds=1)


def test_a_flood_of_output_is_bounded(parse: Parse) -> None:
    with pytest.raises(ParserFailedError, match="gives more than 1000 B"):
        parse("print('x' * 5_000_000)", output_bytes=1000)


def test_output_that_is_not_json_is_refused(parse: Parse) -> None:
    with pytest.raises(ParserFailedError, match="output is wrong"):
        parse("print('{')")


def test_a_crash_names_its_last_line_without_folders(parse: Parse) -> None:
    with pytest.raises(ParserFailedError, match=r"exit code 1: ValueError: at b\.txt"):
        parse("raise ValueError('at /home/me/b.txt')")


def test_nothing_is_written_and_no_environment_is_seen(
    parse: Parse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "hidden")
    script = (
        "import json, os, sys\n"
        "try:\n"
        "    open(sys.argv[1] + '/b.txt', 'w').write('x')\n"
        "except OSError:\n"
        "    pass\n"
        "print(json.dumps('hidden' in str(os.environ)))\n"
    )
    assert parse(script) is False
    written = tmp_path / "data" / "b.txt"
    assert not written.exists() or written.read_text() == ""
