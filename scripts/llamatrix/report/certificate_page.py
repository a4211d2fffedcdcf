"""A certificate as a page in Markdown, beside the JSON that can be verified."""

from collections.abc import Iterator

from llamatrix.reference.verdict import Comparison
from llamatrix.report.amounts import interval_text, ratio_text
from llamatrix.report.certificate import Certificate
from llamatrix.report.published import Published
from llamatrix.report.tables import Table
from llamatrix.report.versus import Held
from llamatrix.report.versus_tables import (
    MEANS_NOTE,
    factor_text,
    reason_text,
    verdict_text,
)


def certificate_page(
    certificate: Certificate, published: Published, *, to_verify: str
) -> str:
    """`to_verify` is what follows `--verify` on the command line."""
    parts = [
        f"# Certificate: {certificate.set} on {certificate.host}",
        "\n".join(_facts(certificate, published, to_verify)),
    ]
    for held in certificate.groups:
        parts += [
            f"## {_held_text(held)}",
            f"{held.summary}.",
            _claims_table(held, published).markdown().rstrip(),
        ]
    parts.append(_records_table(certificate).markdown().rstrip())
    return "\n\n".join(parts) + "\n"


def _held_text(held: Held) -> str:
    text = f"Pin {held.pin}, build {held.build}, {held.weights} weights"
    return f"{text}: {held.trials}" if held.trials else text


def _facts(
    certificate: Certificate, published: Published, to_verify: str
) -> Iterator[str]:
    yield f"- published: {published.heading}"
    yield f"- reference set: sha256 `{certificate.set_sha256}`"
    for name, pin in certificate.pins.items():
        yield f"- pin {name}: llama.cpp {pin.commit} out of {pin.package} {pin.version}"
    yield f"- {MEANS_NOTE}"
    yield f"- made by: {certificate.made_by}"
    yield f"- verify: `invoke certificate --verify {to_verify}`"
    yield "- a record by hand: `sed -n LINEp FILE | sha256sum`"


def _claims_table(held: Held, published: Published) -> Table:
    claims = published.by_id
    return Table(
        title="Claims",
        header=(
            *("Claim", "Published", "Ours / theirs", "Our 95 % interval"),
            *("Seen at 80 %", "Verdict", "Reason", "Records"),
        ),
        rows=tuple(
            (
                one.claim,
                claims[one.claim].text,
                ratio_text(one.ratio),
                interval_text(one.interval),
                factor_text(one),
                verdict_text(one),
                reason_text(one),
                _digests(one),
            )
            for one in held.comparisons
        ),
        right=(1, 2),
    )


def _digests(one: Comparison) -> str:
    return " ".join(digest[:12] for digest in one.records)


def _records_table(certificate: Certificate) -> Table:
    return Table(
        title="Records",
        header=("sha256 of the line", "File", "Line", "Test"),
        rows=tuple(
            (digest, proof.file, str(proof.line), proof.test)
            for digest, proof in certificate.records.items()
        ),
        right=(2,),
    )
