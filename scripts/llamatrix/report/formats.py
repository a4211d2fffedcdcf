"""How unrounded numbers become text: the only rounding of the reports."""

from llamatrix.reference.quantity import UNITS, Quantity, Unit
from llamatrix.units import bytes_text

_SIZES = UNITS[Quantity.MODEL_SIZE]
_PARAMS = UNITS[Quantity.TOTAL_PARAMS]
_RATES = UNITS[Quantity.PREFILL_RATE]
_MIB = 2**20
_ENDINGS = {1: "st", 2: "nd", 3: "rd"}
"""Of the turns that a person would wait for; all others end in th."""


def whole(value: float) -> str:
    return f"{value:,.0f}"


def tenths(value: float) -> str:
    return f"{value:,.1f}"


def hundredths(value: float) -> str:
    return f"{value:,.2f}"


def number_text(value: float) -> str:
    """A count, or the half that a median of counts can have: `2,867`, `10.5`."""
    return whole(value) if value == round(value) else tenths(value)


def seconds_text(value: float) -> str:
    """As published: `4.11s`."""
    return f"{value:,.2f}s"


def share_text(fraction: float) -> str:
    """`1.3 %`."""
    return f"{100 * fraction:.1f} %"


def watts_text(watts: float | None) -> str:
    return "n/a" if watts is None else f"{watts:.0f} W"


def mib_text(size: float) -> str:
    """A number of MiB, without the unit."""
    return f"{size / _MIB:,.0f}"


def size_text(size: float) -> str:
    """As published where it is large (`16.40 GiB`)."""
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else bytes_text(round(size))


def params_text(count: float) -> str:
    return f"{count / 1e9:.2f} B" if count >= 10**8 else f"{count / 1e6:.2f} M"


def speed_text(value: float) -> str:
    """Tokens per second as the published tables print them: 2,290 or 45.88."""
    return whole(value) if value >= 1000 else hundredths(value)  # noqa: PLR2004


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


def ratio_text(ratio: float | None) -> str:
    return "n/a" if ratio is None else f"{ratio:.3g}"


def interval_text(interval: tuple[float, float] | None) -> str:
    return f"[{interval[0]:.3g}, {interval[1]:.3g}]" if interval else ""


def ordinal(number: int) -> str:
    return f"{number}{_ENDINGS.get(number, 'th')}"
