"""Reservoirs of completion times and flow durations with exact statistics (Yao, Ding and Clausen, CIKM 2022, alg. 2).

A sample overwrites a uniformly random slot. With ``g`` the decay per second, a sample v taken at time s counts
``v * g**(t - s)`` at time t in the decayed statistics. Since ``g**t`` is common to all samples, the reservoir keeps
``u = v * g**-s``, which never changes: running sums of v, v**2, u and ``g**-s`` and the sorted v and u give all
statistics at any time without going through the samples.
"""

from __future__ import annotations

import math

import numpy as np

from .compiled import part, shared_part
from .draws import PACKETS, next_integer, next_uniform
from .layout import Clock, Floats, Samples
from .parameters import Measuring

COMPLETION, DURATION = 0, 1
"""Kinds of reservoir: one sample per finished flow; one per packet of an on-going flow."""

_NEARLY_EQUAL = 1e-6
"""Relative variance below which running sums have lost it to rounding and it is computed from the samples."""


@part
def reservoir(kind: int, i: int, j: int, n_balancers: int, n_slots: int) -> int:
    """Index of balancer i's reservoir for server j."""
    return (kind * n_balancers + i) * n_slots + j


@part
def clear(m: Measuring, samples: Samples, b: int) -> None:
    """Empty a row's reservoirs; with zero fill they are full of zeros that count."""
    samples.value[b] = 0.0
    samples.grown[b] = 0.0
    samples.by_value[b] = 0.0
    samples.by_weighted[b] = 0.0
    samples.sums[b] = 0.0
    samples.n[b] = m.reservoir if m.zero_fill else 0


@part
def _find(row: Floats, n: int, x: float) -> int:
    """Index of x in the first n sorted numbers."""
    low, high = 0, n
    while low < high:
        middle = (low + high) >> 1
        if row[middle] < x:
            low = middle + 1
        else:
            high = middle
    return low


@part
def _settle(row: Floats, n: int, at: int, x: float) -> None:
    """Overwrite place ``at`` of n sorted numbers with x, and shift those between there and where x belongs."""
    while at + 1 < n and row[at + 1] < x:
        row[at] = row[at + 1]
        at += 1
    while at > 0 and row[at - 1] > x:
        row[at] = row[at - 1]
        at -= 1
    row[at] = x


@shared_part
def insert(m: Measuring, samples: Samples, clock: Clock, b: int, r: int, t: float, v: float) -> None:
    """Add the sample v taken at time t to reservoir r of row b."""
    if m.accept < 1.0 and next_uniform(clock, b, PACKETS) >= m.accept:
        return
    slot = next_integer(clock, b, PACKETS, m.reservoir)
    grown = math.exp(m.growth * t)
    u = v * grown
    by_value, by_weighted, sums = samples.by_value[b, r], samples.by_weighted[b, r], samples.sums[b, r]
    n = samples.n[b, r]
    old, old_grown = samples.value[b, r, slot], samples.grown[b, r, slot]
    old_u = old * old_grown
    if old_grown == 0.0 and not m.zero_fill:
        n += 1
        samples.n[b, r] = n
        place, place_u = n - 1, n - 1
    else:
        place, place_u = _find(by_value, n, old), _find(by_weighted, n, old_u)
    _settle(by_value, n, place, v)
    _settle(by_weighted, n, place_u, u)
    sums[0] += v - old
    sums[1] += v * v - old * old
    sums[2] += u - old_u
    sums[3] += grown - old_grown
    samples.value[b, r, slot] = v
    samples.grown[b, r, slot] = grown


@part
def _percentile_90(row: Floats, n: int) -> float:
    """90th percentile of n sorted numbers, interpolated linearly as NumPy does."""
    place = 0.9 * (n - 1)
    low = int(place)
    high = min(low + 1, n - 1)
    return row[low] + (row[high] - row[low]) * (place - low)


@part
def _deviation(row: Floats, n: int, mean: float, square: float) -> float:
    """Population standard deviation of n sorted numbers of known mean and mean square."""
    variance = square - mean * mean
    if variance > _NEARLY_EQUAL * square:
        return math.sqrt(variance)
    variance = 0.0
    for k in range(n):
        variance += (row[k] - mean) ** 2
    return math.sqrt(variance / n)


@part
def measure(m: Measuring, samples: Samples, b: int, r: int, shrink: float, statistics: Floats, decayed: Floats) -> None:
    """Statistics of reservoir r at a time t, where ``shrink`` is g**t.

    Writes mean, 90th percentile, standard deviation, decayed mean and decayed 90th percentile; and the decayed mean as
    it is and renormalized, sum(v g**age) / sum(g**age). All are 0 without samples.
    """
    n = samples.n[b, r]
    statistics[:] = 0.0
    decayed[:] = 0.0
    if n == 0:
        return
    by_value = samples.by_value[b, r]
    s0, s1, s2, s3 = samples.sums[b, r, 0], samples.sums[b, r, 1], samples.sums[b, r, 2], samples.sums[b, r, 3]
    mean = s0 / n
    decayed[0] = shrink * s2 / n
    decayed[1] = s2 / s3 if s3 > 0.0 else 0.0
    statistics[0] = mean
    statistics[1] = _percentile_90(by_value, n)
    statistics[2] = _deviation(by_value, n, mean, s1 / n)
    scale = (n / s3 if s3 > 0.0 else 0.0) if m.decay_norm else shrink
    statistics[3] = decayed[1] if m.decay_norm else decayed[0]
    statistics[4] = scale * _percentile_90(samples.by_weighted[b, r], n)


def naive(values: Floats, ages: Floats, decay: float) -> tuple[Floats, Floats]:
    """The same statistics from the samples themselves, for tests and explanation; see `measure`."""
    aged = values * decay**ages
    plain = [values.mean(), np.percentile(values, 90), values.std(), aged.mean(), np.percentile(aged, 90)]
    return np.array(plain), np.array([aged.mean(), aged.sum() / (decay**ages).sum()])
