"""Which bytes the published weights are: asked of the hub, or of the user's own file."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from llamatrix.config.cell import EngineCell
from llamatrix.config.context import Context
from llamatrix.config.lock import (
    HubFile,
    Lock,
    LockedWeights,
    WeightsPin,
    load_lock,
    locked_weights,
    unresolved_weights,
)
from llamatrix.config.matrix import Matrix, WeightsKind
from llamatrix.errors import ProvisionError
from llamatrix.exclusive import exclusive
from llamatrix.progress import say
from llamatrix.project import Project
from llamatrix.provision.integrity import known_sha256
from llamatrix.provision.resolve import Drift, write_lock
from llamatrix.provision.weights import hub
from llamatrix.provision.weights.gguf_model import read_model
from llamatrix.provision.weights.local_model import complete
from llamatrix.provision.weights.provide import own_file


def resolve_weights(matrix: Matrix, old: Lock | None) -> dict[str, LockedWeights]:
    """Every model's newest file on the hub; out of its reach, what `old` knew."""
    entries: dict[str, LockedWeights] = {}
    reached = True
    for name, model in matrix.models.items():
        if model.package:
            continue
        if model.local:
            say(f"models.{name}: a file of yours, {model.file}; the lock leaves it out")
            continue
        before = _before(matrix, name, old)
        entries[name] = before
        if reached:
            try:
                entries[name] = _asked(before, WeightsPin.LOCKED)
            except hub.HubUnreachableError as error:
                say(f"{error}; what is known of the weights is kept")
                reached = False
        _say_change(name, before, entries[name])
    return entries


def compare_weights(matrix: Matrix, lock: Lock) -> Iterator[Drift]:
    """Where the lock differs from the hub at the locked revision, or was not checked."""
    published = [name for name, model in matrix.models.items() if model.repository]
    for name in sorted(lock.weights.keys() - set(published)):
        yield Drift(entry=f"weights.{name}", found="not in matrix.toml", checked=True)
    unreachable = ""
    for name in published:
        entry, locked = f"weights.{name}", lock.weights.get(name)
        asked = unresolved_weights(matrix, name)
        if locked is None:
            yield Drift(entry=entry, found="not locked", checked=True)
        elif (locked.repository, locked.file) != (asked.repository, asked.file):
            found = f"{asked.repository} {asked.file} in matrix.toml"
            yield Drift(entry=entry, found=found, checked=True)
        elif locked.hub_file is None:
            found = "unresolved; the first command that needs it asks the hub"
            yield Drift(entry=entry, found=found, checked=False)
        elif unreachable:
            yield Drift(entry=entry, found=unreachable, checked=False)
        else:
            try:
                yield from _differences(entry, locked.hub_file)
            except hub.HubUnreachableError as error:
                unreachable = str(error)
                yield Drift(entry=entry, found=unreachable, checked=False)


def with_known_weights(
    context: Context, cells: Iterable[EngineCell], *, ask_hub: bool
) -> Context:
    """Return the context with a lock that knows the bytes of the cells' weights.

    An entry that is unresolved is taken from a file in the user's folder first, then,
    with `ask_hub`, from the hub: its bytes are part of a digest. Local models are
    hashed, and completed from their headers.
    """
    cells = tuple(cells)
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
        pins = context.lock.pins  # with those that only this run knows
        filled = resolved_here(matrix, rest, project)
        lock = msgspec.structs.replace(filled, pins=pins)
    if own and folder:
        lock = with_own_files(matrix, lock, own, project, folder)
    return context.with_lock(lock)


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
        weights[name] = msgspec.structs.replace(
            unresolved_weights(context.matrix, name),
            sha256=known_sha256(path, context.project.cache),
            size_bytes=path.stat().st_size,
            pin=WeightsPin.OWN_FILE,
        )
    lock = msgspec.structs.replace(context.lock, weights=weights)
    return context.with_models(models).with_lock(lock)


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
        sha256 = known_sha256(path, project.cache)
        say(f"weights.{name}: unresolved in matrix.lock; taken as {path} is: {sha256}")
        entries[name] = msgspec.structs.replace(
            locked,
            sha256=sha256,
            size_bytes=path.stat().st_size,
            pin=WeightsPin.OWN_FILE,
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
            _keep(filled, project)
    return filled


def _before(matrix: Matrix, name: str, old: Lock | None) -> LockedWeights:
    asked = unresolved_weights(matrix, name)
    known = old.weights.get(name, asked) if old else asked
    same = (known.repository, known.file) == (asked.repository, asked.file)
    return known if same else asked


def _asked(locked: LockedWeights, pin: WeightsPin) -> LockedWeights:
    found = hub.look_up(locked.repository, locked.file)
    return LockedWeights(
        repository=found.repository,
        file=found.file,
        revision=found.revision,
        sha256=found.sha256,
        size_bytes=found.size_bytes,
        pin=pin,
    )


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


def _keep(lock: Lock, project: Project) -> None:
    try:
        write_lock(lock, project.lock_file)
    except ProvisionError as error:
        say(f"{error}; what was resolved holds for this run")
    else:
        say(f"{project.lock_file.name}: written, with the weights resolved here")


def _differences(entry: str, locked: HubFile) -> Iterator[Drift]:
    try:
        found = hub.look_up(locked.repository, locked.file, revision=locked.revision)
    except hub.HubUnreachableError:
        raise
    except ProvisionError as error:
        yield Drift(entry=entry, found=str(error), checked=True)
        return
    for key in ("sha256", "size_bytes"):
        value, known = getattr(found, key), getattr(locked, key)
        if value != known:
            text = f"{value} (locked: {known})"
            yield Drift(entry=f"{entry}.{key}", found=text, checked=True)


def _say_change(name: str, before: LockedWeights, now: LockedWeights) -> None:
    if now.hub_file is None:
        say(f"weights.{name}: unresolved; the first command that needs it asks the hub")
    elif now.sha256 != before.sha256:
        say(f"weights.{name}: sha256 {now.sha256} (was: {before.sha256})")
