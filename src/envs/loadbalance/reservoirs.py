"""Reservoirs of completion times and flow durations with exact statistics (Yao, Ding and Clausen, CIKM 2022, alg. 2).

A sample overwrites a uniformly random slot. With ``g`` the decay per second, a sample v taken at time s counts
``v * g**(t - s)`` at time t in the decayed statistics. Since ``g**t`` is common to all samples, the reservoir keeps
``u = v * g**-s``, which never changes: running sums of v, v**2, u and ``g**-s`` and the sorted v and u give all
statistics at any time without going through the samples.
"""

from __future__ import annotations

import math

from ...components.compiled import part, shared_part
from .draws import next_integer, next_uniform
from .layout import Floats, Record, Records, Row
from .parameters import Measuring

_NEARLY_EQUAL = 1e-6
"""Relative variance below which running sums have lost it to rounding and it is computed from the samples."""


@part
def reservoir_of(row: Row, i: int, j: int, quantity: int) -> int:
    """Index of balancer i's reservoir for server j."""
    return (i * len(row.servers) + j) * 2 + quantity


@part
def clear(m: Measuring, row: Row) -> None:
    """Empty a row's reservoirs; with zero fill they are full of zeros that count."""
    for r in range(len(row.reservoirs)):
        reservoir = row.reservoirs[r]
        reservoir.n = m.reservoir if m.zero_fill else 0
        reservoir.values = 0.0
        reservoir.squares = 0.0
        reservoir.weighted = 0.0
        reservoir.grown = 0.0
        for k in range(m.reservoir):
            row.samples[r, k].value = 0.0
            row.samples[r, k].grown = 0.0
            row.by_value[r, k] = 0.0
            row.by_weighted[r, k] = 0.0


@part
def _find(sorted_values: Floats, n: int, x: float) -> int:
    """Index of x in the first n sorted numbers."""
    low, high = 0, n
    while low < high:
        middle = (low + high) >> 1
        if sorted_values[middle] < x:
            low = middle + 1
        else:
            high = middle
    return low


@part
def _settle(sorted_values: Floats, n: int, at: int, x: float) -> None:
    """Overwrite place ``at`` of n sorted numbers with x, and shift those between there and where x belongs."""
    while at + 1 < n and sorted_values[at + 1] < x:
        sorted_values[at] = sorted_values[at + 1]
        at += 1
    while at > 0 and sorted_values[at - 1] > x:
        sorted_values[at] = sorted_values[at - 1]
        at -= 1
    sorted_values[at] = x


@shared_part
def insert(
    growth: float,
    zero_fill: bool,
    packets: Record,
    reservoir: Record,
    samples: Records,
    by_value: Floats,
    by_weighted: Floats,
    t: float,
    v: float,
) -> None:
    """Overwrite a random slot of a reservoir with the sample v taken at time t."""
    sample = samples[next_integer(packets, len(samples))]
    grown = math.exp(growth * t)
    u = v * grown
    old, old_grown = sample.value, sample.grown
    old_u = old * old_grown
    if old_grown == 0.0 and not zero_fill:
        reservoir.n += 1
        n = reservoir.n
        place, place_u = n - 1, n - 1
    else:
        n = reservoir.n
        place, place_u = _find(by_value, n, old), _find(by_weighted, n, old_u)
    _settle(by_value, n, place, v)
    _settle(by_weighted, n, place_u, u)
    reservoir.values += v - old
    reservoir.squares += v * v - old * old
    reservoir.weighted += u - old_u
    reservoir.grown += grown - old_grown
    sample.value = v
    sample.grown = grown


@part
def offer_sample(m: Measuring, row: Row, packets: Record, r: int, t: float, v: float) -> None:
    """Add a sample to reservoir r, unless it is not accepted."""
    if m.accept < 1.0 and next_uniform(packets) >= m.accept:
        return
    samples, by_value, by_weighted = row.samples[r], row.by_value[r], row.by_weighted[r]
    insert(m.growth, m.zero_fill, packets, row.reservoirs[r], samples, by_value, by_weighted, t, v)


@part
def _percentile_90(sorted_values: Floats, n: int) -> float:
    """90th percentile of n sorted numbers, interpolated linearly as NumPy does."""
    place = 0.9 * (n - 1)
    low = int(place)
    high = min(low + 1, n - 1)
    return sorted_values[low] + (sorted_values[high] - sorted_values[low]) * (place - low)


@part
def _deviation(sorted_values: Floats, n: int, mean: float, square: float) -> float:
    """Population standard deviation of n sorted numbers of known mean and mean square."""
    variance = square - mean * mean
    if variance > _NEARLY_EQUAL * square:
        return math.sqrt(variance)
    variance = 0.0
    for k in range(n):
        variance += (sorted_values[k] - mean) ** 2
    return math.sqrt(variance / n)


@part
def measure(m: Measuring, row: Row, r: int, shrink: float) -> None:
    """Take the statistics of reservoir r at a time t, where ``shrink`` is g**t; all are 0 without samples."""
    reservoir = row.reservoirs[r]
    n = reservoir.n
    size = float(max(n, 1))
    by_value, by_weighted = row.by_value[r], row.by_weighted[r]
    mean = reservoir.values / size
    reservoir.mean = mean
    reservoir.p90 = _percentile_90(by_value, n) if n > 0 else 0.0
    reservoir.std = _deviation(by_value, n, mean, reservoir.squares / size) if n > 0 else 0.0
    normalize = 1.0 / reservoir.grown if reservoir.grown > 0.0 else 0.0
    reservoir.plain_decayed = shrink * reservoir.weighted / size
    reservoir.normalized = reservoir.weighted * normalize
    scale = size * normalize if m.decay_norm else shrink
    reservoir.decayed_mean = reservoir.normalized if m.decay_norm else reservoir.plain_decayed
    reservoir.decayed_p90 = scale * _percentile_90(by_weighted, n) if n > 0 else 0.0
