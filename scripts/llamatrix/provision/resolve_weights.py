"""Which bytes the published weights are: asked of the hub, or of the user's own file."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from llamatrix.config.cell import Cell, EngineCell
from llamatrix.config.context import Context
from llamatrix.config.lock import (
    HubFile,
    Lock,
    LockedWeights,
    WeightsPin,
    load_lock,
    locked_weights,
    repeats,
    unresolved_weights,
)
from llamatrix.config.matrix import Matrix, WeightsKind
from llamatrix.errors import ProvisionError
from llamatrix.exclusive import exclusive
from llamatrix.progress import say
from llamatrix.project import Project
from llamatrix.provision.integrity import known_sha256
from llamatrix.provision.resolve import Drift, not_in_matrix, write_lock
from llamatrix.provision.weights import hub
from llamatrix.provision.weights.gguf_model import read_model
from llamatrix.provision.weights.local_model import complete
from llamatrix.provision.weights.provide import own_file

_UNRESOLVED = "unresolved; the first command that needs it asks the hub"


def resolve_weights(matrix: Matrix, old: Lock | None) -> dict[str, LockedWeights]:
    """Return every model's newest file on the hub; out of its reach, what `old` knew."""
    entries: dict[str, LockedWeights] = {}
    reached = True
    for name, model in matrix.models.items():
        if model.package:
            continue
        if model.local:
            say(f"models.{name}: a file of yours, {model.file}; the lock leaves it out")
            continue
        asked = unresolved_weights(matrix, name)
        before = old.weights.get(name, asked) if old else asked
        if not repeats(before, asked, ("repository", "file")):
            before = asked
        entries[name] = before
        if reached:
            try:
                entries[name] = _asked(before, WeightsPin.LOCKED)
            except hub.HubUnreachableError as error:
                say(f"{error}; what is known of the weights is kept")
                reached = False
        now = entries[name]
        if now.hub_file is None:
            say(f"weights.{name}: {_UNRESOLVED}")
        elif now.sha256 != before.sha256:
            say(f"weights.{name}: sha256 {now.sha256} (was: {before.sha256})")
    return entries


def compare_weights(matrix: Matrix, lock: Lock) -> Iterator[Drift]:
    """Yield where the lock differs from the hub at the locked revision, or is unchecked."""
    published = [name for name, model in matrix.models.items() if model.repository]
    yield from not_in_matrix("weights", lock.weights, published)
    unreachable = ""
    for name in published:
        entry, locked = f"weights.{name}", lock.weights.get(name)
        asked = unresolved_weights(matrix, name)
        if locked is None:
            yield Drift(entry, "not locked")
        elif not repeats(locked, asked, ("repository", "file")):
            yield Drift(entry, f"{asked.repository} {asked.file} in matrix.toml")
        elif locked.hub_file is None:
            yield Drift(entry, _UNRESOLVED, checked=False)
        elif unreachable:
            yield Drift(entry, unreachable, checked=False)
        else:
            try:
                yield from _differences(entry, locked.hub_file)
            except hub.HubUnreachableError as error:
                unreachable = str(error)
                yield Drift(entry, unreachable, checked=False)


def with_known_weights(
    context: Context, cells: Iterable[EngineCell], *, ask_hub: bool
) -> Context:
    """Return the context with a lock that knows the bytes of cells' and drafts' weights.

    An entry that is unresolved is taken from a file in the user's folder first, then,
    with `ask_hub`, from the hub: its bytes are part of a digest. Local models are
    hashed, and completed from their headers.
    """
    cells = [engine for cell in cells for engine in _engines(cell)]
    local = [cell.model_key for cell in cells if cell.weights is WeightsKind.LOCAL]
    if local:
        context = _with_local_models(context, sorted(set(local)))
    matrix, project, folder = context.matrix, context.project, context.weights_dir
    unknown = {
        cell.model_key: cell.published
        for cell in cells
        if cell.published
        and not cell.published.hub_file
        and cell.weights is WeightsKind.HUB
    }
    own = [name for name, locked in unknown.items() if own_file(locked, folder)]
    lock = context.lock
    if ask_hub and (rest := [name for name in unknown if name not in own]):
        filled = resolved_here(matrix, rest, project).weights
        weights = lock.weights | {name: filled[name] for name in rest}
        lock = msgspec.structs.replace(lock, weights=weights)
    if own and folder:
        lock = with_own_files(matrix, lock, own, project, folder)
    return context.with_lock(lock)


