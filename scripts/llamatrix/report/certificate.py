"""A certificate: claim by claim the verdict, and the records that prove it.

The file is one canonical JSON document. Verifying reads the records it names, calculates
everything anew and compares byte for byte; what differs is told claim by claim.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec import Struct

from llamatrix import __version__
from llamatrix.errors import ReportError
from llamatrix.plan.lock import LockedPin
from llamatrix.record.record import Record
from llamatrix.report.evidence import Evidence, Line
from llamatrix.report.published import Published
from llamatrix.report.reference.comparison import Verdict
from llamatrix.report.reference.gpu import Gpu
from llamatrix.report.speed import Group, groups
from llamatrix.report.versus import Held, versus

SCHEMA_VERSION = 1


class Proof(Struct, frozen=True, kw_only=True):
    """Where a record stood when the certificate was made."""

    file: str
    """Relative to the folder of the reports."""
    line: int
    cell: str
    test: str


class Certificate(Struct, frozen=True, kw_only=True):
    schema_version: int
    made_by: str
    """`llamatrix` and its version."""
    set: str
    set_sha256: str
    """Of the reference set's file."""
    host: str
    pins: dict[str, LockedPin]
    """What was measured, by the name it has in the matrix."""
    groups: tuple[Held, ...]
    records: dict[str, Proof]
    """By the sha256 of the record's line with its newline."""
    seal: str = ""
    """sha256 of this document with an empty seal."""


def certify(
    published: Published,
    shown: Sequence[Group],
    evidence: Evidence,
    gpus: Mapping[str, Gpu],
    *,
    made_by: str = f"llamatrix {__version__}",
) -> Certificate:
    """For groups of one host, all records of them."""
    lines = sorted(
        (evidence.of(record) for group in shown for record in group.records),
        key=lambda line: (line.file, line.number),
    )
    bare = Certificate(
        schema_version=SCHEMA_VERSION,
        made_by=made_by,
        set=published.name,
        set_sha256=published.sha256,
        host=shown[0].host_slug,
        pins={group.pin: group.records[0].locked for group in shown},
        groups=tuple(versus(published, group, evidence, gpus).held for group in shown),
        records={line.sha256: _proof(line) for line in lines},
    )
    return msgspec.structs.replace(bare, seal=_seal(bare))


def certificate_bytes(certificate: Certificate) -> bytes:
    """The one written form: indented, with a final newline."""
    return msgspec.json.format(msgspec.json.encode(certificate), indent=2) + b"\n"


def read_certificate(content: bytes, *, where: str) -> Certificate:
    try:
        found = msgspec.json.decode(content, type=Certificate)
    except msgspec.DecodeError as error:
        raise ReportError(f"{where}: no certificate: {error}") from error
    if found.schema_version > SCHEMA_VERSION:
        raise ReportError(
            f"{where}: written by a newer llamatrix (schema {found.schema_version}); "
            "update this checkout"
        )
    return found


def objections(
    content: bytes,
    certificate: Certificate,
    published: Published,
    evidence: Evidence,
    gpus: Mapping[str, Gpu],
) -> tuple[str, ...]:
    """Everything that is not as certified; empty where every byte follows from records."""
    found = [*_missing_records(certificate, evidence)]
    if published.sha256 != certificate.set_sha256:
        found.append(
            f"reference set {published.name}: sha256 {published.sha256[:12]} now, "
            f"{certificate.set_sha256[:12]} when certified"
        )
    if found:
        return tuple(found)
    return tuple(_recalculated(content, certificate, published, evidence, gpus))


def _missing_records(certificate: Certificate, evidence: Evidence) -> Iterator[str]:
    """A record whose bytes changed is one that no line of the store proves any more."""
    for digest, proof in certificate.records.items():
        if evidence.by_digest(digest) is None:
            claims = [
                one.claim
                for held in certificate.groups
                for one in held.comparisons
                if digest in one.records
            ]
            concerned = ", ".join(claims) or "no claim"
            yield (
                f"{concerned}: record {digest[:12]} ({proof.file}:{proof.line}, "
                f"{proof.test} of {proof.cell}) is changed or gone"
            )


def _recalculated(
    content: bytes,
    certificate: Certificate,
    published: Published,
    evidence: Evidence,
    gpus: Mapping[str, Gpu],
) -> Iterator[str]:
    """Anew from exactly the certified records, whatever the store has got since."""
    lines = [evidence.by_digest(digest) for digest in certificate.records]
    named = Evidence(line for line in lines if line)
    if not named.lines:
        yield "it names no record, so it proves nothing"
        return
    again = certify(
        published, groups(named.records), named, gpus, made_by=certificate.made_by
    )
    yield from _differing_claims(certificate, again)
    for field in ("host", "pins", "records", "seal"):
        if getattr(certificate, field) != getattr(again, field):
            yield f"{field}: not what follows from the records"
    if content != certificate_bytes(again):
        yield "its bytes are not those that llamatrix writes: edited by hand?"


def _differing_claims(certificate: Certificate, again: Certificate) -> Iterator[str]:
    then = {key: one for held in certificate.groups for key, one in _by_claim(held)}
    now = {key: one for held in again.groups for key, one in _by_claim(held)}
    for key in {**then, **now}:
        if then.get(key) != now.get(key):
            yield f"{key}: certified otherwise than its records say"
    for one, other in zip(certificate.groups, again.groups, strict=False):
        if one.ratios != other.ratios:
            yield f"{one.pin}/{one.build}: ratios between models are not the records'"


def _by_claim(held: Held) -> Iterator[tuple[str, object]]:
    for one in held.comparisons:
        yield f"{one.claim} ({held.pin}/{held.build})", one


def _proof(line: Line[Record]) -> Proof:
    return Proof(
        file=line.file,
        line=line.number,
        cell=line.record.cell.id,
        test=line.record.test.name,
    )


def _seal(certificate: Certificate) -> str:
    bare = msgspec.structs.replace(certificate, seal="")
    return hashlib.sha256(certificate_bytes(bare)).hexdigest()


def count(certificate: Certificate, verdict: Verdict) -> int:
    return sum(held.count(verdict) for held in certificate.groups)
