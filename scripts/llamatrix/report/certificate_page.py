"""A certificate as a page in Markdown, beside the JSON that can be verified."""

from collections.abc import Iterator

from llamatrix.reference.verdict import Comparison
from llamatrix.report.certificate import Certificate
from llamatrix.report.formats import interval_text, ratio_text
from llamatrix.report.published import Published
from llamatrix.report.render.markdown import markdown
from llamatrix.report.table import Table, count, number, numbers
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
            markdown(_claims_table(held, published)).rstrip(),
        ]
    parts.append(markdown(_records_table(certificate)).rstrip())
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
        caption="Claims",
        columns=(
            "Claim",
            *numbers("Published", "Ours / theirs"),
            *("Our 95 % interval", "Seen at 80 %", "Verdict", "Reason", "Records"),
        ),
        rows=tuple(
            (
                one.claim,
                number(one.theirs, claims[one.claim].text),
                number(one.ratio, ratio_text),
                interval_text(one.interval),
                factor_text(one),
                verdict_text(one),
                reason_text(one),
                _digests(one),
            )
            for one in held.comparisons
        ),
    )


def _digests(one: Comparison) -> str:
    return " ".join(digest[:12] for digest in one.records)


def _records_table(certificate: Certificate) -> Table:
    return Table(
        caption="Records",
        columns=("sha256 of the line", "File", *numbers("Line"), "Test"),
        rows=tuple(
            (digest, proof.file, count(proof.line), proof.test)
            for digest, proof in certificate.records.items()
        ),
    )
