"""Numbers for people: intervals of confidence, and tables for the terminal and for Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
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

    Pairs are drawn together: what a pair has in common (the same traffic under two policies) cancels.

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
    drawn = np.random.default_rng(seed).integers(0, x.size, (n, x.size))
    low, high = np.quantile(x[drawn].mean(axis=1) / y[drawn].mean(axis=1), (0.025, 0.975))
    return Ratio(float(x.mean() / y.mean()), float(low), float(high))


def format_ci(mean: float, half_width: float) -> str:
    """``74.12 ± 0.31``: two digits of the half-width, and the mean as precisely; alone if there is no interval."""
    if not math.isfinite(half_width):
        return f"{mean:.4g}"
    digits = 1 - math.floor(math.log10(half_width)) if half_width > 0 else 2
    digits = min(max(digits, 0), 6)
    return f"{mean:.{digits}f} ± {half_width:.{digits}f}"


def format_table(headers: Sequence[str], rows: Sequence[Sequence[object]], *, markdown: bool = False) -> str:
    """A table as text: columns of numbers to the right, others to the left; floats with four digits.

    Args:
        headers: one per column.
        rows: cells, ``None`` for an empty one.
        markdown: the same table in Markdown.

    Raises:
        ValueError: a row has another number of cells than there are headers.
    """
    if any(len(row) != len(headers) for row in rows):
        raise ValueError(f"a row does not have the {len(headers)} cells of the headers {', '.join(headers)}")
    lines = [list(headers), *([_cell(cell, markdown) for cell in row] for row in rows)]
    columns = list(zip(*lines, strict=True))
    widths = [max(3, *(len(cell) for cell in column)) for column in columns]
    right = [_is_numeric(column[1:]) for column in columns]
    text = [[c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)] for line in lines]
    if markdown:
        rule = ["-" * (w - 1) + ":" if r else "-" * w for w, r in zip(widths, right, strict=True)]
        return "\n".join(f"| {' | '.join(line)} |" for line in [text[0], rule, *text[1:]])
    rule = ["-" * w for w in widths]
    return "\n".join("  ".join(line).rstrip() for line in [text[0], rule, *text[1:]])


def _cell(value: object, markdown: bool) -> str:
    if value is None:
        return ""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", r"\|") if markdown else text


def _is_numeric(cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if cell not in ("", "-", "–", "—", "nan", "inf", "-inf")]
    return bool(filled) and all(cell.lstrip("+-−<>≤≥ ")[:1].isdigit() for cell in filled)
