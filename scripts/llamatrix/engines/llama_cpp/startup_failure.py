"""Why a llama-server ended before it was ready, as far as its log tells."""

import re
import shlex
import signal
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from llamatrix.errors import ServeError
from llamatrix.shell import TAIL_LINES


class Death(StrEnum):
    PORT_TAKEN = "port taken"
    WEIGHTS = "weights"
    TEMPLATE = "template"
    MEMORY = "memory"
    SLOW = "slow"
    UNKNOWN = "unknown"


_SIGNS = (
    (Death.PORT_TAKEN, r"couldn't bind HTTP server socket"),
    (
        Death.TEMPLATE,
        r"failed to initialize chat template|chat template is not supported|--chat-template-file",
    ),
    (Death.MEMORY, r"failed to create.context|failed to allocate|out of memory"),
    (Death.WEIGHTS, r"failed to load model|corrupted or incomplete"),
)
"""Words of llama-server's log at b8643 and of October 2026, the most telling first."""

_REMEDY = {
    Death.PORT_TAKEN: "another program has the port; stop it or choose another --port",
    Death.WEIGHTS: "the weights file is missing, damaged or of an unknown kind; "
    "run `invoke weights`",
    Death.TEMPLATE: "the chat template cannot be used; `invoke template-check` shows "
    "which case it fails",
    Death.MEMORY: "the model and its context do not fit; lower ctx_size in matrix.toml, "
    "or free memory",
    Death.SLOW: "it did not become ready in time; see the log for where it stands",
    Death.UNKNOWN: "see the log",
}


class DeadServerError(ServeError):
    """The server ended, or was ended, before it was ready."""

    def __init__(self, text: str, death: Death, sign: str) -> None:
        super().__init__(text)
        self.death = death
        self.sign = sign
        """The line of the log that told; empty where none did."""


def diagnose(log_text: str, returncode: int | None) -> tuple[Death, str]:
    """The first sign in the log, and the line it stands in.

    The pin of April says that the cache cannot be allocated and then runs into a
    segmentation fault: the words decide, not the signal.
    """
    for death, sign in _SIGNS:
        if found := re.search(
            f"^.*({sign}).*$", log_text, re.IGNORECASE | re.MULTILINE
        ):
            return death, found[0].strip()
    return (Death.MEMORY if returncode == -signal.SIGKILL else Death.UNKNOWN), ""


def dead_server(
    death: Death, *, what: str, argv: Sequence[str], log: Path, sign: str = ""
) -> DeadServerError:
    lines = read_log(log).splitlines()[-TAIL_LINES:]
    text = "\n".join(
        [
            f"llama-server {what}: {_REMEDY[death]}",
            *([f"it said: {sign}"] if sign else []),
            shlex.join(argv),
            f"log: {log}",
            *(f"  | {line}" for line in lines),
        ]
    )
    return DeadServerError(text, death, sign)


def read_log(log: Path) -> str:
    try:
        return log.read_text(errors="replace")
    except OSError:
        return ""
