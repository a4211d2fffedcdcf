"""Quantiles and tests from scipy, the only place that imports it.

Imported inside the functions: `invoke --list` must not wait for it, and the heavy
`scipy.stats` is left alone by everything but Boschloo's test.
"""

from functools import lru_cache

_TAIL = 0.025


@lru_cache(maxsize=256)
def t_quantile(probability: float, degrees: float) -> float:
    """Student's t; degrees of freedom need not be whole (Satterthwaite)."""
    from scipy import special

    return float(special.stdtrit(degrees, probability))


def t_two_sided_p(statistic: float, degrees: float) -> float:
    from scipy import special

    return float(2 * special.stdtr(degrees, -abs(statistic)))


@lru_cache(maxsize=1024)
def chi_square_quantile(probability: float, degrees: int) -> float:
    from scipy import special

    return float(2 * special.gammaincinv(degrees / 2, probability))


@lru_cache(maxsize=64)
def chi_square_quantiles(degrees: int, count: int) -> tuple[float, ...]:
    """`count` equally likely values: the quantiles at the middles of as many bins."""
    return tuple(
        chi_square_quantile((bin_ + 0.5) / count, degrees) for bin_ in range(count)
    )


@lru_cache(maxsize=64)
def median_ranks(count: int) -> tuple[int, int] | None:
    """Places, from 0, of the sorted values between which the median lies at 95 %.

    By the sign test: nothing is assumed of the values. None for fewer than six.
    """
    from scipy import special

    least = -1
    while special.bdtr(least + 1, count, 0.5) <= _TAIL:
        least += 1
    return (least, count - 1 - least) if least >= 0 else None


def beta_quantile(probability: float, a: float, b: float) -> float:
    from scipy import special

    return float(special.betaincinv(a, b, probability))


def beta_cdf(value: float, a: float, b: float) -> float:
    from scipy import special

    return float(special.betainc(a, b, min(max(value, 0.0), 1.0)))


@lru_cache(maxsize=256)
def boschloo_p(
    passed: int, trials: int, reference_passed: int, reference_trials: int
) -> float:
    """Two-sided p that `passed` of `trials` has the rate of the reference.

    Boschloo (Statistica Neerlandica 1970): Fisher's p as the statistic of an
    unconditional test, uniformly sharper than Fisher's own.
    """
    from scipy import stats

    table = [
        [passed, reference_passed],
        [trials - passed, reference_trials - reference_passed],
    ]
    return float(stats.boschloo_exact(table, alternative="two-sided").pvalue)


@lru_cache(maxsize=64)
def noncentrality(bound: float, degrees: float, power: float) -> float:
    """The shift that makes a noncentral t variable exceed `bound` with this power."""
    from scipy import special

    return float(special.nctdtrinc(degrees, 1 - power, bound))
