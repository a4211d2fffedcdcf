"""A certificate follows from its records to the last byte, or it is refused."""

import re
from pathlib import Path

import pytest
from tests.report.made_sweep import HOST, MODELS, blog, stored, sweep
from tests.report.made_trials import (
    made_trial,
    published_trials,
    stored_trials,
)

from llamatrix.errors import ReportError
from llamatrix.records.speed_record import SPEED
from llamatrix.records.trial_record import AGENT
from llamatrix.reference.gpu import load_gpus
from llamatrix.report.certificate import (
    Certificate,
    Evidence,
    certificate_bytes,
    certificate_page,
    certify,
    objections,
    read_certificate,
)
from llamatrix.report.inputs import RecordIndex
from llamatrix.report.speed import groups
from llamatrix.report.trials import trial_groups


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    return stored(tmp_path, sweep(0.97))


def made(reports: Path) -> Certificate:
    index = RecordIndex(reports)
    evidence = Evidence(
        index=index,
        groups=groups(index.read(SPEED), models=MODELS),
        trial_groups=trial_groups(index.read(AGENT), models=MODELS),
    )
    return certify(blog(), evidence, load_gpus())


def doubts(content: bytes, reports: Path) -> tuple[str, ...]:
    certificate = read_certificate(content, where="it")
    return objections(content, certificate, blog(), reports, load_gpus())


def test_a_certificate_is_proven_by_its_records(reports: Path) -> None:
    certificate = made(reports)
    assert len(certificate.records) == 32
    assert certificate.host == HOST
    assert set(certificate.pins) == {"april"}
    assert doubts(certificate_bytes(certificate), reports) == ()


def test_the_same_records_give_the_same_bytes(reports: Path) -> None:
    assert certificate_bytes(made(reports)) == certificate_bytes(made(reports))


def test_records_that_came_later_change_nothing(reports: Path) -> None:
    content = certificate_bytes(made(reports))
    stored(reports, sweep(0.5))
    assert doubts(content, reports) == ()


@pytest.mark.parametrize(
    ("old", "new"), [(b"41.5", b"41.6"), (b'"schema_version"', b'"schema_versiom"')]
)
def test_a_tampered_record_is_named_with_its_claim(
    old: bytes, new: bytes, reports: Path
) -> None:
    content = certificate_bytes(made(reports))
    path = next((reports / "records").glob("*/speed/gemma4-31b/**/*.jsonl"))
    lines = path.read_bytes().split(b"\n")
    number = next(place for place, line in enumerate(lines) if b'"n_gen":128}' in line)
    changed = re.sub(rb"samples_ts.:\[\d+", b'samples_ts":[99', lines[number], count=1)
    lines[number] = changed if old == b"41.5" else lines[number].replace(old, new)
    path.write_bytes(b"\n".join(lines))
    (doubt,) = doubts(content, reports)
    assert doubt.startswith("generation/gemma4-31b/tg128, ")
    assert (
        f"{path.relative_to(reports)}:{number + 1}, tg128 of speed/gemma4-31b" in doubt
    )
    assert "changed or gone" in doubt


def test_records_that_are_gone_prove_nothing(reports: Path, tmp_path: Path) -> None:
    content = certificate_bytes(made(reports))
    assert len(doubts(content, tmp_path / "elsewhere")) == 32


def test_a_changed_verdict_is_named(reports: Path) -> None:
    content = certificate_bytes(made(reports))
    changed = content.replace(b'"reproduced"', b'"differs"', 1)
    assert any(
        one.startswith("models/qwen35-27b/size (april/cuda): certified otherwise")
        for one in doubts(changed, reports)
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"made_by": "llamatrix', b'"made_by": "llamatriX'),
        (b'"package": "llama', b'"package": "LLama'),
        (b'"test": "pp512"', b'"test": "pp513"'),
        (b'"april"', b'"aprix"'),
        (b"\n  ", b"\n   "),
    ],
)
def test_any_other_changed_byte_is_found(old: bytes, new: bytes, reports: Path) -> None:
    content = certificate_bytes(made(reports))
    assert old in content
    assert doubts(content.replace(old, new, 1), reports)


def test_another_reference_set_is_found(reports: Path) -> None:
    certificate = made(reports)
    content = certificate_bytes(certificate).replace(
        certificate.set_sha256.encode(), b"0" * 64
    )
    (doubt,) = doubts(content, reports)
    assert doubt.startswith("reference set blog-2026-04-05: sha256")


