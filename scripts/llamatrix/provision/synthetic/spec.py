"""Which synthetic file is meant: everything that decides its bytes."""

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum

from llamatrix.config.cell import GENERATOR_VERSIONS
from llamatrix.config.matrix import WeightsKind


class Scale(StrEnum):
    TINY = "tiny"
    """The structure at a few MB: loads in milliseconds."""
    FULL = "full"
    """The published sizes, to the last tensor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SyntheticSpec:
    model: str
    """Key of the model in the matrix, for example `qwen35-27b`."""
    scale: Scale
    chat_template: str
    """Jinja text, embedded as it stands."""
    seed: int = 0
    sample: str = ""
    """A text whose words the vocabulary shall know; empty for bytes alone."""

    @property
    def generator_version(self) -> int:
        return GENERATOR_VERSIONS[WeightsKind(self.scale)]

    def digest(self) -> str:
        """Sha256 (hex) over everything that decides the bytes, the generator's version included."""
        said = [
            self.generator_version,
            self.model,
            self.scale,
            self.chat_template,
            self.seed,
            self.sample,
        ]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()