def _engines(cell: EngineCell) -> Iterator[EngineCell]:
    """Yield the cell, and its draft where that has weights of its own."""
    yield cell
    if isinstance(cell, Cell) and cell.draft_engine:
        yield cell.draft_engine


def _with_local_models(context: Context, names: Sequence[str]) -> Context:
    """Return the context with complete entries and the sha256 of local models."""
    models, weights = {}, dict(context.lock.weights)
    for name in names:
        model = context.matrix.models[name]
        path = Path(model.file)
        if not path.is_file():
            raise ProvisionError(
                f"models.{name}.file: {path}: no such file; a published model also needs "
                "its repository"
            )
        models[name] = complete(model, path)
        unresolved = unresolved_weights(context.matrix, name)
        weights[name] = _taken(unresolved, path, context.project.cache)
    lock = msgspec.structs.replace(context.lock, weights=weights)
    return context.with_models(models).with_lock(lock)


def _taken(locked: LockedWeights, path: Path, cache: Path) -> LockedWeights:
    """Return an entry with the bytes of a file of the user's."""
    return msgspec.structs.replace(
        locked,
        sha256=known_sha256(path, cache),
        size_bytes=path.stat().st_size,
        pin=WeightsPin.OWN_FILE,
    )


def with_own_files(
    matrix: Matrix, lock: Lock, models: Sequence[str], project: Project, folder: Path
) -> Lock:
    """The lock, unresolved entries filled in from files that the user has.

    For this run only: what one machine has is not what the lock should promise. A file
    that is no language model is refused: nothing else says what its bytes should be.
    """
    entries = dict(lock.weights)
    for name in models:
        locked = locked_weights(matrix, lock, name)
        path = own_file(locked, folder)
        if path is None or locked.hub_file:
            continue
        read_model(path)
        entries[name] = taken = _taken(locked, path, project.cache)
        say(
            f"weights.{name}: unresolved in matrix.lock; taken as {path} is: "
            f"{taken.sha256}"
        )
    return msgspec.structs.replace(lock, weights=entries)


def resolved_here(matrix: Matrix, models: Sequence[str], project: Project) -> Lock:
    """Ask the hub for what the lock does not know yet, and write it there."""
    with exclusive(project.cache / "matrix-lock.lock", purpose="resolving weights"):
        lock = load_lock(project.lock_file)
        entries = dict(lock.weights)
        for name in models:
            locked = locked_weights(matrix, lock, name)
            if locked.hub_file is None:
                entries[name] = _first_asked(name, locked)
        filled = msgspec.structs.replace(lock, weights=entries)
        if filled != lock:
            try:
                write_lock(filled, project.lock_file)
            except ProvisionError as error:
                say(f"{error}; what was resolved holds for this run")
            else:
                say(
                    f"{project.lock_file.name}: written, with the weights resolved here"
                )
    return filled


def _asked(locked: LockedWeights, pin: WeightsPin) -> LockedWeights:
    found = hub.look_up(locked.repository, locked.file)
    return LockedWeights(**msgspec.structs.asdict(found), pin=pin)


def _first_asked(name: str, locked: LockedWeights) -> LockedWeights:
    try:
        found = _asked(locked, WeightsPin.RESOLVED_HERE)
    except hub.HubUnreachableError as error:
        raise ProvisionError(
            f"matrix.lock: weights.{name}: unresolved, and {error}\nreach the hub once, "
            f"or give a folder that has {locked.file} as --weights-dir"
        ) from error
    say(f"weights.{name}: resolved here to revision {found.revision}")
    return found


def _differences(entry: str, locked: HubFile) -> Iterator[Drift]:
    try:
        found = hub.look_up(locked.repository, locked.file, revision=locked.revision)
    except hub.HubUnreachableError:
        raise
    except ProvisionError as error:
        yield Drift(entry, str(error))
        return
    for key in ("sha256", "size_bytes"):
        value, known = getattr(found, key), getattr(locked, key)
        if value != known:
            yield Drift(f"{entry}.{key}", f"{value} (locked: {known})")
