"""The GGUF of a cell, on disk and known by its bytes."""

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from llamatrix.config.cell import Engine
from llamatrix.config.lock import LockedWeights, WeightsPin
from llamatrix.config.matrix import WeightsKind
from llamatrix.errors import ProvisionError
from llamatrix.progress import meter, say
from llamatrix.provision.gguf_model import TEMPLATE_KEY, read_header, read_model
from llamatrix.provision.integrity import made_once, shown_sha256
from llamatrix.provision.published import provide_published
from llamatrix.provision.sdist import ensure_free
from llamatrix.provision.source import provide_source
from llamatrix.provision.synthetic.spec import Scale, SyntheticSpec
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
    made_once(
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
        sample=sample_of(tree),
    )


def sample_of(tree: Path) -> str:
    """The text that made-up vocabularies learn words from, out of a source tree."""
    try:
        return "".join((tree / name).read_text() for name in SAMPLES)
    except OSError as error:
        raise ProvisionError(f"{error.filename}: {error.strerror}") from error


def _write(cell: Engine, spec: SyntheticSpec, staging: Path) -> None:
    from llamatrix.provision.synthetic.layout import layout
    from llamatrix.provision.synthetic.write import write

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
