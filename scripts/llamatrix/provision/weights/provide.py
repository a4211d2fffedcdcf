"""The GGUF of a cell, on disk and known by its bytes."""

import os
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec

from llamatrix.config.cell import Engine
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
from llamatrix.provision.source import provide_source
from llamatrix.provision.weights import hub
from llamatrix.provision.weights.gguf_model import TEMPLATE_KEY, read_header, read_model
from llamatrix.provision.weights.synthetic.models import Scale, SyntheticSpec
from llamatrix.units import bytes_text

_TEMPLATES = Path("models/templates")
SAMPLES = ("tools/server/README.md", "convert_lora_to_gguf.py")
"""English, JSON, commands and Python: what an agent's prompts are made of."""
_FACTS = "weights.json"


class WeightsFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a record says of the weights it was measured with."""

    kind: WeightsKind
    file: str
    sha256: str
    file_bytes: int
    weights_pin: WeightsPin = WeightsPin.LOCKED
    """Who said that it is these bytes."""
    repository: str = ""
    """On the hub; empty for made-up weights."""
    revision: str = ""
    """Of the repository; `unresolved` for the user's own file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    path: Path
    facts: WeightsFacts


def _look_at_header(path: Path) -> None:
    """Refuse a GGUF of another kind; a header that tells nothing is only said.

    The bytes are the locked ones, and llama.cpp has the last word about them.
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
    cell: Engine, cache: Path, *, weights_dir: Path | None = None
) -> Weights:
    """The weights of a cell, written or fetched where they are not yet.

    `weights_dir` is a folder of the user's in which published files are looked for
    first. ProvisionError where a published file is no language model.
    """
    if cell.published is not None:
        path = provide_published(cell.published, cache, weights_dir=weights_dir)
        _look_at_header(path)
        return Weights(path=path, facts=_published_facts(cell.published, path))
    spec = _spec(cell, cache)
    entry = cache / "weights" / f"{cell.weights_key}-{spec.digest()[:12]}"
    make_once(
        entry,
        lambda staging: _write(cell, spec, staging),
        purpose=f"writing {cell.weights_key}",
    )
    facts = msgspec.json.decode((entry / _FACTS).read_bytes(), type=WeightsFacts)
    return Weights(path=entry / facts.file, facts=facts)


def _published_facts(published: LockedWeights, path: Path) -> WeightsFacts:
    return WeightsFacts(
        kind=WeightsKind.HUB,
        file=path.name,
        sha256=published.sha256,
        file_bytes=path.stat().st_size,
        weights_pin=published.pin,
        repository=published.repository,
        revision=published.revision,
    )


def _spec(cell: Engine, cache: Path) -> SyntheticSpec:
    synthesis = cell.synthesis
    if synthesis is None:
        raise ProvisionError(f"{cell.weights_key}: its weights are not synthetic")
    tree = provide_source(synthesis.template_pin, cache)
    template = tree / _TEMPLATES
    try:
        text = (template / synthesis.template).read_text()
    except FileNotFoundError:
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
    )


def sample_text(tree: Path) -> str:
    """The text that made-up vocabularies learn words from, out of a source tree."""
    try:
        return "".join((tree / name).read_text() for name in SAMPLES)
    except OSError as error:
        raise ProvisionError(f"{error.filename}: {error.strerror}") from error


def _write(cell: Engine, spec: SyntheticSpec, staging: Path) -> None:
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
