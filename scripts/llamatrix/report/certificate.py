"""A certificate: claim by claim the verdict, and the records that prove it.

The file is one canonical JSON document. Verifying reads the records it names, calculates
everything again and compares byte for byte; differences are listed by claim.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec import Struct

from llamatrix import __version__
from llamatrix.config.lock import LockedPin
from llamatrix.errors import ReportError
from llamatrix.records.speed_record import SPEED
from llamatrix.records.store import Line, R
from llamatrix.records.trial_record import AGENT
from llamatrix.reference.gpu import Gpu
from llamatrix.reference.verdict import Comparison, ComparisonVerdict
from llamatrix.report.formats import interval_text, ratio_text
from llamatrix.report.inputs import Published, RecordIndex
from llamatrix.report.render.markdown import markdown
from llamatrix.report.set_comparison import (
    MEANS_NOTE,
    ComparisonResult,
    compare_group,
    compare_trial_group,
    factor_text,
    reason_text,
    verdict_text,
    warning_of,
)
from llamatrix.report.speed import Group, groups
from llamatrix.report.table import Table, count, number, numbers
from llamatrix.report.trials import TrialGroup, trial_groups

SCHEMA_VERSION = 2
"""2: of a trial's quantities prediction intervals decide, not minimum and maximum."""


class Proof(Struct, frozen=True, kw_only=True):
    file: str
    """Relative to the folder of the reports."""
    line: int
    cell: str
    test: str
    """Of llama-bench, or which trial."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What is certified: groups of one host, at least one, and where their records stand."""

    index: RecordIndex
    groups: Sequence[Group] = ()
    trial_groups: Sequence[TrialGroup] = ()


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
    groups: tuple[ComparisonResult, ...]
    records: dict[str, Proof]
    """By the sha256 of the record's line with its newline."""
    seal: str = ""
    """sha256 of this document with an empty seal."""


def certify(
    published: Published,
    evidence: Evidence,
    gpus: Mapping[str, Gpu],
    *,
    made_by: str = f"llamatrix {__version__}",
) -> Certificate:
    """For groups of one host, all records of them."""
    groups, trials = evidence.groups, evidence.trial_groups
    index = evidence.index
    results = [compare_group(published, one, index, gpus) for one in groups]
    results += [compare_trial_group(published, one, index, gpus) for one in trials]
    proofs = sorted(_proofs(evidence), key=lambda proof: (proof[1].file, proof[1].line))
    bare = Certificate(
        schema_version=SCHEMA_VERSION,
        made_by=made_by,
        set=published.name,
        set_sha256=published.sha256,
        host=results[0].result.host,
        pins={
            **{group.pin: group.records[0].locked for group in groups},
            **{group.setup.pin: group.records[0].locked for group in trials},
        },
        groups=tuple(compared.result for compared in results),
        records=dict(proofs),
    )
    return msgspec.structs.replace(bare, seal=_seal(bare))


def certificate_bytes(certificate: Certificate) -> bytes:
    """The one written form: indented, with a final newline."""
    return msgspec.json.format(msgspec.json.encode(certificate), indent=2) + b"\n"


def read_certificate(content: bytes, *, where: str) -> Certificate:
    try:
        certificate = msgspec.json.decode(content, type=Certificate)
    except msgspec.DecodeError as error:
        raise ReportError(f"{where}: no certificate: {error}") from error
    if certificate.schema_version > SCHEMA_VERSION:
        raise ReportError(
            f"{where}: written by a newer llamatrix (schema {certificate.schema_version}); "
            "update this checkout"
        )
    if certificate.schema_version < SCHEMA_VERSION:
        raise ReportError(
            f"{where}: written by an older llamatrix (schema {certificate.schema_version}), "
            "whose verdicts followed other rules; certify the same records again"
        )
    return certificate


def objections(
    content: bytes,
    certificate: Certificate,
    published: Published,
    reports: Path,
    gpus: Mapping[str, Gpu],
) -> tuple[str, ...]:
    """Everything that is not as certified; empty where every byte follows from records."""
    # exactly the certified records, whatever the store has got since
    index = RecordIndex(reports, only=certificate.records)
    speeds, trials = index.read(SPEED), index.read(AGENT)
    problems = [*_missing_records(certificate, index.digests)]
    if published.sha256 != certificate.set_sha256:
        problems.append(
            f"reference set {published.name}: sha256 {published.sha256[:12]} now, "
            f"{certificate.set_sha256[:12]} when certified"
        )
    if problems:
        return tuple(problems)
    evidence = Evidence(
        index=index, groups=groups(speeds), trial_groups=trial_groups(trials)
    )
    if not evidence.groups and not evidence.trial_groups:
        return ("it names no record, so it proves nothing",)
    again = certify(published, evidence, gpus, made_by=certificate.made_by)
    return tuple(_changes(content, certificate, again))


