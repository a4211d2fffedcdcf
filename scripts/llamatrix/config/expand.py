"""From a profile to its cells, in order: pin by pin, model by model."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import product

from msgspec.structs import asdict

from llamatrix.config.agent_cell import AgentCell
from llamatrix.config.cell import GENERATOR_VERSIONS, Cell, Engine, Synthesis
from llamatrix.config.complaint import nearest
from llamatrix.config.lock import (
    Lock,
    LockedWeights,
    locked_npm,
    locked_pin,
    locked_template,
    locked_weights,
)
from llamatrix.config.matrix import Matrix, Measurement, Profile, WeightsKind
from llamatrix.errors import MatrixError


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A profile's cells of every kind, in the order in which they are measured."""

    speed: tuple[Cell, ...]
    agents: tuple[AgentCell, ...]

    @property
    def cells(self) -> tuple[Cell | AgentCell, ...]:
        return (*self.speed, *self.agents)


def select_profile(matrix: Matrix, name: str) -> Profile:
    profile = matrix.profiles.get(name)
    if profile is None:
        hint = nearest(name, matrix.profiles)
        raise MatrixError(f"matrix.toml: no profile {name!r}{hint}")
    return profile


def expand(
    matrix: Matrix, lock: Lock, profile_name: str, *, cells: str | None = None
) -> tuple[Cell, ...]:
    """The speed cells of `expand_plan`."""
    return expand_plan(matrix, lock, profile_name, cells=cells).speed


def expand_plan(
    matrix: Matrix, lock: Lock, profile_name: str, *, cells: str | None = None
) -> Plan:
    """The profile's cells that its globs and the caller's keep, in plan order."""
    profile = select_profile(matrix, profile_name)
    every = _every(matrix, lock, profile)
    ids = [cell.id for cell in every.cells]
    where = f"matrix.toml: profiles.{profile_name}"
    for axis, patterns in (("include", profile.include), ("exclude", profile.exclude)):
        for pattern in patterns:
            if not _matching(ids, pattern):
                raise MatrixError(
                    f"{where}.{axis}: {pattern!r} matches no cell"
                    f"{nearest(pattern, ids)}"
                )
    kept = {
        name
        for name in ids
        if any(fnmatchcase(name, pattern) for pattern in profile.include)
        and not any(fnmatchcase(name, pattern) for pattern in profile.exclude)
    }
    if not kept:
        raise MatrixError(f"{where}: include and exclude leave no cell")
    chosen = kept if cells is None else _matching(kept, cells)
    if not chosen:
        raise MatrixError(
            f"--cells {cells!r} matches no cell of profile "
            f"{profile_name!r}{nearest(str(cells), sorted(kept))}"
        )
    return Plan(
        speed=tuple(cell for cell in every.speed if cell.id in chosen),
        agents=tuple(cell for cell in every.agents if cell.id in chosen),
    )


def _every(matrix: Matrix, lock: Lock, profile: Profile) -> Plan:
    engines = list(_engines(matrix, lock, profile))
    return Plan(
        speed=tuple(_speed_cells(matrix, profile, engines)),
        agents=tuple(_agent_cells(matrix, lock, profile, engines)),
    )


def _engines(matrix: Matrix, lock: Lock, profile: Profile) -> Iterator[Engine]:
    for pin, build, model in product(profile.pins, profile.builds, profile.models):
        yield Engine(
            model_key=model,
            model=matrix.models[model],
            weights=profile.weights,
            synthesis=None
            if profile.weights is WeightsKind.HUB
            else synthesis_of(matrix, lock, model, profile.weights),
            published=_published(matrix, lock, profile.weights, model),
            pin_key=pin,
            pin=matrix.pins[pin],
            locked=locked_pin(matrix, lock, pin),
            build_key=build,
            build=matrix.builds[build],
        )


def _speed_cells(
    matrix: Matrix, profile: Profile, engines: Iterable[Engine]
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


def _agent_cells(
    matrix: Matrix, lock: Lock, profile: Profile, engines: Iterable[Engine]
) -> Iterator[AgentCell]:
    if (
        profile.agent is None
        or profile.server is None
        or Measurement.AGENT not in profile.measure
    ):
        return
    agent = matrix.agents[profile.agent]
    for engine, task in product(engines, agent.tasks):
        yield AgentCell(
            server_key=profile.server,
            server=matrix.servers[profile.server],
            agent_key=profile.agent,
            agent=agent,
            opencode=locked_npm(matrix, lock, "opencode", agent.opencode),
            context7=locked_npm(matrix, lock, "context7", agent.context7),
            task=task,
            template=locked_template(matrix, lock, engine.model_key),
            **asdict(engine),
        )


def synthesis_of(
    matrix: Matrix, lock: Lock, model: str, weights: WeightsKind
) -> Synthesis:
    """What decides the bytes of a model's made-up weights."""
    return Synthesis(
        generator_version=GENERATOR_VERSIONS[weights],
        seed=matrix.synthetic.seed,
        template_pin=locked_pin(matrix, lock, matrix.synthetic.template_pin),
        template=matrix.models[model].template,
    )


def _published(
    matrix: Matrix, lock: Lock, weights: WeightsKind, model: str
) -> LockedWeights | None:
    if weights is not WeightsKind.HUB:
        return None
    return locked_weights(matrix, lock, model)


def _matching(ids: Iterable[str], pattern: str) -> set[str]:
    return {name for name in ids if fnmatchcase(name, pattern)}
