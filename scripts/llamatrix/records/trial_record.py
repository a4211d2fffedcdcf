"""Trial records: one attempt of an agent at a task, and its conditions."""

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
    """The cell as tables need it, and the digests that identify it."""

    id: str
    digest: str
    """Over spec, host class and compiler: a record is reused only for the same digest."""
    spec_digest: str
    measurement: Literal["agent"] = "agent"
    model_key: str
    model_name: str
    architecture: str
    quant: str
    pin: str
    build: str
    agent: str
    """Key of the agent in the matrix."""
    task: str
    network: Network
    context_tokens: int
    max_turns: int
    script: str | None
    """The transcript that replaced the model; None for a real model."""


class TemplateFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Result of the conformance suite for the chat template, before the trial."""

    template: str
    template_sha256: str
    cases: int
    failed: tuple[str, ...]
    """Ids of failed cases, essential or not."""
    essentials_passed: bool


class ServerMemory(msgspec.Struct, frozen=True, kw_only=True):
    """Of llama-server's process; for memory on cards see the telemetry."""

    loaded_rss_bytes: int
    """When the server was ready."""
    peak_rss_bytes: int | None
    """None where the server ended before the trial."""


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """The server of a trial, and what the trial left behind."""

    weights: WeightsFacts
    template: TemplateFacts | None
    """None of an endpoint: nothing proves its template."""
    argv: tuple[str, ...]
    """Of llama-server, without folders; empty for an endpoint."""
    memory: ServerMemory | None
    """None of an endpoint."""
    spilled: tuple[str, ...] = ()
    """Signs in the server's log of layers and buffers outside the card."""
    telemetry: Telemetry
    trajectory: str
    """Folder of all requests, answers and events, below `records/<host>/`."""


class TrialRecord(Envelope, frozen=True, kw_only=True):
    cell: TrialFacts
    trial: int
    """Number of the attempt, from 1."""
    seed: int | None = None
    """Of llama-server; None left it to chance."""
    temperature: float | None = None
    """Of llama-server; None in older records, whose `argv` has it."""
    result: TrialResult
    check_version: str = "1"
    """Version of the checks; `1` for those of schema 1."""
    agent_kind: str = "opencode"
    agent_version: str
    context7: str
    uv: str
    served: Served | None
    """None where no server started."""
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


def template_facts(conformance: Conformance) -> TemplateFacts:
    return TemplateFacts(
        template=conformance.template,
        template_sha256=conformance.template_sha256,
        cases=len(conformance.cases),
        failed=tuple(case.id for case in conformance.failed),
        essentials_passed=conformance.essentials_passed,
    )


def trial_from_1(fields: Fields, _place: RecordLocation) -> Fields:
    """Migrate a trial of schema 1, whose only agent was OpenCode."""
    others = {key: value for key, value in fields.items() if key != "opencode"}
    return {**others, "agent_version": fields["opencode"]}


AGENT = RecordKind(folder="agent", holds=TrialRecord, migrations={1: trial_from_1})
