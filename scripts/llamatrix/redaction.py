"""What never reaches a record: keys, and where things lie on this machine."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

GONE = "[redacted]"
_KEY = "[-_][0-9A-Za-z_-]{16,}"
_KEY_SHAPES = (
    re.compile("AIza[0-9A-Za-z_-]{30,}"),
    *(
        re.compile(rf"{word}(?:(?<=\b{word})|(?<=\\[nrtbf]{word})){_KEY}")
        for word in ("sk", "ctx7sk", "hf", "ghp")
    ),
)
"""Google's, OpenAI's, Context7's, Hugging Face's and GitHub's keys look like these.

Each begins with its letters, not with a choice of them: Python then looks for those
letters alone, and a long request is read ten times faster. In JSON a line end before
them is a backslash and a letter.
"""
_SHORTEST = 6


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """The text without the secrets given and without anything shaped like a key.

    A secret of fewer than six characters is as likely a word, and is left.
    """
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, GONE)
    for shape in _KEY_SHAPES:
        text = shape.sub(GONE, text)
    return text


_FOLDERS = re.compile(r"/(?:[^\s/'\"]+/)+")


def without_folders(text: str) -> str:
    """A message with the names of files alone."""
    return _FOLDERS.sub("", text)


def file_name(word: str) -> str:
    """Return a word of a command line, of an absolute path its last part alone."""
    return word.rpartition("/")[2] if word.startswith("/") else word


@dataclass(frozen=True, kw_only=True, slots=True)
class Redaction:
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def clean(self, content: bytes) -> bytes:
        """Without the secrets, as they are and as JSON in JSON spells them."""
        spelled = set()
        for secret in self.secrets:
            once = json.dumps(secret)[1:-1]
            spelled |= {secret, once, json.dumps(once)[1:-1]}
        text = content.decode(errors="surrogateescape")
        return redact(text, spelled).encode(errors="surrogateescape")
