"""Comparisons of our numbers with published ones, and the rules that decide them.

A published speed is one mean, perhaps with a deviation: it gets a tolerance band. A
quantity that one sampled trial decides (tokens, times, calls, turns) is a single draw: it
is compared with the prediction interval for one more of our trials.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec
from msgspec import Struct

from llamatrix.reference.conditions import CLASS, FIELDS, SUBJECT, Conditions
from llamatrix.reference.quantity import RATES, Quantity
from llamatrix.reference.reference_set import Claim
from llamatrix.reference.rules.rule import Finding
from llamatrix.stats.intervals import ALPHA, t_quantile, t_two_sided_p
from llamatrix.stats.power import (
    MIN_TRIALS,
    POWER,
    RANGE_TRIALS,
    LogPrediction,
    log_prediction,
    range_detectable_factor,
    range_p_value,
)
from llamatrix.stats.sequential import holm

BY_CORRECTNESS = frozenset({Quantity.CORRECT_TURN, Quantity.TASKS_SOLVED})
"""Quantities that depend on the criterion of correctness."""


class ComparisonVerdict(StrEnum):
    REPRODUCED = "reproduced"
    DIFFERS = "differs"
    TOO_FEW_TRIALS = "too few trials"
    NOT_COMPARABLE = "not comparable"


class OurNumber(Struct, frozen=True, kw_only=True):
    claim: str
    values: tuple[float, ...]
    """In base units (tokens/s, s, bytes, parameters, counts), one per process or trial."""
    interval: tuple[float, float] | None = None
    """Of their mean, where it can be estimated."""
    conditions: Conditions
    records: tuple[str, ...] = ()
    """Digests of the records."""
    missing: str = ""
    """Why there are no values; empty where there are."""
    marks: tuple[str, ...] = ()
    """Problems of the machine: `disturbed`, `unstable`."""

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)


class Difference(Struct, frozen=True, kw_only=True):
    condition: str
    ours: bool | float | str | None
    theirs: bool | float | str | None
    """None where not stated."""


class Comparison(Struct, frozen=True, kw_only=True):
    claim: str
    verdict: ComparisonVerdict
    reason: str
    """Of the verdict."""
    theirs: float
    """In base units."""
    ours: float | None = None
    ratio: float | None = None
    """Ours ÷ theirs."""
    interval: tuple[float, float] | None = None
    """Of the ratio, from our spread alone."""
    band: tuple[float, float] | None = None
    """Ratios that count as reproduced: the tolerance, or the 95 % prediction interval of
    one more trial, widened by the rounding of the published figure."""
    firm: bool | None = None
    """Whether our complete interval is on the verdict's side of the band."""
    p_value: float | None = None
    """Of the hypothesis that both are equal; None where it was not tested."""
    detectable_factor: float | None = None
    """The smallest true factor between both that yields `differs` with 80 % power, given
    the observed spread."""
    detectable_factor_upper: float | None = None
    """The same at the upper bound of the spread, for quantities of trials."""
    differences: tuple[Difference, ...] = ()
    findings: tuple[Finding, ...] = ()
    """Of the audit, about the published figure."""
    marks: tuple[str, ...] = ()
    """What was wrong with our machine: `disturbed`, `unstable`."""
    records: tuple[str, ...] = ()


def differences(ours: Conditions, theirs: Conditions) -> tuple[Difference, ...]:
    return tuple(
        Difference(condition=field, ours=our_value, theirs=their_value)
        for field in FIELDS
        if (our_value := getattr(ours, field))
        != (their_value := getattr(theirs, field))
    )


def conflicts(
    differing: Sequence[Difference], quantity: Quantity
) -> tuple[Difference, ...]:
    """Return the differences that rule out a comparison: in subject or class, both stated."""
    binding = {*SUBJECT, *CLASS}
    if quantity in BY_CORRECTNESS:
        binding.add("correctness")
    return tuple(
        comparison
        for comparison in differing
        if comparison.condition in binding
        and comparison.ours is not None
        and comparison.theirs is not None
    )


