"""Intervals of confidence for means and ratios."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

_NORMAL_975 = 1.959963984540054
_STUDENT_975 = (
    *(12.7062047362, 4.3026527297, 3.1824463053, 2.7764451052, 2.5705818356),
    *(2.4469118511, 2.3646242516, 2.3060041352, 2.2621571628, 2.2281388520),
)
"""The 97.5 % points of Student's t distribution for 1 to 10 degrees of freedom."""


class Ratio(NamedTuple):
    """A ratio of two means and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def mean_ci(values: ArrayLike) -> tuple[float, float]:
    """Mean and half-width of its 95 % confidence interval (Student's t) over independent values.

    The half-width of a single value is NaN.

    Raises:
        ValueError: there are no values.
    """
    x = np.asarray(values, np.float64).ravel()
    if x.size == 0:
        raise ValueError("the mean of no values")
    if x.size == 1:
        return float(x[0]), math.nan
    return float(x.mean()), student_975(x.size - 1) * float(x.std(ddof=1)) / math.sqrt(x.size)


def student_975(degrees: int) -> float:
    """The 97.5 % point of Student's t distribution, exact to four digits.

    Up to 10 degrees of freedom from a table, above by the expansion around the normal distribution (Abramowitz and
    Stegun, "Handbook of Mathematical Functions", 26.7.5).
    """
    if degrees <= len(_STUDENT_975):
        return _STUDENT_975[degrees - 1]
    z, n = _NORMAL_975, float(degrees)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / n + second / n**2 + third / n**3


def bootstrap_ratio_ci(a: ArrayLike, b: ArrayLike, seed: int, n: int = 2000) -> Ratio:
    """mean(a) / mean(b) for paired values, with a 95 % percentile bootstrap interval.

    Pairs are drawn together: what a pair has in common (the same traffic under two policies) cancels. The interval of a
    single pair is NaN.

    Args:
        a: values of the numerator.
        b: values of the denominator in the same order.
        seed: of the draws.
        n: number of bootstrap samples.

    Raises:
        ValueError: the values do not come in pairs, or there are none.
    """
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if x.shape != y.shape or x.ndim != 1 or x.size == 0:
        raise ValueError(f"a ratio needs paired values, got shapes {x.shape} and {y.shape}")
    if x.size == 1:
        return Ratio(float(x[0] / y[0]), math.nan, math.nan)
    drawn = np.random.default_rng(seed).integers(0, x.size, (n, x.size))
    low, high = np.quantile(x[drawn].mean(axis=1) / y[drawn].mean(axis=1), (0.025, 0.975))
    return Ratio(float(x.mean() / y.mean()), float(low), float(high))
