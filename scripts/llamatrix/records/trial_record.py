"""What one line of the store holds of a trial."""

from typing import Literal

import msgspec

from llamatrix.config.agent_cell import AgentCell
from llamatrix.config.lock import LockedPin
from llamatrix.config.matrix import Network
from llamatrix.measure.telemetry import Telemetry
from llamatrix.measure.templates.checks import Conformance
from llamatrix.provision.build import Manifest
from llamatrix.provision.weights.provide import WeightsFacts
from llamatrix.records.store import Envelope, Fields, RecordKind, RecordLocation
from llamatrix.trials.trial_result import TrialResult


class TrialFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The cell as a table needs it, and the digests that identify it."""

    id: str
    digest: str
    """Spec, host class and compiler: a record is reused only under the same one."""
    spec_digest: str
    measurement: Literal["agent"] = "agent"
    model_key: str
    model_name: str
    architecture: str
    quant: str
    pin: str
    build: str
    agent: str
    """The setup's name in the matrix."""
    task: str
    network: Network
    context_tokens: int
    max_turns: int
    script: str | None
    """The transcript that spoke in the model's place; None for the model itself."""


class TemplateFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the conformance suite said of the chat template, before the trial."""

    template: str
    template_sha256: str
    cases: int
    failed: tuple[str, ...]
    """Ids of cases, essential or not."""
    essentials_passed: bool


class ServerMemory(msgspec.Struct, frozen=True, kw_only=True):
    """Of llama-server itself; on a card also see the telemetry."""

    loaded_rss_bytes: int
    """When it was ready."""
    peak_rss_bytes: int | None
    """None where it was gone before the trial was over."""


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """What the trial was made with, and what it left."""

    weights: WeightsFacts
    template: TemplateFacts
    argv: tuple[str, ...]
    """Of llama-server, without folders: what a person would type."""
    memory: ServerMemory
    spilled: tuple[str, ...] = ()
    """What the server's log says of layers and buffers outside the card."""
    telemetry: Telemetry
    trajectory: str
    """The folder with every request, answer and event, below `records/<host>/`."""


class TrialRecord(Envelope, frozen=True, kw_only=True):
    cell: TrialFacts
    trial: int
    """Which attempt from the beginning this is, from 1."""
    result: TrialResult
    check_version: str = "1"
    """Of the checks that judged it; `1` are those of schema 1."""
    agent_kind: str = "opencode"
    agent_version: str
    context7: str
    uv: str
    served: Served | None
    """None where no server was started."""
    locked: LockedPin
    build: Manifest

    @property
    def record_id(self) -> str:
        return self.cell.id


def trial_facts(
    cell: AgentCell, *, digest: str, spec_digest: str, trial: int
) -> TrialFacts:
    return TrialFacts(
        id=cell.id,
        digest=digest,
        spec_digest=spec_digest,
        model_key=cell.model_key,
        model_name=cell.model.name,
        architecture=cell.model.architecture,
        quant=cell.model.quant,
        pin=cell.pin_key,
        build=cell.build_key,
        agent=cell.agent_key,
        task=cell.task,
        network=cell.agent.network,
        context_tokens=cell.model.ctx_size,
        max_turns=cell.agent.max_turns,
        script=cell.script_of(trial),
    )


def template_facts(found: Conformance) -> TemplateFacts:
    return TemplateFacts(
        template=found.template,
        template_sha256=found.template_sha256,
        cases=len(found.cases),
        failed=tuple(case.id for case in found.failed),
        essentials_passed=found.essentials_passed,
    )


def trial_from_1(fields: Fields, _place: RecordLocation) -> Fields:
    """Migrate a trial of schema 1, which knew no agent but OpenCode."""
    others = {key: value for key, value in fields.items() if key != "opencode"}
    return {**others, "agent_version": fields["opencode"]}


AGENT = RecordKind(folder="agent", holds=TrialRecord, migrations={1: trial_from_1})
