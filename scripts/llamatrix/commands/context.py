"""`invoke context`: the largest context of a model here, searched once and kept."""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from llamatrix.commands.fit import use_of
from llamatrix.commands.flags import ContextFlags, parsed
from llamatrix.commands.launching import cell_to_serve, launch_with
from llamatrix.commands.pending import Site, context_status, this_site
from llamatrix.config.cell import Cell
from llamatrix.config.context import Context, load_context
from llamatrix.config.matrix import Backend, Server, WeightsKind
from llamatrix.engines.protocol import Installed
from llamatrix.engines.registry import ENGINE
from llamatrix.errors import BenchError, MatrixError, MeasureError
from llamatrix.host import available_bytes, this_host
from llamatrix.measure.context.fill import FillBounds
from llamatrix.measure.context.generation import SMALLEST_TOKENS
from llamatrix.measure.context.result import (
    Ceiling,
    CeilingReason,
    SearchResult,
    StopReason,
    usable_context,
)
from llamatrix.measure.context.search import Search, SearchSettings
from llamatrix.measured_environment import process_conditions
from llamatrix.measuring import measuring
from llamatrix.nvml import find_library, gpus, open_cards
from llamatrix.progress import say
from llamatrix.project import Project
from llamatrix.provision.pin_source import lists_of
from llamatrix.provision.templates import find_correction
from llamatrix.provision.weights.fit import (
    MemorySettings,
    MemoryShape,
    known_shape,
    largest_context,
    memory_need,
)
from llamatrix.provision.weights.gguf_shape import shape_of_file
from llamatrix.provision.weights.synthetic.models import MODELS, Scale
from llamatrix.records.context_record import (
    CONTEXT,
    ContextCell,
    ContextRecord,
    SearchLimits,
    context_cell,
)
from llamatrix.records.store import Store, stamp
from llamatrix.redaction import file_name
from llamatrix.report.views.context import context_page, write_context_page
from llamatrix.units import bytes_text, json_text, parse_card_bytes, parse_duration_s

_LEAST_TOKENS = 1024
_SYNTHETIC = "the weights are synthetic: they remember nothing"
_N_GPU_LAYERS = 99
_HOST_SHARE = 0.9
"""Share of the free host memory that is used: the machine itself needs the rest."""
_PAD = 256


def context(flags: ContextFlags) -> str:
    """Search, or reuse an earlier search; write the page, return this model's part."""
    search = plan_search(flags)
    known, project = search.known, search.context.project
    store = Store(reports=project.reports, kind=CONTEXT)
    status, record = context_status(known, store, again=flags.again)
    if status.due or record is None:
        record = run_search(search, store)
    else:
        say(f"{known.id}: reused from records; `--again` searches again")
    return search_text(record, flags, project)


def search_text(record: ContextRecord, flags: ContextFlags, project: Project) -> str:
    """Write the page of all searches and return one model's part."""
    store = Store(reports=project.reports, kind=CONTEXT)
    path = write_context_page(store.read_all(), project.reports)
    if path:
        say(f"written: {path.relative_to(project.root)}")
    if not record.result.steps:
        raise MeasureError(
            f"{record.cell.id}: no context was filled:\n{context_page([record])}"
        )
    return _as_json(record) if flags.json else context_page([record])


@dataclass(kw_only=True, slots=True)
class ContextSearch:
    """A search that is due or recorded: the cell, how it is served, what is allowed."""

    cell: Cell
    server: Server
    limits: SearchLimits
    budget_s: float
    context: Context
    known: ContextCell = field(init=False)

    @property
    def on_card(self) -> bool:
        return self.cell.build.backend is Backend.CUDA

    @property
    def memory(self) -> MemorySettings:
        use = use_of(self.server, self.cell.locked.commit)
        return use if self.on_card else replace(use, cuda_bytes=0)


