"""What never reaches a record: keys, and where things lie on this machine."""

import json
import re
from dataclasses import dataclass, field

from llamatrix.measure.judging.redact import redact

_FOLDERS = re.compile(r"/(?:[^\s/'\"]+/)+")


def without_folders(text: str) -> str:
    """A message with the names of files alone."""
    return _FOLDERS.sub("", text)


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
