"""Takes keys out of what is shown, recorded or sent to a model."""

import re
from collections.abc import Iterable

GONE = "[redacted]"
KEY_SHAPE = re.compile(
    r"AIza[0-9A-Za-z_-]{30,}|\b(?:sk|ctx7sk|hf|ghp)[-_][0-9A-Za-z_-]{16,}"
)
"""Google's, OpenAI's, Context7's, Hugging Face's and GitHub's keys look like this."""
_SHORTEST = 6


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """The text without the secrets given and without anything shaped like a key.

    A secret of fewer than six characters is as likely a word, and is left.
    """
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, GONE)
    return KEY_SHAPE.sub(GONE, text)
