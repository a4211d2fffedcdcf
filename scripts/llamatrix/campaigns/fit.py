"""What fits a card: predicted, and held against llama-fit-params. No GPU, no download."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from llamatrix.errors import MatrixError
from llamatrix.measure.fit_params import run_fit_params
from llamatrix.nvml import gpus
from llamatrix.plan.complaint import nearest
from llamatrix.plan.expand import select_profile
from llamatrix.plan.load import load_matrix
from llamatrix.plan.matrix import Backend, Matrix, Server, Sweep
from llamatrix.progress import say
from llamatrix.project import Project, find_project
from llamatrix.provision.build import Manifest, build_damage
from llamatrix.provision.fit import (
    MemoryShape,
    Use,
    known_shape,
    largest_context,
    need,
)
from llamatrix.provision.gguf_shape import shape_of_file
from llamatrix.provision.synthetic.hyperparameters import MODELS
from llamatrix.provision.synthetic.spec import Scale, SyntheticSpec
from llamatrix.provision.synthetic.write import write
from llamatrix.report.fit_page import CrossCheck, Forecast, ModelFit, fit_page, forecast
from llamatrix.units import bytes_text, parse_bytes

_MIB = 2**20
_CONTEXTS = (8192, 32768, 65536, 131072)
_CHECKED = (32768, 131072)
_DEFAULT_CARD_BYTES = 24 * 2**30
_WINDOW_IN_F16 = "f49e9178767d557a522618b16ce8694f9ddac628"
"""This commit keeps sliding windows in fp16; the next release (b8644) does not."""


def fit(*, model: str, vram: str, profile: str, as_json: bool) -> str:
    """Predict for a model of the matrix, a GGUF file, or all models of a profile."""
    project = find_project()
    matrix = load_matrix(project.matrix_file)
    card_bytes, card = _card(vram)
    say(f"card: {card}")
    with tempfile.TemporaryDirectory(prefix="llamatrix-fit-") as aside:
        found = list(
            _fits(project, matrix, model, profile, card_bytes, aside=Path(aside))
        )
    if as_json:
        return msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n"
    return fit_page(found, card=card)


def _fits(
    project: Project,
    matrix: Matrix,
    model: str,
    profile: str,
    card_bytes: int,
    *,
    aside: Path,
) -> Iterator[ModelFit]:
    chosen = select_profile(matrix, profile)
    sweep = matrix.sweeps[chosen.sweep] if chosen.sweep else None
    for name, shape in _shapes(matrix, model, chosen.models):
        file = Path(name) if name not in matrix.models else None
        trained = shape.trained_tokens
        contexts = {*_CONTEXTS, trained} & set(range(trained + 1))
        if file is None:
            contexts.add(matrix.models[name].ctx_size)
        for pin in chosen.pins:
            use = use_of(sweep, matrix.pins[pin].commit)
            checks, reason = _cross_checks(
                project, shape, use, pin=pin, model=name, file=file, aside=aside
            )
            largest = largest_context(shape, use, card_bytes=card_bytes)
            yield ModelFit(
                model=file.name if file else name,
                pin=pin,
                card_bytes=card_bytes,
                largest_context_tokens=largest,
                largest_is_trained=largest == trained,
                host_bytes=shape.embedding_bytes,
                forecasts=tuple(
                    _forecast(shape, use, tokens) for tokens in sorted(contexts)
                ),
                cross_checks=checks,
                not_checked=reason,
            )


def _forecast(shape: MemoryShape, use: Use, tokens: int) -> Forecast:
    return forecast(need(shape, use, context_tokens=tokens), context_tokens=tokens)


def _shapes(
    matrix: Matrix, model: str, profile_models: tuple[str, ...]
) -> Iterator[tuple[str, MemoryShape]]:
    if model.endswith(".gguf"):
        yield model, shape_of_file(Path(model))
        return
    if model and model not in matrix.models:
        hint = nearest(model, matrix.models)
        raise MatrixError(f"--model {model!r}: neither a model nor a .gguf file{hint}")
    for name in (model,) if model else profile_models:
        if name in MODELS:
            yield name, known_shape(name)
        else:
            say(f"{name}: its shape is not known; give its file, --model FILE.gguf")


def use_of(flags: Sweep | Server | None, commit: str) -> Use:
    """How a program of a pin keeps its cache, run with these flags."""
    window_in_f16 = commit == _WINDOW_IN_F16
    if flags is None:
        return Use(window_in_f16=window_in_f16)
    return Use(
        cache_type_k=flags.cache_type_k,
        cache_type_v=flags.cache_type_v,
        ubatch_size=flags.ubatch_size,
        window_in_f16=window_in_f16,
    )


def _cross_checks(
    project: Project,
    shape: MemoryShape,
    use: Use,
    *,
    pin: str,
    model: str,
    file: Path | None,
    aside: Path,
) -> tuple[tuple[CrossCheck, ...], str]:
    """What the pin's own program says of the file, or of a hollow one of full size."""
    program = _program(project, pin)
    if program is None:
        return (), (
            f"{pin} is not built for the CPU; `invoke build --profile engines` brings "
            "its llama-fit-params"
        )
    weights = file.resolve() if file else _hollow(model, aside)
    found = []
    for tokens in _CHECKED:
        ours = need(shape, use, context_tokens=tokens)
        theirs = run_fit_params(program, weights, use, context_tokens=tokens)
        second_copy = shape.embedding_bytes if shape.tied else 0
        host = (shape.tensor_bytes + second_copy, ours.cache + ours.state, ours.compute)
        found.append(
            CrossCheck(
                context_tokens=tokens,
                ours=(host[0] / _MIB, host[1] / _MIB, host[2] / _MIB),
                program=(theirs.model, theirs.context, theirs.compute),
            )
        )
    return tuple(found), ""


def _program(project: Project, pin: str) -> Path | None:
    """The program of an intact CPU build that is in the cache already."""
    for folder in sorted((project.cache / "builds").glob(f"{pin}-*")):
        try:
            manifest = msgspec.json.decode(
                (folder / "build.json").read_bytes(), type=Manifest
            )
        except (OSError, msgspec.DecodeError):
            continue
        program = folder / "bin" / "llama-fit-params"
        if manifest.backend != Backend.CPU or not program.exists():
            continue
        if wrong := build_damage(folder):
            say(f"{wrong}; it is not used")
            continue
        return program
    return None


def _hollow(model: str, aside: Path) -> Path:
    """A file of full size without data: header, and a hole of a few MB on disk."""
    path = aside / f"{model}.gguf"
    if not path.exists():
        spec = SyntheticSpec(model=model, scale=Scale.FULL, chat_template="")
        write(spec, path, on_bytes=lambda _: None, sparse=True)
    return path


def _card(vram: str) -> tuple[int, str]:
    """The size asked for, else the largest card here, else 24 GiB; and its name."""
    if vram:
        try:
            asked = parse_bytes(vram)
        except ValueError as error:
            raise MatrixError(f"--vram: {error}") from error
        return asked, f"a card of {bytes_text(asked)}"
    largest = max(gpus(), key=lambda one: one.memory_bytes, default=None)
    if largest:
        return (
            largest.memory_bytes,
            f"{largest.name}, {bytes_text(largest.memory_bytes)}",
        )
    size = bytes_text(_DEFAULT_CARD_BYTES)
    return (
        _DEFAULT_CARD_BYTES,
        f"a card of {size} (no card here; `--vram` says another)",
    )
