"""What one line of the store holds of a model's opinion on a trial's work."""

import hashlib

import msgspec

from llamatrix.host import Host
from llamatrix.measure.opinion.outcome import Opinion
from llamatrix.record.kind import Kind
from llamatrix.record.trial_record import AGENT, TrialRecord

SCHEMA_VERSION = 1
OPINION_VERSION = 1
"""Bumped by hand when the way of asking changes beside the words: all is asked anew."""


class OpinionCell(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    digest: str
    """The trial, the model that was asked, and all that it was sent."""


class TrialName(msgspec.Struct, frozen=True, kw_only=True):
    """Which line of the store is spoken of."""

    cell: str
    digest: str
    trial: int
    measured_at: str


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    """By the name it was asked for; where it was served is not kept."""
    rubric: int
    """The rubric's own version."""
    rubric_sha256: str
    prompt_sha256: str
    """Of the whole request, sampling included, with keys taken out."""
    characters: int
    cut: tuple[str, ...]
    """Files of the workspace that it did not see whole."""


class OpinionRecord(msgspec.Struct, frozen=True, kw_only=True):
    schema_version: int
    cell: OpinionCell
    of: TrialName
    asked: Asked
    opinion: Opinion
    """Never part of whether the trial passed."""
    answered_by: str
    """As the endpoint named its model; may be empty."""
    calls: int
    """2 where the first answer could not be read."""
    seconds: float
    measured_at: str
    """UTC, ISO 8601: when the answer was known."""
    host: Host
    """Of the trial."""
    made_by: str


OPINION = Kind(folder="opinion", holds=OpinionRecord, version=SCHEMA_VERSION)


def trial_name(record: TrialRecord) -> TrialName:
    return TrialName(
        cell=record.cell.id,
        digest=record.cell.digest,
        trial=record.trial,
        measured_at=record.measured_at,
    )


def opinion_cell(record: TrialRecord, asked: Asked) -> OpinionCell:
    inputs = (OPINION_VERSION, record.host.slug, trial_name(record), asked)
    text = msgspec.json.encode(inputs, order="sorted")
    return OpinionCell(
        id=f"{OPINION.folder}/{record.cell.id.removeprefix(f'{AGENT.folder}/')}",
        digest=hashlib.sha256(text).hexdigest(),
    )
