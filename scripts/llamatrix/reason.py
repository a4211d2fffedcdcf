"""Why a program failed, in one line out of everything it printed."""

import re
from collections.abc import Sequence

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_ERROR = re.compile(
    r"\b\w*(?:Error|Exception)\b|\berror\b|\bfatal\b|\bfailed\b|\bpanic|\babort"
    r"|\bcannot\b|\bunable to\b|\bnot found\b|\bdenied\b|\bassert|out of memory"
    r"|no space left|segmentation fault|\bkilled\b",
    re.IGNORECASE,
)
_NO_ERROR = re.compile(
    r"\b(?:0|no) errors?\b|\berror ?= ?(?:0|none|null|undefined)\b", re.IGNORECASE
)
_FRAME = re.compile(r"^\s*(?:at\s.+[(:]|File \"|#\d+\s|Traceback )")
_MESSAGE = re.compile(r"^\s*\"?message\"?:\s*[\"'`]?(.+?)[\"'`]?,?$")
_MESSAGE_WITHIN = 6
"""Lines after an error in which its `message:` may stand, where objects are printed."""


def first_error(lines: Sequence[str]) -> str:
    """Return the first line that names an error, with the message that belongs to it.

    Without one, the last line that has a word in it, else an empty text.
    """
    plain = [_COLOUR.sub("", line).strip() for line in lines]
    for number, line in enumerate(plain):
        if not _ERROR.search(line) or _NO_ERROR.search(line) or _FRAME.match(line):
            continue
        after = plain[number + 1 : number + 1 + _MESSAGE_WITHIN]
        messages = (match[1] for text in after if (match := _MESSAGE.match(text)))
        message = next(messages, "")
        return f"{line} {message}" if message and message not in line else line
    words = (line for line in reversed(plain) if re.search(r"\w", line))
    return next((line for line in words if not _FRAME.match(line)), "")


def telling_lines(lines: Sequence[str], *, most: int) -> tuple[str, ...]:
    """Return the last lines, begun by the first error where it is not among them."""
    kept = tuple(lines[-most:])
    error = first_error(lines)
    if not error or error == first_error(kept):
        return kept
    return (error, *kept[1:])
