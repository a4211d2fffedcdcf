"""Provide the GGUF of a cell: a published file, or a synthetic one that is written here.

A published file is the user's own, the hub cache's, or a new download. Nothing is used
whose sha256 is not the locked one, and no file of the user's is deleted.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec

from llamatrix.config.cell import EngineCell
from llamatrix.config.lock import HubFile, LockedWeights, WeightsPin
from llamatrix.config.matrix import WeightsKind
from llamatrix.errors import ProvisionError
from llamatrix.exclusive import exclusive
from llamatrix.progress import meter, say
from llamatrix.provision.integrity import (
    ensure_free,
    known_sha256,
    make_once,
    shown_sha256,
)
from llamatrix.provision.nix import stored_weights
from llamatrix.provision.source import provide_source
from llamatrix.provision.weights import hub
from llamatrix.provision.weights.fit import known_shape
from llamatrix.provision.weights.gguf_model import TEMPLATE_KEY, read_header, read_model
from llamatrix.provision.weights.package import provide_packaged
from llamatrix.provision.weights.synthetic.models import MODELS, Scale, SyntheticSpec
from llamatrix.units import bytes_text

_TEMPLATES = Path("models/templates")
SAMPLES = ("tools/server/README.md", "convert_lora_to_gguf.py")
"""English, JSON, commands and Python: what an agent's prompts are made of."""
_FACTS = "weights.json"


class WeightsFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The weights of a measurement, as its record names them."""

    kind: WeightsKind
    file: str
    sha256: str
    file_bytes: int
    weights_pin: WeightsPin = WeightsPin.LOCKED
    """What vouches for the bytes."""
    repository: str = ""
    """On the hub, or the package; empty for synthetic weights."""
    revision: str = ""
    """Of the repository, or the package's version; `unresolved` for the user's own file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    path: Path
    facts: WeightsFacts


def _check_header(path: Path) -> None:
    """Refuse a GGUF of another kind; only warn of an unreadable header.

    The bytes are the locked ones, and llama.cpp decides about them.
    """
    try:
        header = read_header(path)
    except ProvisionError as error:
        say(f"{error}; its bytes are the locked ones")
        return
    if not header.metadata.get(TEMPLATE_KEY):
        say(
            f"{path.name}: has no chat template; llama-server falls back to chatml "
            "where it is given none"
        )
    read_model(path)


def provide_weights(
    cell: EngineCell, cache: Path, *, weights_dir: Path | None = None
) -> Weights:
    """Return the weights of a cell; write or fetch them if they are missing.

    Published files are first looked for in the user's `weights_dir`. Raises
    ProvisionError where one is no language model.
    """
    if locked := cell.packaged:
        path = provide_packaged(locked, cache)
        facts = WeightsFacts(
            kind=cell.weights,
            file=path.name,
            sha256=locked.sha256,
            file_bytes=path.stat().st_size,
            repository=locked.package,
            revision=locked.version,
        )
        return Weights(path=path, facts=facts)
    if published := cell.published:
        if cell.weights is WeightsKind.LOCAL:
            path = _verified(Path(published.file), published, cache)
        else:
            path = provide_published(published, cache, weights_dir=weights_dir)
        _check_header(path)
        facts = WeightsFacts(
            kind=cell.weights,
            file=path.name,
            sha256=published.sha256,
            file_bytes=path.stat().st_size,
            weights_pin=published.pin,
            repository=published.repository,
            revision=published.revision,
        )
        return Weights(path=path, facts=facts)
    spec = _spec(cell, cache)
    entry = cache / "weights" / f"{cell.weights_key}-{spec.digest()[:12]}"
    make_once(
        entry,
        lambda staging: _write(cell, spec, staging),
        purpose=f"writing {cell.weights_key}",
    )
    facts = msgspec.json.decode((entry / _FACTS).read_bytes(), type=WeightsFacts)
    return Weights(path=entry / facts.file, facts=facts)


def bytes_to_provide(
    cell: EngineCell, cache: Path, *, weights_dir: Path | None = None
) -> int | None:
    """Return about what is to fetch or write; 0 for what is here, None if unknown."""
    if locked := cell.packaged:
        here = cache / "weights" / f"{locked.package}-{locked.sha256[:12]}"
        nix = stored_weights(locked.sha256)
        return 0 if nix or here.exists() else locked.size_bytes
    if cell.published is not None:
        own = cell.weights is WeightsKind.LOCAL or own_file(cell.published, weights_dir)
        wanted = cell.published.hub_file
        if own or (wanted and hub.cached(wanted)):
            return 0
        if wanted:
            return wanted.size_bytes
        known = cell.model_key in MODELS
        return known_shape(cell.model_key).tensor_bytes if known else None
    if any((cache / "weights").glob(f"{cell.weights_key}-*")):
        return 0
    return known_shape(cell.model_key, Scale(cell.weights.value)).tensor_bytes