def plan_search(
    flags: ContextFlags, *, site: Site | None = None, context: Context | None = None
) -> ContextSearch:
    """Read flags and matrix; refuse what does not fit this machine, if it is the site.

    A given context is used in place of the flags' profile.
    """
    limits = _limits(flags)
    budget_s = parsed("--budget:", flags.budget, parse_duration_s)
    loaded = context or load_context(
        flags.profile, model=flags.model, weights_dir=flags.weights_dir
    )
    cell = cell_to_serve(loaded, pin=flags.pin)
    server = _server(cell, loaded)
    search = ContextSearch(
        cell=cell, server=server, limits=limits, budget_s=budget_s, context=loaded
    )
    if not site and cell.model_key in MODELS and not cell.model.local:
        _ceiling(search, _known_shape(cell), _free_memory(search))
    site = site or this_site()
    template = cell.model.chat_template_file
    corrections = loaded.project.root / "templates"
    search.known = context_cell(
        cell,
        limits,
        server,
        template_sha256=find_correction(template, corrections).result_sha256
        if template
        else "",
        host_slug=site.slug,
        compiler=site.compiler_of(cell),
    )
    return search


def _server(cell: Cell, context: Context) -> Server:
    """The profile's flags for one sequence; on a card all of the model is loaded to it.

    What does not fit must fail instead of being moved to the host.
    """
    server = context.matrix.servers[context.server_key]
    server = msgspec.structs.replace(server, parallel=1)
    if cell.build.backend is not Backend.CUDA:
        return server
    return msgspec.structs.replace(server, n_gpu_layers=_N_GPU_LAYERS, fit=False)


def _limits(flags: ContextFlags) -> SearchLimits:
    try:
        ratio = float(flags.min_speed_ratio)
    except ValueError:
        ratio = -1.0
    if not 0 < ratio < 1:
        raise MatrixError(
            f"--min-speed-ratio {flags.min_speed_ratio!r}: write a share, for example 0.8"
        )
    tokens = flags.max_context
    if tokens and tokens < _LEAST_TOKENS:
        raise MatrixError(
            f"--max-context {tokens}: write {_LEAST_TOKENS} or more tokens"
        )
    return SearchLimits(
        min_speed_ratio=ratio,
        vram_bytes=parsed("--vram:", flags.vram, parse_card_bytes)
        if flags.vram
        else None,
        max_tokens=tokens or None,
    )


def run_search(planned: ContextSearch, store: Store[ContextRecord]) -> ContextRecord:
    """Search on this machine and keep what was measured, however it ends."""
    store.require_room(this_host().slug)
    cell, context = planned.cell, planned.context
    project = context.project
    parts = ENGINE.install(cell, project.cache, weights_dir=context.weights_dir)
    launch = launch_with(cell, planned.server, parts.weights.path, context)
    shape = _shape(cell, parts.weights.path, context)
    with measuring():
        free = _free_memory(planned)
        say(f"{free.name}: {bytes_text(free.budget_bytes)} to use")
        if free.others_bytes:
            others = bytes_text(free.others_bytes)
            say(f"others hold {others} of it: less fits than alone")
        search = Search(
            SearchSettings(
                launch=launch,
                shape=shape,
                use=planned.memory,
                ceiling=_ceiling(planned, shape, free),
                bounds=FillBounds(
                    min_speed_ratio=planned.limits.min_speed_ratio,
                    deadline=time.monotonic() + planned.budget_s,
                    max_bytes=free.budget_bytes if free.limited else None,
                ),
                on_card=planned.on_card,
                recall_skipped=_SYNTHETIC if cell.synthesis else "",
                log=project.logs / f"{planned.known.id.replace('/', '-')}.log",
            ),
            say=say,
        )
        try:
            record = _record(planned, search.result(search.run()), search.argv, parts)
        except (KeyboardInterrupt, BenchError) as error:
            stopped = isinstance(error, KeyboardInterrupt) and search.attempts
            if search.steps or stopped:
                result = search.result(StopReason.INTERRUPTED)
                store.append(_record(planned, result, search.argv, parts))
            raise
        store.append(record)
    return record


def _shape(cell: Cell, weights: Path, context: Context) -> MemoryShape:
    """Of synthetic weights from their plan, else from the file.

    MeasureError where the pin is known not to load the file.
    """
    if cell.synthesis:
        return _known_shape(cell)
    commit = cell.locked.commit
    lists = lists_of(commit, context.project.cache / "sources")
    shape = shape_of_file(weights, commit=commit, lists=lists)
    if shape.refusal:
        raise MeasureError(
            f"{weights}: {cell.pin_key} refuses this file: {shape.refusal}"
        )
    for note in shape.notes:
        say(f"{weights.name}: {note}")
    return shape


