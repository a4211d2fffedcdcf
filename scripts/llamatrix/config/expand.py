"""From a profile to its cells, in order: pin by pin, model by model."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import product
from pathlib import PurePath
from typing import Any, TypeVar

from msgspec.structs import asdict, replace

from llamatrix.config.agent_cell import AgentCell
from llamatrix.config.cell import GENERATOR_VERSIONS, Cell, EngineCell, Synthesis
from llamatrix.config.complaint import nearest
from llamatrix.config.endpoint_cell import EndpointCell
from llamatrix.config.lock import (
    UNHASHED,
    Lock,
    LockedPin,
    Unproven,
    locked_npm,
    locked_package,
    locked_pin,
    locked_template,
    locked_weights,
    numbered_pin,
)
from llamatrix.config.matrix import (
    BATCHED,
    NO_DRAFT,
    WITH_SYNTHETIC_ASSISTANT,
    Backend,
    Build,
    DraftType,
    Matrix,
    Measurement,
    Model,
    Pin,
    Profile,
    Server,
    WeightsKind,
)
from llamatrix.errors import MatrixError

T = TypeVar("T")


_UNASKED = LockedPin(
    commit=UNHASHED, nar_hash=f"sha256-{'A' * 43}=", unproven=Unproven.ENDPOINT
)
_UNKNOWN_SERVER = Server(
    parallel=1,
    batch_size=1,
    ubatch_size=1,
    cache_type_k="",
    cache_type_v="",
    flash_attn=False,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A profile's cells of every kind, in the order in which they are measured.

    `cells` are those with weights and a build.
    """

    speed: tuple[Cell, ...]
    agents: tuple[AgentCell, ...]
    endpoints: tuple[EndpointCell, ...] = ()

    @property
    def cells(self) -> tuple[Cell | AgentCell, ...]:
        return (*self.speed, *(cell for cell in self.agents if not cell.endpoint))


def select_profile(matrix: Matrix, name: str) -> Profile:
    profile = matrix.profiles.get(name)
    if profile is None:
        hint = nearest(name, matrix.profiles)
        raise MatrixError(f"matrix.toml: no profile {name!r}{hint}")
    return profile


def select_cells(
    items: Iterable[T], pattern: str, *, ids: Callable[[T], Sequence[str]]
) -> tuple[T, ...]:
    """Return the items with an id that matches the glob of `--cells`; all for an empty one.

    `ids` returns an item's names, its own first. MatrixError, with the nearest id, where
    nothing matches.
    """
    every = tuple(items)
    if not pattern:
        return every
    chosen = tuple(item for item in every if matches_any(ids(item), (pattern,)))
    if not chosen:
        hint = nearest(pattern, {ids(item)[0] for item in every})
        raise MatrixError(f"--cells {pattern!r} matches no cell{hint}")
    return chosen


def matches_any(ids: Iterable[str], patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for name in ids for pattern in patterns)


def expand_plan(
    matrix: Matrix, lock: Lock, profile_name: str, *, cells: str = ""
) -> Plan:
    """The cells of a profile that its globs and the caller's keep, in plan order."""
    profile = select_profile(matrix, profile_name)
    kept = [
        cell
        for name in (profile_name, *profile.also)
        for cell in _kept_cells(matrix, lock, name)
    ]
    chosen = select_cells(kept, cells, ids=lambda cell: (cell.id,))
    return Plan(
        speed=tuple(cell for cell in chosen if isinstance(cell, Cell)),
        agents=tuple(cell for cell in chosen if isinstance(cell, AgentCell)),
        endpoints=tuple(cell for cell in chosen if isinstance(cell, EndpointCell)),
    )


def _kept_cells(
    matrix: Matrix, lock: Lock, profile_name: str
) -> list[Cell | AgentCell | EndpointCell]:
    profile = select_profile(matrix, profile_name)
    engines = list(_engines(matrix, lock, profile))
    every: list[Cell | AgentCell | EndpointCell] = [
        *_speed_cells(matrix, profile, engines),
        *_serve_cells(matrix, lock, profile, engines),
        *_agent_cells(matrix, lock, profile, engines),
        *_endpoint_cells(matrix, profile),
        *_endpoint_trials(matrix, lock, profile),
    ]
    ids = [cell.id for cell in every]
    where = f"matrix.toml: profiles.{profile_name}"
    for axis, patterns in (("include", profile.include), ("exclude", profile.exclude)):
        for pattern in patterns:
            if not matches_any(ids, (pattern,)):
                raise MatrixError(
                    f"{where}.{axis}: {pattern!r} matches no cell"
                    f"{nearest(pattern, ids)}"
                )
    kept = [
        cell
        for cell in every
        if matches_any((cell.id,), profile.include)
        and not matches_any((cell.id,), profile.exclude)
    ]
    if not kept:
        raise MatrixError(f"{where}: include and exclude leave no cell")
    return kept


def _engines(matrix: Matrix, lock: Lock, profile: Profile) -> Iterator[EngineCell]:
    for pin, build, key in product(profile.pins, profile.builds, profile.models):
        yield EngineCell(
            **_weights(matrix, lock, key, profile),
            pin_key=pin,
            pin=numbered_pin(matrix, lock, pin),
            locked=locked_pin(matrix, lock, pin),
            build_key=build,
            build=matrix.builds[build],
        )


