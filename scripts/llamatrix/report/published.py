"""A reference set as comparisons need it: its numbers, its digest, its audit."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from llamatrix.reference.audit import audit
from llamatrix.reference.gpu import Gpu
from llamatrix.reference.reference_set import Claim, ReferenceSet, load_set
from llamatrix.reference.rules.rule import Finding


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    name: str
    sha256: str
    """Of the file."""
    whole: ReferenceSet
    claims: tuple[Claim, ...]
    findings: tuple[Finding, ...]
    gpus: Mapping[str, Gpu]

    @property
    def by_id(self) -> dict[str, Claim]:
        return {claim.id: claim for claim in self.claims}

    @property
    def heading(self) -> str:
        source = self.whole.source
        parts = (source.title, source.author, source.where, source.date or "undated")
        return ", ".join(parts)


def load_published(
    path: Path, *, models: Collection[str], gpus: Mapping[str, Gpu]
) -> Published:
    """The set in a file; ReportError with every complaint about it."""
    whole = load_set(path, models=models)
    return Published(
        name=path.stem,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        whole=whole,
        claims=whole.claims(),
        findings=audit(whole, gpus),
        gpus={**gpus, **whole.gpus},
    )
