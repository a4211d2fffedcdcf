"""What one line of the store holds of a model's opinion on a trial's work."""

import hashlib

import msgspec

from llamatrix.records.store import Envelope, RecordKind, keep_fields
from llamatrix.records.trial_record import AGENT, TrialRecord
from llamatrix.trials.llm_judge import JudgeAnswer

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


class JudgeRequest(msgspec.Struct, frozen=True, kw_only=True):
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


class OpinionRecord(Envelope, frozen=True, kw_only=True):
    """The host is that of the trial."""

    cell: OpinionCell
    of: TrialName
    asked: JudgeRequest
    opinion: JudgeAnswer
    """Never part of whether the trial passed."""
    answered_by: str
    """As the endpoint named its model; may be empty."""
    calls: int
    """2 where the first answer could not be read."""
    seconds: float

    @property
    def record_id(self) -> str:
        return self.cell.id


OPINION = RecordKind(folder="opinion", holds=OpinionRecord, migrations={1: keep_fields})


def trial_name(record: TrialRecord) -> TrialName:
    return TrialName(
        cell=record.cell.id,
        digest=record.cell.digest,
        trial=record.trial,
        measured_at=record.measured_at,
    )


def opinion_cell(record: TrialRecord, asked: JudgeRequest) -> OpinionCell:
    inputs = (OPINION_VERSION, record.host.slug, trial_name(record), asked)
    text = msgspec.json.encode(inputs, order="sorted")
    return OpinionCell(
        id=f"{OPINION.folder}/{record.cell.id.removeprefix(f'{AGENT.folder}/')}",
        digest=hashlib.sha256(text).hexdigest(),
    )