def _weights(matrix: Matrix, lock: Lock, key: str, profile: Profile) -> dict[str, Any]:
    """The fields of an engine that say which weights it has."""
    model = matrix.models[key]
    kind = model.weights_of(profile)
    if model.local:  # its path is not part of a record
        model = replace(model, file=PurePath(model.file).name)
    known = kind in {WeightsKind.HUB, WeightsKind.LOCAL}
    return {
        "model_key": key,
        "model": model,
        "weights": kind,
        "synthesis": Synthesis(
            generator_version=GENERATOR_VERSIONS[kind],
            seed=matrix.synthetic.seed,
            template_pin=locked_pin(matrix, lock, matrix.synthetic.template_pin),
            template=model.template,
        )
        if kind.synthetic
        else None,
        "published": locked_weights(matrix, lock, key) if known else None,
        "packaged": locked_package(matrix, lock, key) if model.package else None,
    }


def _speed_cells(
    matrix: Matrix, profile: Profile, engines: Iterable[EngineCell]
) -> Iterator[Cell]:
    if profile.sweep is None or Measurement.SPEED not in profile.measure:
        return
    for engine in engines:
        yield Cell(
            measurement=Measurement.SPEED,
            sweep_key=profile.sweep,
            sweep=matrix.sweeps[profile.sweep],
            **asdict(engine),
        )


def _serve_cells(
    matrix: Matrix, lock: Lock, profile: Profile, engines: Iterable[EngineCell]
) -> Iterator[Cell]:
    """One cell for each draft; all of a sweep's drafts are measured on the same file."""
    if profile.sweep is None or Measurement.SERVE_SPEED not in profile.measure:
        return
    sweep = matrix.sweeps[profile.sweep]
    head = any(
        draft.type is DraftType.MTP and draft.model is None
        for name, draft in matrix.drafts.items()
        if name in sweep.drafts
    )
    for engine in engines:
        with_head, assistant = engine, None
        if head and engine.synthesis:
            synthesis = replace(engine.synthesis, head=True)
            with_head = replace(engine, synthesis=synthesis)
        if with_head is not engine and engine.model_key in WITH_SYNTHETIC_ASSISTANT:
            with_head, assistant = engine, with_head
        # in front: of one build, the server is compiled last
        names = (*((BATCHED,) if sweep.batched else ()), *(sweep.drafts or (NO_DRAFT,)))
        for name in names:
            draft = matrix.drafts.get(name)
            own = assistant if draft and draft.type is DraftType.MTP else None
            if draft and draft.model:
                weights = _weights(matrix, lock, draft.model, profile)
                own = replace(engine, **weights)
            yield Cell(
                measurement=Measurement.SERVE_SPEED,
                sweep_key=profile.sweep,
                sweep=sweep,
                draft_key=name,
                draft=draft,
                draft_engine=own,
                **asdict(with_head),
            )


def _agent_cells(
    matrix: Matrix, lock: Lock, profile: Profile, engines: Iterable[EngineCell]
) -> Iterator[AgentCell]:
    if profile.server is None:
        return
    for engine in engines:
        for task in _tasks(matrix, lock, profile):
            yield AgentCell(
                server_key=profile.server,
                server=matrix.servers[profile.server],
                template=locked_template(matrix, lock, engine.model_key),
                **task,
                **asdict(engine),
            )


def _tasks(matrix: Matrix, lock: Lock, profile: Profile) -> Iterator[dict[str, Any]]:
    """Yield the fields of an agent cell that say which agent does which task."""
    if profile.agent is None or Measurement.AGENT not in profile.measure:
        return
    agent = matrix.agents[profile.agent]
    for task in agent.tasks:
        yield {
            "agent_key": profile.agent,
            "agent": agent,
            "program": locked_npm(matrix, lock, agent.kind.value, agent.version_key),
            "context7": locked_npm(matrix, lock, "context7", agent.context7),
            "task": task,
        }


def _endpoint_cells(matrix: Matrix, profile: Profile) -> Iterator[EndpointCell]:
    if profile.endpoint_sweep is None or Measurement.SPEED not in profile.measure:
        return
    for key in profile.endpoints:
        yield EndpointCell(
            endpoint_key=key,
            endpoint=matrix.endpoints[key],
            sweep_key=profile.endpoint_sweep,
            sweep=matrix.endpoint_sweeps[profile.endpoint_sweep],
        )


def _endpoint_trials(
    matrix: Matrix, lock: Lock, profile: Profile
) -> Iterator[AgentCell]:
    tasks = list(_tasks(matrix, lock, profile))
    for key, task in product(profile.endpoints, tasks):
        endpoint = matrix.endpoints[key]
        name = endpoint.model
        yield AgentCell(
            model_key=key,
            model=Model(
                name=PurePath(name).name if name.startswith("/") else name,
                ctx_size=endpoint.ctx_size,
            ),
            weights=WeightsKind.ENDPOINT,
            synthesis=None,
            pin_key=key,
            pin=Pin(),
            locked=lock.pins.get(endpoint_pin(key), _UNASKED),
            build_key="http",
            build=Build(backend=Backend.CPU),
            server_key="",
            server=_UNKNOWN_SERVER,
            template=None,
            endpoint=endpoint,
            **task,
        )


def endpoint_pin(key: str) -> str:
    """The name in the lock, in memory alone, of what an endpoint reports."""
    return f"endpoint:{key}"
