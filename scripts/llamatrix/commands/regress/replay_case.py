"""The two arms of a replayed session, and what makes two such comparisons the same."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec

from llamatrix.commands.launching import Template
from llamatrix.commands.regress.arms import Asked, both, facing_cells
from llamatrix.config.cell import Cell
from llamatrix.config.context import server_of
from llamatrix.config.lock import Lock, LockedTemplate, locked_template
from llamatrix.config.matrix import Matrix, Model, Server
from llamatrix.host import this_host
from llamatrix.provision.compiler import compiler_id
from llamatrix.proxy.recording import Recording
from llamatrix.stats.pairs import Arm
from llamatrix.stats.verdict import Metric

REPLAY_VERSION = 1
"""Bumped by hand when sessions are replayed in another way."""
REPLAY_METRICS = (Metric.PROMPT, Metric.GENERATION, Metric.FIRST_TOKEN)
_ID_LENGTH = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionCase:
    """One model in both arms, replaying one recording."""

    id: str
    cells: dict[Arm, Cell]
    servers: dict[Arm, str]
    """Names in matrix.toml …"""
    flags: dict[Arm, Server]
    """… and what stands there."""
    pinned: LockedTemplate | None
    """The model's corrected template; None where the one in its weights serves …"""
    templates: dict[Arm, Template]
    """… but of an arm that has one here, this."""
    recording: Recording

    @property
    def digest(self) -> str:
        """Over all that identifies both arms here: pairs of another one never mix."""
        return _sha256(
            (
                REPLAY_VERSION,
                self.recording.digest,
                [self._arm(arm) for arm in Arm],
            )
        )

    @property
    def identical(self) -> bool:
        baseline, candidate = (self._arm(arm) for arm in Arm)
        return baseline == candidate

    @property
    def same_prompts(self) -> bool:
        """Whether both arms get the very same tokens: one template made them."""
        baseline, candidate = (self._template(arm) for arm in Arm)
        return baseline == candidate

    @property
    def template_names(self) -> dict[Arm, str]:
        """For people; the model's own where none was named."""
        own = str(self.cells[Arm.BASELINE].model.chat_template_file or "embedded")
        named = {arm: template.name for arm, template in self.templates.items()}
        return {arm: named.get(arm, own) for arm in Arm}

    def _template(self, arm: Arm) -> str | None:
        if arm in self.templates:
            return self.templates[arm].sha256
        return self.pinned.result_sha256 if self.pinned else None

    def _arm(self, arm: Arm) -> tuple[object, ...]:
        """Of the model its settings as a server: what it is called does not count."""
        cell = self.cells[arm]
        model = cell.model
        return (
            cell.digest(
                host_slug=this_host().slug, compiler=compiler_id(cell.build.backend)
            ),
            self.flags[arm],
            (model.ctx_size, model.temp, model.top_k, model.top_p, model.min_p),
            model.chat_template_kwargs,
            self._template(arm),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayCase:
    """One metric of a session: what gets a verdict of its own."""

    session: SessionCase
    metric: Metric

    @property
    def id(self) -> str:
        return f"{self.session.id}/{self.metric}"

    @property
    def cells(self) -> dict[Arm, Cell]:
        return self.session.cells

    @property
    def identical(self) -> bool:
        return self.session.identical


@dataclass(frozen=True, kw_only=True, slots=True)
class Sessions:
    """How a profile's models are to be served in both arms."""

    matrix: Matrix
    profile: str
    asked: dict[Arm, Asked]
    recording: Recording
    templates: Callable[[Arm, Model], Template | None]
    """What an arm's user named for a model; None leaves the model its own."""

    def cases(self, lock: Lock, metrics: Sequence[Metric]) -> tuple[ReplayCase, ...]:
        """Every metric of every model, in the profile's order."""
        facing = facing_cells(self.matrix, lock, self.profile, self.asked)
        sessions = [self._session(lock, *cells) for cells in facing]
        return tuple(
            ReplayCase(session=session, metric=metric)
            for session in sessions
            for metric in metrics
        )

    def _session(self, lock: Lock, baseline: Cell, candidate: Cell) -> SessionCase:
        servers = {
            arm: self.asked[arm].server or server_of(self.matrix, self.profile)
            for arm in Arm
        }
        named = {arm: self.templates(arm, baseline.model) for arm in Arm}
        case = SessionCase(
            id="",
            cells={
                Arm.BASELINE: _without_sweep(baseline),
                Arm.CANDIDATE: _without_sweep(candidate),
            },
            servers=servers,
            flags={arm: self.matrix.servers[name] for arm, name in servers.items()},
            pinned=locked_template(self.matrix, lock, baseline.model_key),
            templates={arm: found for arm, found in named.items() if found},
            recording=self.recording,
        )
        return replace(case, id=_id(case))


def _id(case: SessionCase) -> str:
    """As a cell id, with server and template where the two differ, then the recording."""
    baseline, candidate = (case.cells[arm] for arm in Arm)
    differing = [
        both(*found.values())
        for found in (case.servers, case.template_names)
        if len(set(found.values())) > 1
    ]
    parts = [
        *("replay", baseline.weights_key),
        both(baseline.pin_key, candidate.pin_key),
        both(baseline.build_key, candidate.build_key),
        *differing,
        case.recording.digest[:_ID_LENGTH],
    ]
    return "/".join(parts)


def _without_sweep(cell: Cell) -> Cell:
    """llama-bench's sizes cannot change what a server does."""
    sweep = msgspec.structs.replace(
        cell.sweep, n_prompt=(), n_gen=(), repetitions=1, threads=None
    )
    return msgspec.structs.replace(cell, sweep=sweep)


def _sha256(content: object) -> str:
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()
