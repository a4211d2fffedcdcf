"""The two arms of a replayed session, and what makes two such comparisons the same."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from llamatrix.campaigns.launching import server_of
from llamatrix.campaigns.regress.arms import Asked, both, facing_cells
from llamatrix.host import this_host
from llamatrix.measure.recording import Recording
from llamatrix.plan.cell import Cell
from llamatrix.plan.lock import Lock, LockedTemplate, locked_template
from llamatrix.plan.matrix import Matrix, Server
from llamatrix.provision.compiler import compiler_id
from llamatrix.verdict.metric import Metric
from llamatrix.verdict.pairs import Arm

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
    template: LockedTemplate | None
    """That of the prompts; None where it is in the weights."""
    recording: Recording

    @property
    def digest(self) -> str:
        """Over all that identifies both arms here: pairs of another one never mix."""
        return _sha256(
            (
                REPLAY_VERSION,
                self.recording.digest,
                self.template,
                [self._arm(arm) for arm in Arm],
            )
        )

    @property
    def identical(self) -> bool:
        baseline, candidate = (self._arm(arm) for arm in Arm)
        return baseline == candidate

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


def replay_cases(
    matrix: Matrix,
    lock: Lock,
    profile: str,
    asked: dict[Arm, Asked],
    recording: Recording,
    metrics: Sequence[Metric],
) -> tuple[ReplayCase, ...]:
    """Every metric of every model of a profile, in its order."""
    servers = {arm: asked[arm].server or server_of(matrix, profile) for arm in Arm}
    return tuple(
        ReplayCase(session=session, metric=metric)
        for baseline, candidate in facing_cells(matrix, lock, profile, asked)
        for session in [
            SessionCase(
                id=_id(baseline, candidate, servers, recording),
                cells={
                    Arm.BASELINE: _without_sweep(baseline),
                    Arm.CANDIDATE: _without_sweep(candidate),
                },
                servers=servers,
                flags={arm: matrix.servers[name] for arm, name in servers.items()},
                template=locked_template(matrix, lock, baseline.model_key),
                recording=recording,
            )
        ]
        for metric in metrics
    )


def _id(
    baseline: Cell, candidate: Cell, servers: dict[Arm, str], recording: Recording
) -> str:
    """As a cell id, with the server where the two differ, then the recording."""
    names = tuple(servers.values())
    parts = [
        *("replay", baseline.weights_key),
        both(baseline.pin_key, candidate.pin_key),
        both(baseline.build_key, candidate.build_key),
        *([both(*names)] if names[0] != names[1] else []),
        recording.digest[:_ID_LENGTH],
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
