"""Base units back into what people read: the only rounding of comparisons."""

from llamatrix.reference.quantity import UNITS, Quantity, Unit
from llamatrix.report.speed_tables import size_text

_SIZES = UNITS[Quantity.MODEL_SIZE]
_PARAMS = UNITS[Quantity.TOTAL_PARAMS]
_RATES = UNITS[Quantity.PREFILL_RATE]


def amount_text(quantity: Quantity, value: float) -> str:
    """A value in base units with a unit that suits it: `45.9 tokens/s`, `16.4 GiB`."""
    units = UNITS[quantity]
    if units == _RATES:
        return f"{speed_text(value)} {Unit.TOKENS_PER_SECOND}"
    if units == _SIZES:
        return size_text(round(value))
    if units == _PARAMS:
        return f"{value / 1e9:.4g} B" if value >= 10**8 else f"{value / 1e6:.3g} M"
    if Unit.SECONDS in units:
        return f"{value:,.3g} s"
    return f"{value:,.0f} {min(units)}"


def speed_text(value: float) -> str:
    """Tokens per second as the published tables print them: 2,290 or 45.88."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.2f}"  # noqa: PLR2004


def ratio_text(ratio: float | None) -> str:
    return "n/a" if ratio is None else f"{ratio:.3g}"


def interval_text(interval: tuple[float, float] | None) -> str:
    return f"[{interval[0]:.3g}, {interval[1]:.3g}]" if interval else ""


def percent_text(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"
