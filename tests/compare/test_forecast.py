"""The plan in words: time against the budget, and what the pairs could see."""

from llamatrix.compare.forecast import Forecast, forecast_lines
from llamatrix.stats.power import smallest_effect, upper_sd
from llamatrix.stats.sequential import SequentialTest

_LOOKS = SequentialTest(looks=(5, 8))
_QUIET = Forecast(
    case="a",
    pair_s=10.0,
    work="7 repetitions",
    complete=2,
    sd_log=0.01,
    values=4,
    source="the warm-up",
)
_UNKNOWN = Forecast(
    case="b",
    pair_s=20.0,
    work="2 repetitions",
    complete=0,
    sd_log=None,
    values=0,
    source="",
)


def lines(*outlooks: Forecast, budget_s: float = 3600.0) -> list[str]:
    margins = {one.case: 0.02 for one in outlooks}
    return forecast_lines(
        outlooks, sequential=_LOOKS, margins=margins, budget_s=budget_s
    )


def test_forecast_time_counts_missing_pairs_only() -> None:
    (first, *_) = lines(_QUIET, _UNKNOWN)
    assert "first look in 2 min 10 s" in first
    assert "at the last in 3 min 40 s" in first


def test_a_budget_too_small_for_the_first_look_is_reported() -> None:
    assert not any("budget ends before" in line for line in lines(_QUIET))
    assert any("budget ends before" in line for line in lines(_QUIET, budget_s=20.0))


def test_forecast_effects_are_corrected_for_looks_and_cells() -> None:
    last = lines(_QUIET, _UNKNOWN)[1]
    sd_log = upper_sd(0.01, values=4)
    effect = smallest_effect(sd_log=sd_log, pairs=5, margin=0.02, alpha=0.05 / 2 / 2)
    assert effect is not None
    assert f"a loss of {100 * effect:.2g} % after 5" in last


def test_forecast_without_noise_states_no_effect() -> None:
    assert "too little is known of its noise" in lines(_UNKNOWN)[-1]