def _missing_records(
    certificate: Certificate, stored: Collection[str]
) -> Iterator[str]:
    """A record whose bytes changed is one that no line of the store proves any more."""
    for digest, proof in certificate.records.items():
        if digest not in stored:
            claims = [
                comparison.claim
                for result in certificate.groups
                for comparison in result.comparisons
                if digest in comparison.records
            ]
            concerned = ", ".join(claims) or "no claim"
            yield (
                f"{concerned}: record {digest[:12]} ({proof.file}:{proof.line}, "
                f"{proof.test} of {proof.cell}) is changed or gone"
            )


def _changes(
    content: bytes, certificate: Certificate, again: Certificate
) -> Iterator[str]:
    then, now = dict(_by_claim(certificate)), dict(_by_claim(again))
    for key in {**then, **now}:
        if then.get(key) != now.get(key):
            yield f"{key}: certified otherwise than its records say"
    for group, other in zip(certificate.groups, again.groups, strict=False):
        if group.ratios != other.ratios:
            yield f"{group.pin}/{group.build}: ratios between models are not the records'"
    for field in ("host", "pins", "records", "seal"):
        if getattr(certificate, field) != getattr(again, field):
            yield f"{field}: not what follows from the records"
    if content != certificate_bytes(again):
        yield "its bytes are not those that llamatrix writes: edited by hand?"


def _by_claim(certificate: Certificate) -> Iterator[tuple[str, Comparison]]:
    for result in certificate.groups:
        trials = f", {result.trials}" if result.trials else ""
        where = f"{result.pin}/{result.build}{trials}"
        for comparison in result.comparisons:
            yield f"{comparison.claim} ({where})", comparison


def _proofs(evidence: Evidence) -> Iterator[tuple[str, Proof]]:
    for group in evidence.groups:
        for speed in group.records:
            yield _proof(evidence.index.of(speed), speed.test.name)
    for trials in evidence.trial_groups:
        for trial in trials.records:
            yield _proof(evidence.index.of(trial), f"trial {trial.trial}")


def _proof(line: Line[R], test: str) -> tuple[str, Proof]:
    cell = line.record.record_id
    return line.sha256, Proof(file=line.file, line=line.number, cell=cell, test=test)


def _seal(certificate: Certificate) -> str:
    bare = msgspec.structs.replace(certificate, seal="")
    return hashlib.sha256(certificate_bytes(bare)).hexdigest()


def verdict_count(certificate: Certificate, verdict: ComparisonVerdict) -> int:
    return sum(result.count(verdict) for result in certificate.groups)


def certificate_page(
    certificate: Certificate, published: Published, *, to_verify: str
) -> str:
    """`to_verify` is what follows `--verify` on the command line."""
    facts = [
        f"- published: {published.heading}",
        f"- reference set: sha256 `{certificate.set_sha256}`",
        *(
            f"- pin {name}: llama.cpp {pin.commit} out of {pin.package} {pin.version}"
            for name, pin in certificate.pins.items()
        ),
        f"- {MEANS_NOTE}",
        f"- made by: {certificate.made_by}",
        f"- verify: `invoke certificate --verify {to_verify}`",
        "- a record by hand: `sed -n LINEp FILE | sha256sum`",
    ]
    title = f"# Certificate: {certificate.set} on {certificate.host}"
    parts = [title, "\n".join(facts)]
    for result in certificate.groups:
        trials = f": {result.trials}" if result.trials else ""
        parts += [
            f"## Pin {result.pin}, build {result.build}, {result.weights} weights{trials}",
            *warning_of(result),
            f"{result.summary}.",
            markdown(_claims_table(result, published)).rstrip(),
        ]
    records = Table(
        "Records",
        ("sha256 of the line", "File", *numbers("Line"), "Test"),
        [
            (digest, proof.file, count(proof.line), proof.test)
            for digest, proof in certificate.records.items()
        ],
    )
    return "\n\n".join([*parts, markdown(records)])


def _claims_table(result: ComparisonResult, published: Published) -> Table:
    claims = published.by_id
    return Table(
        "Claims",
        (
            "Claim",
            *numbers("Published", "Ours / theirs"),
            *("Our 95 % interval", "Seen at 80 %", "Verdict", "Reason", "Records"),
        ),
        [
            (
                comparison.claim,
                number(comparison.theirs, claims[comparison.claim].text),
                number(comparison.ratio, ratio_text),
                interval_text(comparison.interval),
                factor_text(comparison),
                verdict_text(comparison),
                reason_text(comparison),
                " ".join(digest[:12] for digest in comparison.records),
            )
            for comparison in result.comparisons
        ],
    )