def _known_shape(cell: Cell) -> MemoryShape:
    tiny = cell.weights is WeightsKind.TINY
    return known_shape(cell.model_key, Scale.TINY if tiny else Scale.FULL)


@dataclass(frozen=True, kw_only=True, slots=True)
class _FreeMemory:
    """What a server may take of this machine's memory."""

    name: str
    budget_bytes: int
    limited: bool = False
    """Whether the user allows less than there is."""
    others_bytes: int = 0
    """What other processes hold, as far as the driver reports it."""


def _free_memory(search: ContextSearch) -> _FreeMemory:
    """The free memory of the cards, of the host without one; less where the user says."""
    if search.on_card:
        free = _card_memory()
    else:
        budget_bytes = int(available_bytes() * _HOST_SHARE)
        free = _FreeMemory(name="the host", budget_bytes=budget_bytes)
    allowed_bytes = search.limits.vram_bytes
    if allowed_bytes is None or allowed_bytes >= free.budget_bytes:
        return free
    return replace(
        free,
        name=f"{free.name}, cut to {bytes_text(allowed_bytes)}",
        budget_bytes=allowed_bytes,
        limited=True,
    )


def _card_memory() -> _FreeMemory:
    """The free memory of all cards together: the server spreads over them."""
    known = gpus()
    with open_cards(find_library()) as cards:
        used_bytes = [card.used_bytes or 0 for card in cards]
        processes = [process for card in cards for process in card.processes or ()]
        named = [
            process.used_bytes
            for process in processes
            if process.used_bytes is not None
        ]
    if not known:
        raise MeasureError(
            "NVIDIA's library shows no card, and this build needs one; `nvidia-smi` "
            "should list it. `--profile smoke` runs on the CPU"
        )
    return _FreeMemory(
        name=", ".join(
            f"{card.name} ({bytes_text(card.memory_bytes)})" for card in known
        ),
        budget_bytes=sum(card.memory_bytes for card in known) - sum(used_bytes),
        others_bytes=sum(named),
    )


def _ceiling(search: ContextSearch, shape: MemoryShape, free: _FreeMemory) -> Ceiling:
    """The largest context that fits by prediction; MeasureError where none does."""
    fits = largest_context(shape, search.memory, card_bytes=free.budget_bytes) or 0
    least_tokens = 2 * SMALLEST_TOKENS
    if fits < least_tokens:
        least = memory_need(shape, search.memory, context_tokens=least_tokens).total
        others = f" (others hold {bytes_text(free.others_bytes)})"
        raise MeasureError(
            f"{search.cell.model.name} needs {bytes_text(least)} by prediction at "
            f"{least_tokens} tokens, {free.name} has {bytes_text(free.budget_bytes)} to "
            f"use{others if free.others_bytes else ''}; `invoke fit` shows what fits "
            "which card"
        )
    reason = CeilingReason.MEMORY
    if fits >= shape.trained_tokens:
        reason = CeilingReason.TRAINING
    most_tokens = search.limits.max_tokens
    if most_tokens and most_tokens < fits:
        fits, reason = most_tokens // _PAD * _PAD, CeilingReason.ASKED
    return Ceiling(
        tokens=fits,
        by=reason,
        budget_bytes=free.budget_bytes,
        others_bytes=free.others_bytes,
    )


def _record(
    search: ContextSearch,
    result: SearchResult,
    argv: tuple[str, ...],
    parts: Installed,
) -> ContextRecord:
    return ContextRecord(
        cell=search.known,
        limits=search.limits,
        result=result,
        model=search.cell.model,
        server=search.server,
        argv=tuple(map(file_name, argv)),
        locked=search.cell.locked,
        build=parts.built.manifest,
        weights=parts.weights.facts,
        **stamp(),
        same_environment=process_conditions(),
    )


def _as_json(record: ContextRecord) -> str:
    usable = usable_context(
        record.result, min_speed_ratio=record.limits.min_speed_ratio
    )
    document = {
        "largest_context_tokens": usable.step.tokens if usable.step else None,
        "limit": usable.limit,
        "beyond_tokens": usable.beyond_tokens,
        "record": record,
    }
    return json_text(document) + "\n"
