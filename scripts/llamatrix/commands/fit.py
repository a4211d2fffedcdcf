"""What fits a card: predicted, and judged by llama-fit-params where a build is at hand.

Needs no GPU and downloads nothing.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from llamatrix.commands.flags import FitFlags, parsed
from llamatrix.config.complaint import nearest
from llamatrix.config.expand import select_profile
from llamatrix.config.load import load_matrix
from llamatrix.config.lock import Lock, load_lock
from llamatrix.config.matrix import Backend, Matrix, Profile, Server, Sweep
from llamatrix.engines.registry import (
    FitFigures,
    checked_contexts,
    need_by_program,
    run_fit_params,
)
from llamatrix.errors import BenchError, MatrixError
from llamatrix.nvml import gpus
from llamatrix.progress import say
from llamatrix.project import Project, find_project, user_path
from llamatrix.provision.build import Manifest, build_damage
from llamatrix.provision.pin_source import lists_of
from llamatrix.provision.weights.architectures import APRIL
from llamatrix.provision.weights.fit import (
    MemoryNeed,
    MemorySettings,
    MemoryShape,
    host_weight_bytes,
    known_shape,
    largest_fitting,
    memory_need,
    offloads,
)
from llamatrix.provision.weights.gguf_shape import shape_of_file
from llamatrix.provision.weights.synthetic.models import MODELS, Scale, SyntheticSpec
from llamatrix.provision.weights.synthetic.write import write
from llamatrix.report.views.fit import (
    Alternative,
    CrossCheck,
    ModelFit,
    fit_page,
    fit_summary,
    forecast,
)
from llamatrix.units import bytes_text, json_text, parse_bytes, parse_card_bytes

_MIB = 2**20
_CONTEXTS = (8192, 32768, 65536, 131072)
_AGENT_CONTEXT = 32768
"""The first prompts of agents have ten thousand tokens and more."""
_DEFAULT_CARD_BYTES = 24 * 2**30
_FIGURE_MIB = 2.0
"""The program cuts to whole MiB, for weights, cache and graph of each device."""
_FIGURE_SHARE = 0.005
_GRAPH_SHARE = 0.015
"""Of the sum: builds reserve the graph differently (see `provision/weights/fit.py`)."""


def fit(flags: FitFlags) -> str:
    """Predict for a model of the matrix, a GGUF file, or all models of a profile."""
    project = find_project()
    matrix = load_matrix(project.matrix_file)
    card_bytes, card = card_of(flags.vram)
    reserve_bytes = parsed("--reserve:", flags.reserve, parse_bytes)
    say(f"card: {card}")
    with tempfile.TemporaryDirectory(prefix="llamatrix-fit-") as aside:
        predict = _Prediction(
            project=project,
            matrix=matrix,
            lock=load_lock(project.lock_file),
            profile=select_profile(matrix, flags.profile),
            card_bytes=card_bytes,
            reserve_bytes=reserve_bytes,
            aside=Path(aside),
        )
        fits = list(predict.all_of(flags.model))
    if flags.json:
        return json_text(fits) + "\n"
    show = fit_page if flags.details else fit_summary
    return show(fits, card=card)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Prediction:
    """One run of the command: what it was asked, and where it works."""

    project: Project
    matrix: Matrix
    lock: Lock
    profile: Profile
    card_bytes: int
    reserve_bytes: int
    aside: Path

    def all_of(self, model: str) -> Iterator[ModelFit]:
        for name, file in self._models(model):
            for pin in self.profile.pins:
                yield self._one(name, file, pin)

    def _models(self, model: str) -> list[tuple[str, Path | None]]:
        """Keys of the matrix whose shape is known, or the one file."""
        matrix = self.matrix
        if model and model not in matrix.models:
            file = user_path(model)
            if file.exists() or model.lower().endswith(".gguf"):
                return [(file.name, file)]
            hint = nearest(model, matrix.models)
            raise MatrixError(
                f"--model {model!r}: neither a model nor a .gguf file{hint}"
            )
        names = (model,) if model else self.profile.models
        known: list[tuple[str, Path | None]] = []
        for name in names:
            if matrix.models[name].local:
                known.append((name, Path(matrix.models[name].file)))
            elif name in MODELS:
                known.append((name, None))
        unknown = ", ".join(set(names) - {name for name, _ in known})
        remedy = f"{unknown}: shape unknown; give its file, --model FILE.gguf"
        if not known:
            raise MatrixError(remedy)
        if unknown:
            say(remedy)
        return known

    def _one(self, name: str, file: Path | None, pin: str) -> ModelFit:
        locked = self.lock.pins.get(pin)  # of a git pin it alone knows the commit
        commit = self.matrix.pins[pin].commit or (locked.commit if locked else "")
        lists = lists_of(commit, self.project.cache / "sources")
        shape = (
            shape_of_file(file, commit=commit, lists=lists)
            if file
            else known_shape(name)
        )
        sweep = self.profile.sweep
        use = use_of(self.matrix.sweeps[sweep] if sweep else None, commit)
        figures, reason = self._figures(shape, use, pin=pin, name=name, file=file)
        checks = tuple(
            _cross_check(shape, use, tokens, printed) for tokens, printed in figures
        )
        decided = bool(figures) and not all(check.agrees for check in checks)

        def needed(tokens: int) -> MemoryNeed:
            ours = memory_need(shape, use, context_tokens=tokens)
            return need_by_program(ours, shape, figures, tokens) if decided else ours

        def largest(free_bytes: int) -> int | None:
            return largest_fitting(
                lambda tokens: needed(tokens).total,
                trained_tokens=shape.trained_tokens,
                card_bytes=self.card_bytes - free_bytes,
            )

        with_reserve = largest(self.reserve_bytes)
        return ModelFit(
            model=name,
            pin=pin,
            architecture=shape.architecture,
            proven=shape.proven,
            decided_by="llama-fit-params" if decided else "closed form",
            refusal=shape.refusal or _refused_by_loader(reason if file else ""),
            notes=shape.notes,
            card_bytes=self.card_bytes,
            reserve_bytes=self.reserve_bytes,
            largest_context_tokens=with_reserve,
            largest_is_trained=with_reserve == shape.trained_tokens,
            largest_without_reserve_tokens=largest(0),
            host_bytes=shape.embedding_bytes,
            forecasts=tuple(
                forecast(needed(tokens), context_tokens=tokens)
                for tokens in self._contexts(name, shape.trained_tokens)
            ),
            alternatives=tuple(self._alternatives(name, shape, use)),
            cross_checks=checks,
            not_checked=reason,
        )

    def _alternatives(
        self, name: str, shape: MemoryShape, use: MemorySettings
    ) -> Iterator[Alternative]:
        """What lets a context fit that the whole model is too large for."""
        free_bytes = self.card_bytes - self.reserve_bytes
        own = self.matrix.models[name].ctx_size if name in self.matrix.models else 0
        for tokens in sorted({min(_AGENT_CONTEXT, shape.trained_tokens), own} - {0}):
            if memory_need(shape, use, context_tokens=tokens).total <= free_bytes:
                continue
            for setting, rest in offloads(shape):
                total = memory_need(rest, use, context_tokens=tokens).total
                if total <= free_bytes:
                    yield Alternative(
                        context_tokens=tokens,
                        setting=setting,
                        total=total,
                        host_bytes=shape.embedding_bytes
                        + shape.tensor_bytes
                        - rest.tensor_bytes,
                    )
                    break

    def _contexts(self, name: str, trained_tokens: int) -> list[int]:
        contexts = {context for context in _CONTEXTS if context <= trained_tokens}
        if name in self.matrix.models:
            contexts.add(self.matrix.models[name].ctx_size or trained_tokens)
        return sorted({*contexts, trained_tokens})

    def _figures(
        self,
        shape: MemoryShape,
        use: MemorySettings,
        *,
        pin: str,
        name: str,
        file: Path | None,
    ) -> tuple[Sequence[tuple[int, FitFigures]], str]:
        """What the pin's own program says of the file, or of a hollow one of full size.

        With the reason where it says nothing.
        """
        program = _program(self.project, pin)
        if program is None:
            return (), (
                "not built for the CPU; `invoke build --profile engines` brings its "
                "llama-fit-params"
            )
        weights = file.resolve() if file else self._hollow(name)
        try:
            return [
                (tokens, run_fit_params(program, weights, use, context_tokens=tokens))
                for tokens in checked_contexts(shape.trained_tokens)
            ], ""
        except BenchError as error:
            return (), " ".join(str(error).split())

    def _hollow(self, model: str) -> Path:
        """A file of full size without data: header, and a hole of a few MB on disk."""
        path = self.aside / f"{model}.gguf"
        if not path.exists():
            spec = SyntheticSpec(model=model, scale=Scale.FULL, chat_template="")
            write(spec, path, on_bytes=lambda _: None, sparse=True)
        return path


def use_of(flags: Sweep | Server | None, commit: str) -> MemorySettings:
    """How a program of a pin keeps its cache, run with these flags."""
    window_in_f16 = commit == APRIL
    if flags is None:
        return MemorySettings(window_in_f16=window_in_f16)
    return MemorySettings(
        cache_type_k=flags.cache_type_k,
        cache_type_v=flags.cache_type_v,
        ubatch_size=flags.ubatch_size,
        window_in_f16=window_in_f16,
    )


def _refused_by_loader(reason: str) -> str:
    """What the pin's own loader says of a user's file, where it does not take it."""
    return reason if "error loading model" in reason else ""


def _cross_check(
    shape: MemoryShape, use: MemorySettings, tokens: int, printed: FitFigures
) -> CrossCheck:
    ours = memory_need(shape, use, context_tokens=tokens)
    figures = (
        host_weight_bytes(shape) / _MIB,
        (ours.cache + ours.state) / _MIB,
        ours.compute / _MIB,
    )
    program = (printed.model, printed.context, printed.compute)
    graph = _GRAPH_SHARE * sum(program)
    allowed = [max(_FIGURE_MIB, _FIGURE_SHARE * value) for value in program[:2]]
    return CrossCheck(
        context_tokens=tokens,
        ours=figures,
        program=program,
        agrees=all(
            abs(mine - theirs) <= most
            for mine, theirs, most in zip(
                figures, program, [*allowed, max(_FIGURE_MIB, graph)], strict=True
            )
        ),
    )


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


def card_of(vram: str) -> tuple[int, str]:
    """Return the size asked for, else the largest card here, else 24 GiB; and its name."""
    if vram:
        given_bytes = parsed("--vram:", vram, parse_card_bytes)
        return given_bytes, f"a card of {bytes_text(given_bytes)}"
    largest = max(gpus(), key=lambda gpu: gpu.memory_bytes, default=None)
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
