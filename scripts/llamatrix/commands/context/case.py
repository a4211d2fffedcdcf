"""What is searched: everything that can be said, or refused, before a download."""

from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from llamatrix.commands.choice import choose_profile
from llamatrix.commands.context.room import ceiling_in, room_here
from llamatrix.commands.fit import use_of
from llamatrix.commands.flags import Contexting
from llamatrix.commands.launching import cell_to_serve, server_of
from llamatrix.commands.session import own_folder
from llamatrix.config.cell import Cell
from llamatrix.config.load import load_matrix
from llamatrix.config.matrix import Backend, Server, WeightsKind
from llamatrix.engines.llama_cpp.templates import find_correction
from llamatrix.errors import MatrixError, MeasureError
from llamatrix.host import this_host
from llamatrix.progress import say
from llamatrix.project import Project, find_project
from llamatrix.provision.build import compiled_by
from llamatrix.provision.pin_source import lists_of
from llamatrix.provision.weights.fit import MemorySettings, MemoryShape, known_shape
from llamatrix.provision.weights.gguf_shape import shape_of_file
from llamatrix.provision.weights.synthetic.models import MODELS, Scale
from llamatrix.records.context_record import ContextCell, SearchLimits, context_cell
from llamatrix.units import parse_card_bytes, parse_duration_s

_LEAST_TOKENS = 1024
_MADE_UP = "the weights are made up: they remember nothing"
_N_GPU_LAYERS = 99


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    project: Project
    cell: Cell
    known: ContextCell
    asked: SearchLimits
    server: Server
    profile: str
    budget_s: float
    weights_dir: Path | None

    @property
    def on_card(self) -> bool:
        return self.cell.build.backend is Backend.CUDA

    @property
    def use(self) -> MemorySettings:
        return _use(self.server, self.cell)

    @property
    def why_no_recall(self) -> str:
        """Empty where the weights are real."""
        return "" if self.cell.weights is WeightsKind.HUB else _MADE_UP

    def shape(self, weights: Path) -> MemoryShape:
        """Of made-up weights from their plan, else from the file.

        MeasureError where the pin is known not to load the file.
        """
        if self.cell.synthesis:
            return _known_shape(self.cell)
        commit = self.cell.locked.commit
        lists = lists_of(commit, self.project.cache / "sources")
        shape = shape_of_file(weights, commit=commit, lists=lists)
        if shape.refusal:
            raise MeasureError(
                f"{weights}: {self.cell.pin_key} refuses this file: {shape.refusal}"
            )
        for note in shape.notes:
            say(f"{weights.name}: {note}")
        return shape


def case_of(flags: Contexting) -> Case:
    """A card that is too small is told here, before anything is built or fetched."""
    project = find_project()
    matrix = load_matrix(project.matrix_file)
    asked, budget_s = _asked(flags), _duration_s(flags.budget)
    own = own_folder(flags.weights_dir)
    cell = cell_to_serve(
        project,
        profile=flags.profile,
        model=flags.model,
        pin=flags.pin,
        weights_dir=own,
    )
    profile = choose_profile(flags.profile or None).profile
    server = _whole(matrix.servers[server_of(matrix, profile)], cell)
    if cell.model_key in MODELS:
        ceiling_in(
            room_here(asked.vram_bytes, on_card=cell.build.backend is Backend.CUDA),
            _known_shape(cell),
            _use(server, cell),
            asked.max_tokens,
            cell.model.name,
        )
    return Case(
        project=project,
        cell=cell,
        known=context_cell(
            cell,
            asked,
            server,
            template_sha256=_template_sha256(cell, project),
            host_slug=this_host().slug,
            compiler=compiled_by(cell),
        ),
        asked=asked,
        server=server,
        profile=flags.profile,
        budget_s=budget_s,
        weights_dir=own,
    )


def _use(server: Server, cell: Cell) -> MemorySettings:
    use = use_of(server, cell.locked.commit)
    on_card = cell.build.backend is Backend.CUDA
    return use if on_card else replace(use, cuda_bytes=0)


def _whole(server: Server, cell: Cell) -> Server:
    """One sequence; on a card all of it, so that what does not fit fails."""
    whole = msgspec.structs.replace(server, parallel=1)
    if cell.build.backend is not Backend.CUDA:
        return whole
    return msgspec.structs.replace(whole, n_gpu_layers=_N_GPU_LAYERS, fit=False)


def _template_sha256(cell: Cell, project: Project) -> str:
    name = cell.model.chat_template_file
    if name is None:
        return ""
    return find_correction(name, project.root / "templates").result_sha256


def _known_shape(cell: Cell) -> MemoryShape:
    tiny = cell.weights is WeightsKind.TINY
    return known_shape(cell.model_key, Scale.TINY if tiny else Scale.FULL)


def _asked(flags: Contexting) -> SearchLimits:
    try:
        keep_speed = float(flags.keep_speed)
    except ValueError:
        keep_speed = -1.0
    if not 0 < keep_speed < 1:
        raise MatrixError(
            f"--keep-speed {flags.keep_speed!r}: write a share, for example 0.8"
        )
    if flags.most and flags.most < _LEAST_TOKENS:
        raise MatrixError(f"--most {flags.most}: write {_LEAST_TOKENS} or more tokens")
    try:
        vram_bytes = parse_card_bytes(flags.vram) if flags.vram else None
    except ValueError as error:
        raise MatrixError(f"--vram: {error}") from error
    return SearchLimits(
        min_speed_ratio=keep_speed, vram_bytes=vram_bytes, max_tokens=flags.most or None
    )


def _duration_s(text: str) -> float:
    try:
        return parse_duration_s(text)
    except ValueError as error:
        raise MatrixError(f"--budget: {error}") from error
