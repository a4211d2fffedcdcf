"""What fits a card: predictions as tables, beside what llama-fit-params says."""

import dataclasses
from collections.abc import Sequence

import msgspec

from llamatrix.provision.weights.fit import MemoryNeed
from llamatrix.report.formats import mib_text, whole
from llamatrix.report.render.markdown import markdown
from llamatrix.report.table import Cell, Row, Table, number, numbers
from llamatrix.units import bytes_text

_CUDA = "450 MiB"
_ASSUMED = (
    f"- CUDA's own memory is assumed ({_CUDA}), everything else follows from the model's "
    "shape; a file of the published mix can differ by a few MiB. Servers on H100 cards "
    "held 0 to 2 % less than this sum\n"
    "- one sequence (`--parallel 1`), no projector, no draft model, all layers on the card"
)
_CLOSED_FORM = "closed form"


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    context_tokens: int
    weights: int
    cache: int
    state: int
    compute: int
    scratch: int
    cuda: int
    total: int


class CrossCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The closed form beside the program's figures, for one file on the host; MiB."""

    context_tokens: int
    ours: tuple[float, float, float]
    """Model, cache and state, compute."""
    program: tuple[int, int, int]
    """The same, cut to whole MiB by the program."""
    agrees: bool
    """Within what rounding and a build's own graph explain."""


class Alternative(msgspec.Struct, frozen=True, kw_only=True):
    """A setting with which a context fits that the whole model is too large for."""

    context_tokens: int
    setting: str
    """A key of sweeps and servers with its value: `n_cpu_moe = 12`."""
    total: int
    """Bytes on the card."""
    host_bytes: int
    """Weights in the CPU's memory."""