COUNTS = BY_CORRECTNESS | {Quantity.API_CALLS, Quantity.TOOL_CALLS}
"""Small whole numbers, whose logarithms are not normal: decided by their range."""
TRAJECTORY = COUNTS | {
    Quantity.PROMPT_TOKENS,
    Quantity.GENERATED_TOKENS,
    Quantity.REASONING_TOKENS,
    Quantity.PROMPT_TIME,
    Quantity.GENERATION_TIME,
}
"""Quantities of one sampled run of an agent, other than speeds."""
ASSUMED_SPEED_SD = 0.03
"""Log-sd of a speed where none can be estimated; a quiet card has 0.007."""
LEAST_RATE_SD = 0.01
"""Least log-sd of an agent's speed between trials."""
WIDEST = math.log(10)
"""Trials decide nothing where one more may differ by a larger factor."""
_MANY = 1e9
"""Degrees of freedom of an assumed deviation."""


class SpeedSpread(Struct, frozen=True, kw_only=True):
    sd_log: float = ASSUMED_SPEED_SD
    degrees: float = _MANY


def speed_spread(claims: Sequence[Claim], ours: Mapping[str, OurNumber]) -> SpeedSpread:
    """Pool the spread over all speeds with several processes, without those of trials.

    An estimate from two processes is so uncertain that no difference would remain
    significant after the correction for many claims.
    """
    logs = [
        [math.log(value) for value in ours[claim.id].values]
        for claim in claims
        if claim.quantity in RATES
        and not is_trial_quantity(claim)
        and claim.id in ours
        and min(ours[claim.id].values, default=0) > 0
    ]
    degrees = sum(len(values) - 1 for values in logs)
    if not degrees:
        return SpeedSpread()
    squares = sum(
        statistics.variance(values) * (len(values) - 1)
        for values in logs
        if len(values) > 1
    )
    return SpeedSpread(sd_log=math.sqrt(squares / degrees), degrees=degrees)


