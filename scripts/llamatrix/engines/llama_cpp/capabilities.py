"""What one llama-server spells differently from another, read from its own help.

No table of versions: a pin nobody tried yet is asked the same questions.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from llamatrix import shell
from llamatrix.errors import ServeError
from llamatrix.measured_environment import measured_environment

_TIMEOUT_S = 30
_NO_PAGE = ("--no-ui", "--no-webui")
_NO_FITTING = ("--fit",)
_DEFAULT_VERBOSITY = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    no_page: str | None
    """The flag that leaves out the web page; None where there is no page."""
    fits: bool
    """Whether it knows `--fit`: shrinking what is unset to the device's memory."""
    verbosity: int
    """The lowest level at which the log tells buffer sizes and cache types."""


def read_help(text: str) -> Dialect:
    """Read `llama-server --help`."""
    flags = set(re.findall(r"--[a-z][a-z0-9-]*", text))
    trace = re.search(r"^\s*-\s*(\d): trace\b", text, re.MULTILINE)
    return Dialect(
        no_page=next((flag for flag in _NO_PAGE if flag in flags), None),
        fits=not flags.isdisjoint(_NO_FITTING),
        verbosity=int(trace[1]) if trace else _DEFAULT_VERBOSITY,
    )


@cache
def dialect_of(program: Path) -> Dialect:
    env = measured_environment({})
    ended = shell.run([str(program), "--help"], timeout_s=_TIMEOUT_S, env=env)
    if not ended.ok:
        raise ServeError(f"llama-server does not start\n{ended.complaint()}")
    return read_help(ended.out)
