"""From a profile to its cells, in order: pin by pin, model by model."""

from fnmatch import fnmatchcase

from llamatrix.errors import MatrixError
from llamatrix.plan.cell import GENERATOR_VERSION, Cell, Synthesis
from llamatrix.plan.complaint import nearest
from llamatrix.plan.lock import Lock, LockedWeights, locked_pin, locked_weights
from llamatrix.plan.matrix import Matrix, Profile, WeightsKind


def select_profile(matrix: Matrix, name: str) -> Profile:
    profile = matrix.profiles.get(name)
    if profile is None:
        hint = nearest(name, matrix.profiles)
        raise MatrixError(f"matrix.toml: no profile {name!r}{hint}")
    return profile


def expand(
    matrix: Matrix, lock: Lock, profile_name: str, *, cells: str | None = None
) -> tuple[Cell, ...]:
    """The profile's cells that its globs and the caller's keep, in plan order."""
    profile = select_profile(matrix, profile_name)
    every = _product(matrix, lock, profile)
    where = f"matrix.toml: profiles.{profile_name}"
    for axis, patterns in (("include", profile.include), ("exclude", profile.exclude)):
        for pattern in patterns:
            if not _matching(every, pattern):
                raise MatrixError(
                    f"{where}.{axis}: {pattern!r} matches no cell{_ids(every, pattern)}"
                )
    kept = tuple(
        cell
        for cell in every
        if any(fnmatchcase(cell.id, pattern) for pattern in profile.include)
        and not any(fnmatchcase(cell.id, pattern) for pattern in profile.exclude)
    )
    if not kept:
        raise MatrixError(f"{where}: include and exclude leave no cell")
    if cells is None:
        return kept
    chosen = _matching(kept, cells)
    if not chosen:
        raise MatrixError(
            f"--cells {cells!r} matches no cell of profile "
            f"{profile_name!r}{_ids(kept, cells)}"
        )
    return chosen


def _product(matrix: Matrix, lock: Lock, profile: Profile) -> tuple[Cell, ...]:
    if profile.sweep is None:
        return ()
    return tuple(
        Cell(
            measurement=measurement,
            model_key=model,
            model=matrix.models[model],
            weights=profile.weights,
            synthesis=_synthesis(matrix, lock, profile.weights, model),
            published=_published(matrix, lock, profile.weights, model),
            pin_key=pin,
            pin=matrix.pins[pin],
            locked=locked_pin(matrix, lock, pin),
            build_key=build,
            build=matrix.builds[build],
            sweep_key=profile.sweep,
            sweep=matrix.sweeps[profile.sweep],
        )
        for measurement in profile.measure
        for pin in profile.pins
        for build in profile.builds
        for model in profile.models
    )


def _synthesis(
    matrix: Matrix, lock: Lock, weights: WeightsKind, model: str
) -> Synthesis | None:
    if weights is WeightsKind.HUB:
        return None
    return Synthesis(
        generator_version=GENERATOR_VERSION,
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


def _matching(cells: tuple[Cell, ...], pattern: str) -> tuple[Cell, ...]:
    return tuple(cell for cell in cells if fnmatchcase(cell.id, pattern))


def _ids(cells: tuple[Cell, ...], pattern: str) -> str:
    return nearest(pattern, [cell.id for cell in cells])