def significant_after_holm(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Return the comparisons that differ after Holm's correction for all tests.

    If every claim is reproduced, this is empty in 95 % of all cases, however many claims
    there are and however they correlate.
    """
    tested = [(each, each.p_value) for each in comparisons if each.p_value is not None]
    adjusted = holm([p_value for _, p_value in tested])
    return tuple(
        each for (each, _), p in zip(tested, adjusted, strict=True) if p <= ALPHA
    )


def is_trial_quantity(claim: Claim) -> bool:
    """Return whether one run of an agent decides the quantity."""
    timings = {*RATES, Quantity.FIRST_TOKEN_TIME}
    of_a_task = claim.quantity in timings and claim.conditions.task is not None
    return claim.quantity in TRAJECTORY or of_a_task


def decide_by_band(
    known: Comparison,
    claim: Claim,
    ours: OurNumber,
    *,
    tolerance: float,
    spread: SpeedSpread,
) -> Comparison:
    low, high = _band(claim, known.theirs, tolerance)
    ratio, values = known.ratio or 0.0, ours.values
    inside = low <= ratio <= high
    firm = False if len(values) > 1 and not known.interval else None
    if known.interval:
        ours_low, ours_high = known.interval
        within = low <= ours_low and ours_high <= high
        outside = ours_high < low or high < ours_low
        firm = within if inside else outside
    error = 0.0  # of the mean log, by the larger of the pooled and the own deviation
    if claim.quantity in RATES:
        sd = spread.sd_log
        if len(values) > 1:
            sd = max(sd, statistics.stdev([math.log(value) for value in values]))
        error = sd / math.sqrt(len(values))
    place = "inside" if inside else "outside"
    return msgspec.structs.replace(
        known,
        verdict=_verdict(differs=not inside),
        reason=f"ratio {ratio:.3f} is {place} {low:.3f} to {high:.3f}",
        band=(low, high),
        firm=firm,
        p_value=1.0 if inside else _beyond(ratio, (low, high), error, spread.degrees),
        detectable_factor=max(high, 1 / low)
        * math.exp(t_quantile(POWER, spread.degrees) * error)
        if low
        else None,
    )


def _verdict(*, differs: bool) -> ComparisonVerdict:
    return ComparisonVerdict.DIFFERS if differs else ComparisonVerdict.REPRODUCED


def _band(claim: Claim, theirs: float, tolerance: float) -> tuple[float, float]:
    return (
        (1 - tolerance) * claim.interval.low / theirs,
        (1 + tolerance) * claim.interval.high / theirs,
    )


def _beyond(
    ratio: float, band: tuple[float, float], error: float, degrees: float
) -> float:
    """Return the one-sided p that the true ratio lies in the band, ours being outside."""
    if not error or not ratio or not band[0]:
        return 0.0
    distance = max(math.log(ratio / band[1]), math.log(band[0] / ratio))
    return t_two_sided_p(distance / error, degrees) / 2


def decide_by_trials(
    known: Comparison, claim: Claim, ours: OurNumber, tolerance: float
) -> Comparison:
    values, count = ours.values, len(ours.values)
    is_rate = claim.quantity in RATES
    if count < MIN_TRIALS:
        band = _band(claim, known.theirs, tolerance)
        if is_rate and band[0] <= (known.ratio or 0.0) <= band[1]:
            return msgspec.structs.replace(
                known,
                verdict=ComparisonVerdict.REPRODUCED,
                reason=f"ratio {known.ratio:.3f} is inside {band[0]:.3f} to {band[1]:.3f}",
                band=band,
            )
        return _too_few(known, f"{count} of at least {MIN_TRIALS} trials")
    if claim.quantity in COUNTS or min(values) <= 0:
        return _by_range(known, claim, values)
    prediction = log_prediction(
        values,
        tolerance_log=-math.log1p(-tolerance) if is_rate else 0.0,
        least_sd_log=LEAST_RATE_SD if is_rate else 0.0,
    )
    return _by_prediction(known, claim, ours, prediction)


def _by_range(known: Comparison, claim: Claim, values: Sequence[float]) -> Comparison:
    count = len(values)
    if count < RANGE_TRIALS:
        return _too_few(known, f"{count} of at least {RANGE_TRIALS} trials for a count")
    low, high = _plain(min(values)), _plain(max(values))
    p_value = range_p_value(values, claim.interval.low, claim.interval.high)
    factor = range_detectable_factor(values)
    place = "outside" if p_value <= ALPHA else "inside"
    return msgspec.structs.replace(
        known,
        verdict=_verdict(differs=p_value <= ALPHA),
        reason=f"{claim.text} lies {place} the range of our {count} trials, "
        f"{low} to {high}",
        p_value=p_value,
        detectable_factor=factor if math.isfinite(factor) else None,
    )


def _by_prediction(
    known: Comparison, claim: Claim, ours: OurNumber, prediction: LogPrediction
) -> Comparison:
    count = len(ours.values)
    if prediction.sd_log == 0:
        return _too_few(known, f"our {count} trials are equal: their spread is unknown")
    printed, (low, high) = claim.interval, prediction.interval
    p_value = prediction.p_value(printed.low, printed.high)
    tested = msgspec.structs.replace(
        known,
        p_value=p_value,
        detectable_factor=prediction.detectable_factor,
        detectable_factor_upper=prediction.detectable_factor_upper,
    )
    if p_value > ALPHA and prediction.half_width > WIDEST:
        factor = math.exp(prediction.half_width)
        return _too_few(
            tested,
            f"another trial like our {count} may differ by a factor of {factor:,.0f}",
        )
    place = "outside" if p_value <= ALPHA else "inside"
    on_any_card = " on a card of this class" if prediction.tolerance_log else ""
    rounding = printed.low / known.theirs, printed.high / known.theirs
    return msgspec.structs.replace(
        tested,
        verdict=_verdict(differs=p_value <= ALPHA),
        reason=(
            f"{claim.text} lies {place} {_plain(low)} to {_plain(high)}, where 95 % of single "
            f"trials like our {count} fall{on_any_card}"
        ),
        band=(ours.mean * rounding[0] / high, ours.mean * rounding[1] / low),
    )


def _plain(value: float) -> str:
    """Format with three digits or more, never with an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004


def _too_few(known: Comparison, why: str) -> Comparison:
    """Drop interval and band, which would be too wide to be informative."""
    return msgspec.structs.replace(
        known, verdict=ComparisonVerdict.TOO_FEW_TRIALS, reason=why, interval=None
    )