class ModelFit(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    """Its key in the matrix, or the file's name."""
    pin: str
    architecture: str
    proven: bool
    """Whether the closed form was held against llama-fit-params for it."""
    decided_by: str
    """`closed form`, or `llama-fit-params` where the two contradict each other."""
    refusal: str = ""
    """Why this pin does not load the file; empty where it is believed to."""
    notes: tuple[str, ...] = ()
    card_bytes: int
    reserve_bytes: int
    """Kept free of the card in `largest_context_tokens`."""
    largest_context_tokens: int | None
    """None where not even the smallest context fits beside the reserve."""
    largest_is_trained: bool
    """Whether the card could hold more than the model was trained for."""
    largest_without_reserve_tokens: int | None
    host_bytes: int
    """What leaves the card: tables of embeddings."""
    forecasts: tuple[Forecast, ...]
    alternatives: tuple[Alternative, ...] = ()
    cross_checks: tuple[CrossCheck, ...] = ()
    not_checked: str = ""
    """Why there is no cross-check; empty where there is one."""


def forecast(need: MemoryNeed, *, context_tokens: int) -> Forecast:
    return Forecast(
        context_tokens=context_tokens, total=need.total, **dataclasses.asdict(need)
    )


def fit_summary(fits: Sequence[ModelFit], *, card: str) -> str:
    """One row for each model; of pins that differ, the last one's with a note."""
    kept = fits[0].reserve_bytes if fits else 0
    would_fit = _would_fit(list({fit.model: fit for fit in fits}.values()))
    margin = f"{bytes_text(kept)} of the card kept free (`--reserve`), " if kept else ""
    return "\n".join(
        [
            markdown(_by_model(fits, card)),
            *([markdown(would_fit)] if would_fit.rows else []),
            *(f"- {remark}" for remark in _remarks(fits)),
            f"- {margin}{_CUDA} assumed for CUDA itself, one sequence",
            "- `--details`: by pin and context, and beside what llama-fit-params says",
            "",
        ]
    )


def fit_page(fits: Sequence[ModelFit], *, card: str) -> str:
    tables = [_largest(fits, card), _would_fit(fits), _parts(fits), _checks(fits)]
    lines = [
        *(markdown(table) for table in tables if table.rows),
        *(f"- {remark}" for remark in _remarks(fits)),
    ]
    if fits and fits[0].reserve_bytes:
        lines.append(
            f"- {bytes_text(fits[0].reserve_bytes)} of the card is kept free "
            "(`--reserve`; llama-server's own margin is 1 GiB): for a display, other "
            "programs and the driver. Whole cards with a display were reported to hold "
            "1.0 to 1.9 GiB more than this form"
        )
    return "\n".join([*lines, _ASSUMED, ""])


def _by_model(fits: Sequence[ModelFit], card: str) -> Table:
    rows: list[Row] = []
    for model in dict.fromkeys(fit.model for fit in fits):
        pins = [fit for fit in fits if fit.model == model]
        decided = dict.fromkeys(map(_decided_text, pins))
        rows.append(
            (
                *(model, _size_cell(pins[-1].forecasts[0].weights)),
                *(_largest_of_pins(pins), _without_reserve_cell(pins[-1])),
                ", ".join(decided),
            )
        )
    return Table(
        f"Largest context on {card}",
        (
            "Model",
            *numbers("Weights", "Largest context", "with all memory"),
            "decided by",
        ),
        rows,
    )


def _size_cell(size: int) -> Cell:
    return number(size, bytes_text(size), "bytes")


def _largest_of_pins(pins: Sequence[ModelFit]) -> Cell:
    cell = _largest_cell(pins[-1])
    others = [
        f"{fit.pin} {other.text}"
        for fit in pins[:-1]
        if (other := _largest_cell(fit)).text != cell.text
        and (cell.value, other.value) != (None, None)
    ]
    note = ", ".join(filter(None, [cell.note, *others]))
    missing = "; ".join([cell.missing, *others])
    return dataclasses.replace(cell, note=note, missing=missing)


def _remarks(fits: Sequence[ModelFit]) -> dict[str, None]:
    """What a reader must know of single models and pins, each once."""
    refused = [
        f"{fit.model}, {fit.pin} refuses this file: {fit.refusal}"
        for fit in fits
        if fit.refusal
    ]
    notes = [f"{fit.model}: {note}" for fit in fits for note in fit.notes]
    contradicted = [
        f"{fit.model}, {fit.pin}: llama-fit-params contradicts the closed form; its "
        "figures are the ones shown"
        for fit in fits
        if fit.decided_by != _CLOSED_FORM
    ]
    unchecked = [
        f"{fit.pin} is not cross-checked: {fit.not_checked}"
        for fit in fits
        if fit.not_checked not in ("", fit.refusal)
    ]
    return dict.fromkeys([*refused, *notes, *contradicted, *unchecked])


def _largest(fits: Sequence[ModelFit], card: str) -> Table:
    kept = bytes_text(fits[0].reserve_bytes) if fits else ""
    return Table(
        f"Largest context on {card}",
        (
            *("Model", "Pin"),
            *numbers(f"Largest context, {kept} free", "with all memory"),
            *numbers("Weights on the card", "On the host"),
            "decided by",
        ),
        [
            (
                *(fit.model, fit.pin, _largest_cell(fit), _without_reserve_cell(fit)),
                *(_size_cell(fit.forecasts[0].weights), _size_cell(fit.host_bytes)),
                _decided_text(fit),
            )
            for fit in fits
        ],
    )


def _without_reserve_cell(fit: ModelFit) -> Cell:
    tokens = None if fit.refusal else fit.largest_without_reserve_tokens
    return number(tokens, whole, "tokens", missing="none")


def _decided_text(fit: ModelFit) -> str:
    if fit.decided_by != _CLOSED_FORM:
        return fit.decided_by
    if fit.proven:
        return _CLOSED_FORM
    if fit.cross_checks:
        return f"{_CLOSED_FORM}, as llama-fit-params says"
    return f"{_CLOSED_FORM}, unproven for {fit.architecture}"


def _largest_cell(fit: ModelFit) -> Cell:
    smallest = min(item.total for item in fit.forecasts)
    if fit.refusal:
        reason = "refused by this pin"
    elif smallest <= fit.card_bytes:
        free = bytes_text(fit.card_bytes - smallest)
        reason = f"none: {free} free at the smallest"
    else:
        reason = f"does not fit: {bytes_text(smallest)} at the smallest"
    return number(
        None if fit.refusal else fit.largest_context_tokens,
        whole,
        "tokens",
        note="all it was trained for" if fit.largest_is_trained else "",
        missing=reason,
    )


def _parts(fits: Sequence[ModelFit]) -> Table:
    rows: list[Row] = []
    for fit in fits:
        for item in fit.forecasts:
            free = fit.card_bytes - item.total
            if free < 0 and fit.alternatives:
                continue
            # by the same reserve as the largest context
            fits_text = "no" if free < 0 else "yes"
            if 0 <= free < fit.reserve_bytes:
                fits_text = f"tight: {bytes_text(free)} free"
            parts = (
                *(item.weights, item.cache, item.state, item.compute),
                *(item.scratch, item.cuda, item.total),
            )
            rows.append(
                (
                    *(fit.model, fit.pin, number(item.context_tokens, whole, "tokens")),
                    *(number(part, mib_text, "bytes") for part in parts),
                    fits_text,
                )
            )
    return Table(
        "Memory on the card (MiB)",
        (
            *("Model", "Pin"),
            *numbers("Context", "weights", "cache", "state"),
            *numbers("compute", "fp16 copy", "CUDA", "sum"),
            "fits",
        ),
        rows,
    )


def _would_fit(fits: Sequence[ModelFit]) -> Table:
    """What to set where a model does not fit whole."""
    return Table(
        "What would fit",
        (
            *("Model", "Pin"),
            *numbers("Context"),
            "with",
            *numbers("On the card", "Free", "In the CPU's memory"),
        ),
        [
            (
                *(fit.model, fit.pin, number(one.context_tokens, whole, "tokens")),
                *(one.setting, _size_cell(one.total)),
                _size_cell(fit.card_bytes - one.total),
                _size_cell(one.host_bytes),
            )
            for fit in fits
            if not fit.refusal
            for one in fit.alternatives
        ],
    )


def _checks(fits: Sequence[ModelFit]) -> Table:
    """Both figures and their difference: model, cache with state, compute."""
    rows: list[Row] = []
    for fit in fits:
        for check in fit.cross_checks:
            cells = (
                number(
                    ours, f"{ours:,.1f} / {program:,} ({ours - program:+,.1f})", "MiB"
                )
                for ours, program in zip(check.ours, check.program, strict=True)
            )
            tokens = number(check.context_tokens, whole, "tokens")
            verdict = "agrees" if check.agrees else "contradicts"
            rows.append((fit.model, fit.pin, tokens, *cells, verdict))
    return Table(
        "Closed form / llama-fit-params (difference), all on the host, MiB",
        (
            *("Model", "Pin"),
            *numbers("Context", "model", "cache and state", "compute"),
            "verdict",
        ),
        rows,
    )
