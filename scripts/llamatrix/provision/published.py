"""A published GGUF on disk: the user's own file, the hub cache's, or a new download.

Nothing is used whose sha256 is not the locked one, and nothing of the user's deleted.
"""

import time
from pathlib import Path, PurePosixPath

from llamatrix.config.lock import HubFile, LockedWeights
from llamatrix.errors import ProvisionError
from llamatrix.exclusive import exclusive
from llamatrix.progress import meter, say
from llamatrix.provision import hub
from llamatrix.provision.gguf_model import read_model
from llamatrix.provision.integrity import known_sha256, shown_sha256
from llamatrix.provision.sdist import ensure_free
from llamatrix.units import bytes_text

_PAUSES_S = (1.0, 4.0, 10.0)
"""Waits between attempts that brought nothing; after the last one we give up."""


def provide_published(
    locked: LockedWeights, cache: Path, *, weights_dir: Path | None
) -> Path:
    """The file of a lock entry, verified, fetched only where it is nowhere."""
    own = own_file(locked, weights_dir)
    if own:
        return _verified(own, locked, cache)
    wanted = locked.hub_file
    if wanted is None:
        raise ProvisionError(
            f"matrix.lock: weights of {locked.file}: unresolved; run `invoke lock` where "
            "the hub can be reached, or give a folder that has the file as --weights-dir"
        )
    kept = hub.cached(wanted)
    if kept is None:
        if weights_dir:
            say(f"{weights_dir}: has no {_name(locked)}; it is fetched from the hub")
        _fetch(wanted, cache)
        kept = hub.link(wanted)
    return _verified(kept, locked, cache)


def own_file(locked: LockedWeights, weights_dir: Path | None) -> Path | None:
    """The file in the folder that the user gave; None where it is not there."""
    if weights_dir is None:
        return None
    if not weights_dir.is_dir():
        raise ProvisionError(f"--weights-dir {weights_dir}: no such folder")
    path = weights_dir / _name(locked)
    return path if path.is_file() else None


def _name(locked: LockedWeights) -> str:
    return PurePosixPath(locked.file).name


def _verified(path: Path, locked: LockedWeights, cache: Path) -> Path:
    size_bytes = path.stat().st_size
    if locked.hub_file and size_bytes != locked.hub_file.size_bytes:
        raise ProvisionError(
            f"{path}: has {size_bytes} bytes, but matrix.lock has "
            f"{locked.hub_file.size_bytes}{_what_it_is(path)}; {_LEFT}"
        )
    actual = known_sha256(path, cache)
    if actual != locked.sha256:
        raise ProvisionError(
            f"{path}: sha256 is {actual}, but matrix.lock has {locked.sha256}; {_LEFT}"
        )
    return path


def _what_it_is(path: Path) -> str:
    """What a file is in place of a model, where its header tells."""
    try:
        read_model(path)
    except ProvisionError as error:
        return f" ({str(error).removeprefix(f'{path}: ')})"
    return ""


_LEFT = (
    "the file was not used and is left as it is. Move it away to have the locked one "
    "fetched, or run `invoke lock` if the lock is meant to change"
)


def _fetch(wanted: HubFile, cache: Path) -> None:
    """Bring the bytes into the hub's cache, going on from what an earlier run left."""
    place = hub.blob(wanted)
    part = place.with_name(f"{place.name}.llamatrix")
    lock = cache / "hub" / f"{wanted.sha256[:16]}.lock"
    with exclusive(lock, purpose=f"downloading {wanted.file}"):
        if place.exists():
            return
        ensure_free(
            place.parent,
            need_bytes=max(0, wanted.size_bytes - _size(part)),
            purpose=f"downloading {wanted.file}",
            setting="HF_HOME",
        )
        _require_same_on_hub(wanted)
        _download(wanted, part)
        actual = shown_sha256(part)
        if actual != wanted.sha256:
            part.unlink()
            raise ProvisionError(
                f"{wanted.repository}: {wanted.file}: what came has sha256 {actual}, "
                f"but matrix.lock has {wanted.sha256}; it was thrown away. Run the "
                "command again; if it stays so, something on the way changes files"
            )
        part.replace(place)


def _require_same_on_hub(wanted: HubFile) -> None:
    found = hub.look_up(wanted.repository, wanted.file, revision=wanted.revision)
    if found.sha256 != wanted.sha256:
        raise ProvisionError(
            f"{wanted.repository}: {wanted.file}: the hub has sha256 {found.sha256} at "
            f"revision {wanted.revision}, but matrix.lock has {wanted.sha256}; nothing "
            "was fetched. Run `invoke lock` if the lock is meant to change"
        )


def _download(wanted: HubFile, part: Path) -> None:
    """Stream until the part is whole; a cut connection is taken up where it broke."""
    here = f", {bytes_text(_size(part))} of it here already" if _size(part) else ""
    say(f"downloading {wanted.file} ({bytes_text(wanted.size_bytes)}{here})")
    pauses = iter(_PAUSES_S)
    with meter(wanted.file, total=wanted.size_bytes, in_bytes=True) as progress:
        while (before := _size(part)) < wanted.size_bytes:
            failure = None
            try:
                hub.stream(wanted, part, on_bytes=progress.reach)
            except hub.HubUnreachableError as error:
                failure = error
            if _size(part) > before:
                pauses = iter(_PAUSES_S)
                continue
            pause_s = next(pauses, None)
            if pause_s is None:
                raise hub.HubUnreachableError(
                    f"{failure or wanted.file}\nthe connection broke and stays so; "
                    f"{bytes_text(_size(part))} are kept, the same command goes on "
                    "from there. --weights-dir takes a folder that has the file"
                ) from failure
            time.sleep(pause_s)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