def test_a_certificate_without_records_proves_nothing(reports: Path) -> None:
    content = re.sub(
        rb'"records": \{.*?\n  \}',
        b'"records": {}',
        certificate_bytes(made(reports)),
        flags=re.DOTALL,
    )
    assert doubts(content, reports) == ("it names no record, so it proves nothing",)


def test_what_is_no_certificate_is_refused() -> None:
    with pytest.raises(ReportError, match="no certificate"):
        read_certificate(b"{}", where="it")


def test_a_newer_certificate_is_refused_with_the_remedy(reports: Path) -> None:
    content = certificate_bytes(made(reports)).replace(
        b'"schema_version": 2', b'"schema_version": 3', 1
    )
    with pytest.raises(ReportError, match="update this checkout"):
        read_certificate(content, where="it")


def test_an_older_certificate_is_refused_as_its_rules_were_others(
    reports: Path,
) -> None:
    content = certificate_bytes(made(reports)).replace(
        b'"schema_version": 2', b'"schema_version": 1', 1
    )
    with pytest.raises(ReportError, match="certify the same records again"):
        read_certificate(content, where="it")


def test_the_page_tells_every_claim_and_how_to_verify(reports: Path) -> None:
    certificate = made(reports)
    text = certificate_page(certificate, blog(), to_verify="reports/c.json")
    assert "`invoke certificate --verify reports/c.json`" in text
    assert all(one.claim in text for one in certificate.groups[0].comparisons)
    assert certificate.records
    assert all(digest in text for digest in certificate.records)
    assert certificate.pins["april"].commit in text


@pytest.fixture
def with_trials(reports: Path) -> Path:
    """Three trials of one cell beside one of each published one, and the speeds."""
    again = [made_trial(trial=trial, factor=1.1) for trial in (2, 3)]
    return stored_trials(reports, [*published_trials(), *again])


def test_trials_are_certified_beside_the_speeds(with_trials: Path) -> None:
    certificate = made(with_trials)
    speeds, trials = certificate.groups
    assert (speeds.trials, trials.trials) == (
        *("", "published setup, OpenCode 1.3.2, online"),
    )
    assert len(certificate.records) == 32 + 10
    proofs = {proof.test for proof in certificate.records.values()}
    assert {"trial 1", "trial 2", "trial 3", "pp512"} <= proofs
    assert doubts(certificate_bytes(certificate), with_trials) == ()


def test_trials_alone_can_be_certified(tmp_path: Path) -> None:
    certificate = made(stored_trials(tmp_path, [made_trial()]))
    assert certificate.host == HOST
    assert set(certificate.pins) == {"april"}
    assert doubts(certificate_bytes(certificate), tmp_path) == ()


def test_trials_that_came_later_change_nothing(with_trials: Path) -> None:
    content = certificate_bytes(made(with_trials))
    stored_trials(
        with_trials,
        [
            made_trial(trial=4, factor=9.0),
            made_trial(digest="f" * 64, measured_at="2027-01-01"),
        ],
    )
    assert doubts(content, with_trials) == ()


def test_a_tampered_trial_is_named_with_its_claims(with_trials: Path) -> None:
    content = certificate_bytes(made(with_trials))
    (path,) = (with_trials / "records").glob("*/agent/gemma4-31b/**/httpx-post.jsonl")
    raw = path.read_bytes()
    changed = raw.replace(b'"generated_tokens":2903', b'"generated_tokens":2904')
    assert changed != raw
    path.write_bytes(changed)
    (doubt,) = doubts(content, with_trials)
    assert "agent/gemma4-31b/p1/generated-tokens" in doubt
    assert "trial 1 of agent/gemma4-31b/april/cuda/april/httpx-post" in doubt


def test_a_changed_claim_of_trials_is_named_as_theirs(with_trials: Path) -> None:
    content = certificate_bytes(made(with_trials))
    claim = b'"claim": "agent/qwen35-27b/p1/api-calls",\n          "verdict": "'
    start = content.rindex(claim) + len(claim)
    end = content.index(b'"', start)
    changed = content[:start] + b"differs" + content[end:]
    assert any(
        one.startswith("agent/qwen35-27b/p1/api-calls (april/cuda, published setup")
        for one in doubts(changed, with_trials)
    )
