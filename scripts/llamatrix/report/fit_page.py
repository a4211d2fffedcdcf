"""What fits a card: predictions as tables, beside what llama-fit-params says."""

from collections.abc import Sequence

import msgspec

from llamatrix.provision.fit import Need
from llamatrix.report.tables import Table
from llamatrix.units import bytes_text

_MIB = 2**20
_ASSUMED = (
    "- CUDA's own memory is assumed (450 MiB), everything else follows from the model's "
    "shape; a file of the published mix can differ by a few MiB"
)


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """One model at one context: bytes on the card."""

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


class ModelFit(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    """Its key in the matrix, or the file's name."""
    pin: str
    card_bytes: int
    largest_context_tokens: int | None
    """None where not even the smallest context fits."""
    largest_is_trained: bool
    """Whether the card could hold more than the model was trained for."""
    host_bytes: int
    """What leaves the card: the table of token embeddings."""
    forecasts: tuple[Forecast, ...]
    cross_checks: tuple[CrossCheck, ...] = ()
    not_checked: str = ""
    """Why there is no cross-check; empty where there is one."""


def forecast(found: Need, *, context_tokens: int) -> Forecast:
    return Forecast(
        context_tokens=context_tokens,
        weights=found.weights,
        cache=found.cache,
        state=found.state,
        compute=found.compute,
        scratch=found.scratch,
        cuda=found.cuda,
        total=found.total,
    )


def fit_page(fits: Sequence[ModelFit], *, card: str) -> str:
    tables = [_largest(fits, card), _parts(fits), _checks(fits)]
    reasons = dict.fromkeys(one.not_checked for one in fits if one.not_checked)
    return "\n".join(
        [
            *(table.markdown() for table in tables if table.rows),
            *(f"- not cross-checked: {reason}" for reason in reasons),
            _ASSUMED,
            "- a driver keeps some memory of a card for itself: leave about 2 %",
            "",
        ]
    )


def _largest(fits: Sequence[ModelFit], card: str) -> Table:
    return Table(
        title=f"Largest context on {card}",
        header=(
            "Model",
            "Pin",
            "Largest context",
            "Weights on the card",
            "On the host",
        ),
        rows=tuple(
            (
                *(fit.model, fit.pin, _largest_text(fit)),
                bytes_text(fit.forecasts[0].weights),
                bytes_text(fit.host_bytes),
            )
            for fit in fits
        ),
        right=(2, 3, 4),
    )


def _largest_text(fit: ModelFit) -> str:
    if fit.largest_context_tokens is None:
        smallest = min(one.total for one in fit.forecasts)
        return f"does not fit: {bytes_text(smallest)} at the smallest"
    more = " (all it was trained for)" if fit.largest_is_trained else ""
    return f"{fit.largest_context_tokens:,}{more}"


def _parts(fits: Sequence[ModelFit]) -> Table:
    return Table(
        title="Memory on the card (MiB)",
        header=(
            *("Model", "Pin", "Context", "weights", "cache", "state"),
            *("compute", "fp16 copy", "CUDA", "sum", "fits"),
        ),
        rows=tuple(
            (
                *(fit.model, fit.pin, f"{one.context_tokens:,}"),
                *map(
                    _mib,
                    (one.weights, one.cache, one.state, one.compute),
                ),
                *map(_mib, (one.scratch, one.cuda, one.total)),
                "yes" if one.total <= fit.card_bytes else "no",
            )
            for fit in fits
            for one in fit.forecasts
        ),
        right=tuple(range(2, 10)),
    )


def _checks(fits: Sequence[ModelFit]) -> Table:
    """Both figures and their difference: model, cache with state, compute."""
    rows = []
    for fit in fits:
        for check in fit.cross_checks:
            cells = [fit.model, fit.pin, f"{check.context_tokens:,}"]
            for ours, program in zip(check.ours, check.program, strict=True):
                cells.append(f"{ours:,.1f} / {program:,} ({ours - program:+,.1f})")
            rows.append(tuple(cells))
    return Table(
        title="Closed form / llama-fit-params (difference), all on the host, MiB",
        header=("Model", "Pin", "Context", "model", "cache and state", "compute"),
        rows=tuple(rows),
        right=(2, 3, 4, 5),
    )


def _mib(count: int) -> str:
    return f"{count / _MIB:,.0f}"
