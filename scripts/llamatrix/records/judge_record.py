"""Judge records: how a model rated the work of a trial."""

import msgspec

from llamatrix.config.cell import sha256_of
from llamatrix.records.store import Envelope, RecordKind, keep_fields
from llamatrix.records.trial_record import AGENT, TrialRecord
from llamatrix.trials.llm_judge import JudgeAnswer

JUDGE_VERSION = 1
"""Increased by hand when requests change in more than words: answers are not reused."""


class JudgeCell(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    digest: str
    """Over the trial, the judging model and the complete request."""


class TrialName(msgspec.Struct, frozen=True, kw_only=True):
    """The trial that was rated."""

    cell: str
    digest: str
    trial: int
    measured_at: str


class JudgeRequest(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    """Name in the request; the endpoint's address is not recorded."""
    rubric: int
    """Version of the rubric."""
    rubric_sha256: str
    prompt_sha256: str
    """Of the complete request, sampling included, with keys redacted."""
    characters: int
    cut: tuple[str, ...]
    """Files of the workspace that were shortened in the request."""


class JudgeRecord(Envelope, frozen=True, kw_only=True):
    """The host is the trial's."""

    cell: JudgeCell
    trial: TrialName = msgspec.field(name="of")
    request: JudgeRequest = msgspec.field(name="asked")
    answer: JudgeAnswer = msgspec.field(name="opinion")
    """Has no influence on whether the trial passed."""
    answered_by: str
    """Name of the model in the answer; may be empty."""
    calls: int
    """2 where the first answer was unparseable."""
    seconds: float

    @property
    def record_id(self) -> str:
        return self.cell.id


JUDGE = RecordKind(folder="opinion", holds=JudgeRecord, migrations={1: keep_fields})


def trial_name(record: TrialRecord) -> TrialName:
    return TrialName(
        cell=record.cell.id,
        digest=record.cell.digest,
        trial=record.trial,
        measured_at=record.measured_at,
    )


def judge_cell(record: TrialRecord, request: JudgeRequest) -> JudgeCell:
    inputs = (JUDGE_VERSION, record.host.slug, trial_name(record), request)
    return JudgeCell(
        id=f"{JUDGE.folder}/{record.cell.id.removeprefix(f'{AGENT.folder}/')}",
        digest=sha256_of(inputs),
    )