def _spec(cell: EngineCell, cache: Path) -> SyntheticSpec:
    synthesis = cell.synthesis
    if synthesis is None:
        raise ProvisionError(f"{cell.weights_key}: its weights are not synthetic")
    tree = provide_source(synthesis.template_pin, cache)
    template = tree / _TEMPLATES
    try:
        text = (template / synthesis.template).read_text()
    except (FileNotFoundError, IsADirectoryError):
        raise ProvisionError(
            f"matrix.toml: models.{cell.model_key}.template: {synthesis.template!r} is "
            f"not among the templates of {synthesis.template_pin.commit[:9]}"
        ) from None
    return SyntheticSpec(
        model=cell.model_key,
        scale=Scale(cell.weights.value),
        chat_template=text,
        seed=synthesis.seed,
        sample=sample_text(tree),
        head=synthesis.head,
    )


def sample_text(tree: Path) -> str:
    """Return the text that synthetic vocabularies learn words from."""
    try:
        return "".join((tree / name).read_text() for name in SAMPLES)
    except OSError as error:
        raise ProvisionError(f"{error.filename}: {error.strerror}") from error


def _write(cell: EngineCell, spec: SyntheticSpec, staging: Path) -> None:
    from llamatrix.provision.weights.synthetic.layout import layout
    from llamatrix.provision.weights.synthetic.write import write

    tensor_bytes = layout(spec).tensor_bytes
    ensure_free(staging, need_bytes=tensor_bytes, purpose=f"writing {cell.weights_key}")
    say(f"writing synthetic weights {cell.weights_key} ({bytes_text(tensor_bytes)})")
    path = staging / f"{cell.weights_key}.gguf"
    with meter(cell.weights_key, total=tensor_bytes, in_bytes=True) as progress:
        write(spec, path, on_bytes=progress.advance)
    facts = WeightsFacts(
        kind=cell.weights,
        file=path.name,
        sha256=shown_sha256(path),
        file_bytes=path.stat().st_size,
    )
    (staging / _FACTS).write_bytes(msgspec.json.encode(facts))
    with path.open("rb") as written:
        os.fsync(written.fileno())


_PAUSES_S = (1.0, 4.0, 10.0)
"""Waits between attempts that brought nothing; then the download fails."""


def provide_published(
    locked: LockedWeights, cache: Path, *, weights_dir: Path | None
) -> Path:
    """Return the file of a lock entry, verified; fetch it only if it is nowhere."""
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
            name = PurePosixPath(locked.file).name
            say(f"{weights_dir}: has no {name}; it is fetched from the hub")
        _fetch(wanted, cache)
        kept = hub.link(wanted)
    return _verified(kept, locked, cache)


def own_file(locked: LockedWeights, weights_dir: Path | None) -> Path | None:
    """Return the file in the user's folder; None where it is not there."""
    if weights_dir is None:
        return None
    if not weights_dir.is_dir():
        raise ProvisionError(f"--weights-dir {weights_dir}: no such folder")
    path = weights_dir / PurePosixPath(locked.file).name
    return path if path.is_file() else None


def _verified(path: Path, locked: LockedWeights, cache: Path) -> Path:
    size_bytes = path.stat().st_size
    if locked.hub_file and size_bytes != locked.hub_file.size_bytes:
        raise ProvisionError(
            f"{path}: has {size_bytes} bytes, but matrix.lock has "
            f"{locked.hub_file.size_bytes}{_kind(path)}; {_LEFT}"
        )
    actual = known_sha256(path, cache)
    if actual != locked.sha256:
        raise ProvisionError(
            f"{path}: sha256 is {actual}, but matrix.lock has {locked.sha256}; {_LEFT}"
        )
    return path


def _kind(path: Path) -> str:
    """Say what a file is in place of a model, if its header shows it."""
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
    """Download into the hub's cache; resume what an earlier run left."""
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
        remote = hub.look_up(wanted.repository, wanted.file, revision=wanted.revision)
        if remote.sha256 != wanted.sha256:
            raise ProvisionError(
                f"{wanted.repository}: {wanted.file}: the hub has sha256 {remote.sha256} "
                f"at revision {wanted.revision}, but matrix.lock has {wanted.sha256}; "
                "nothing was fetched. Run `invoke lock` if the lock is meant to change"
            )
        _download(wanted, part)
        actual = shown_sha256(part)
        if actual != wanted.sha256:
            part.unlink()
            raise ProvisionError(
                f"{wanted.repository}: {wanted.file}: the download has sha256 {actual}, "
                f"but matrix.lock has {wanted.sha256}; it was discarded. Run the "
                "command again; if this persists, something on the way changes files"
            )
        part.replace(place)


def _download(wanted: HubFile, part: Path) -> None:
    """Stream until the part is whole; resume where a connection broke."""
    here = f", of which {bytes_text(_size(part))} are here" if _size(part) else ""
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
                    f"{failure or wanted.file}\nthe connection was lost repeatedly; "
                    f"{bytes_text(_size(part))} are kept, and the same command resumes "
                    "there. --weights-dir takes a folder that has the file"
                ) from failure
            time.sleep(pause_s)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
