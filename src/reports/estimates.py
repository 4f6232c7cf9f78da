"""Estimates over runs: interquartile means, stratified bootstrap intervals, profiles, probabilities of improvement.

The estimators are those of Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice"
(NeurIPS 2021). *Strata* are what one method scored, one array per task; what is drawn again are its runs, with
replacement, within each task and as many as there are. Every task counts the same, and within a task every run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Strata = Sequence[FloatArray]
"""Per task the scores of its runs ``[R]``, or ``[R, P]`` for P quantities such as the points of a curve."""

CUT = 0.25
"""The part of the scores that the interquartile mean drops at either end."""
_LEVELS = (0.025, 0.975)
_ALPHA = 0.05
_NUMBERS_AT_ONCE = 8_000_000


class Interval(NamedTuple):
    """An estimate and the ends of its 95 % interval, NaN where there is none."""

    value: float
    low: float
    high: float


class Band(NamedTuple):
    """Estimates of P quantities and the ends of their 95 % intervals ``[P]``, NaN where there are none."""

    value: FloatArray
    low: FloatArray
    high: FloatArray


Statistic = Callable[[FloatArray, FloatArray | None], Any]
"""From scores ``[N, …]`` and their weights ``[N]``, None where they count the same, to ``[…]``."""


def mean(scores: FloatArray, weights: FloatArray | None = None) -> Any:
    """The mean over the first axis."""
    return scores.mean(axis=0) if weights is None else np.average(scores, axis=0, weights=weights)


def iqm(scores: FloatArray, weights: FloatArray | None = None) -> Any:
    """The interquartile mean over the first axis: without the lowest and the highest quarter, rounded down.

    Of scores with weights, it is without as large a part of the weight at either end; a score may count in part.
    """
    from scipy import stats  # an optional package

    if weights is None:
        return stats.trim_mean(scores, CUT, axis=0)
    order = np.argsort(scores, axis=0)
    share = (weights / weights.sum())[order]
    until = np.cumsum(share, axis=0)
    cut = int(CUT * len(scores)) / len(scores)
    kept = np.maximum(np.minimum(until, 1 - cut) - np.maximum(until - share, cut), 0)
    return (np.take_along_axis(scores, order, axis=0) * kept).sum(axis=0) / kept.sum(axis=0)


def task_weights(strata: Strata) -> FloatArray | None:
    """What each score of all tasks together counts ``[N]``, so that tasks count the same; None where all do anyway."""
    if len({len(scores) for scores in strata}) == 1:
        return None
    return np.concatenate([np.full(len(scores), 1 / (len(scores) * len(strata))) for scores in strata])


def bootstrap(strata: Strata, statistic: Statistic, *, seed: int, samples: int) -> Band:
    """A statistic of all scores of a method, with a 95 % percentile interval by stratified bootstrap.

    Args:
        strata: scores per task, ``[R, P]`` each, with the same P.
        statistic: `mean` or `iqm`.
        seed: of the draws.
        samples: how many times the runs are drawn again.

    Returns:
        The statistic of all runs of all tasks together ``[P]``. The interval is NaN where no task has two runs.
    """
    pooled, weights = np.concatenate(strata), task_weights(strata)
    value = np.asarray(statistic(pooled, weights), np.float64)
    nothing = np.full(value.shape, math.nan)
    if all(len(scores) < 2 for scores in strata):
        return Band(value, nothing, nothing)
    rng = np.random.default_rng(seed)
    offsets = np.cumsum([0, *(len(scores) for scores in strata)])
    drawn = np.concatenate(
        [rng.integers(0, len(s), (samples, len(s))) + at for s, at in zip(strata, offsets, strict=False)], axis=1
    ).T  # N samples
    low, high = nothing.copy(), nothing.copy()
    chunk = max(1, _NUMBERS_AT_ONCE // drawn.size)
    for start in range(0, pooled.shape[1], chunk):
        part = slice(start, start + chunk)
        low[part], high[part] = np.quantile(statistic(pooled[:, part][drawn], weights), _LEVELS, axis=0)
    return Band(value, low, high)


def interval(strata: Strata, statistic: Statistic, *, seed: int, samples: int) -> Interval:
    """`bootstrap` for one score per run: strata of ``[R]``."""
    band = bootstrap([s[:, None] for s in strata], statistic, seed=seed, samples=samples)
    return Interval(float(band.value[0]), float(band.low[0]), float(band.high[0]))


def performance_profile(strata: Strata, thresholds: FloatArray, *, seed: int, samples: int) -> Band:
    """The part of the runs that score above each threshold ``[P]`` (eq. 4 of the paper), with its interval.

    Over several tasks, it is the mean over tasks.
    """
    above = [(scores[:, None] > thresholds).astype(np.float64) for scores in strata]
    return bootstrap(above, mean, seed=seed, samples=samples)


def probability_of_improvement(better: Strata, than: Strata, *, seed: int, samples: int) -> Interval:
    """How probable it is that a run of one method scores above a run of another, on a task drawn at random.

    Mann and Whitney's U divided by the number of pairs, averaged over tasks; a tie counts one half. For the interval,
    the runs of both methods are drawn again, independently.

    Args:
        better: scores of the first method, per task.
        than: scores of the second, for the same tasks.
        seed: of the draws.
        samples: how many times the runs are drawn again.

    Returns:
        The interval is NaN where so few runs show no difference, see `can_differ`.
    """
    rng = np.random.default_rng(seed)
    values, drawn = [], []
    for x, y in zip(better, than, strict=True):
        wins = (x[:, None] > y).astype(np.float64) + 0.5 * (x[:, None] == y)  # R R'
        values.append(wins.mean())
        counts = [_times_drawn(rng, len(scores), samples) for scores in (x, y)]
        drawn.append(np.einsum("sr,rq,sq->s", counts[0], wins, counts[1], optimize=True) / wins.size)
    value = float(np.mean(values))
    if not can_differ(better, than):
        return Interval(value, math.nan, math.nan)
    low, high = np.quantile(np.mean(drawn, axis=0), _LEVELS)
    return Interval(value, float(low), float(high))


def can_differ(better: Strata, than: Strata) -> bool:
    """Whether so many runs can show a difference at 5 %, however they come out, and none of them is alone.

    If all runs of one method were better than all of the other on every task, the two-sided p-value of Mann and
    Whitney's exact test would be 2 over the number of ways to divide the runs between the methods.
    """
    ways = math.prod(math.comb(len(x) + len(y), len(x)) for x, y in zip(better, than, strict=True))
    return 2 / ways <= _ALPHA and min(map(len, (*better, *than))) > 1


def steps_to_reach(steps: FloatArray, values: FloatArray, level: float, *, higher: bool) -> float:
    """The first of the steps ``[S]`` at which a run's value is at the level or better; infinite if none is."""
    reached = values >= level if higher else values <= level
    return float(steps[int(np.argmax(reached))]) if reached.any() else math.inf


def median(scores: FloatArray) -> Any:
    """The median over the first axis: the lower middle one of an even number, as the mean of two may be infinite."""
    return np.sort(scores, axis=0)[(len(scores) - 1) // 2]


def median_interval(scores: FloatArray, *, seed: int, samples: int) -> Interval:
    """The `median` of scores ``[R]``, some of which may be infinite, with a 95 % percentile bootstrap interval."""
    value = float(median(scores))
    if len(scores) < 2:
        return Interval(value, math.nan, math.nan)
    rng = np.random.default_rng(seed)
    drawn = np.sort(median(scores[rng.integers(0, len(scores), (samples, len(scores)))].T))
    low, high = (float(drawn[round(level * (samples - 1))]) for level in _LEVELS)
    return Interval(value, low, high)


def on_grid(steps: Sequence[FloatArray], values: Sequence[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """The curves of several runs at common steps.

    Curves with the same steps stay as they are. Others are interpolated linearly, at as many evenly spaced steps as
    their median number of points, from the latest first step to the earliest last one.

    Args:
        steps: increasing, per run.
        values: of the same lengths.

    Returns:
        Steps ``[S]`` and values ``[R, S]``.

    Raises:
        ValueError: the curves have no step in common.
    """
    if all(np.array_equal(steps[0], other) for other in steps[1:]):
        return steps[0], np.stack(values)
    first, last = max(s[0] for s in steps), min(s[-1] for s in steps)
    if first > last:
        raise ValueError("their curves have no step in common")
    grid = np.linspace(first, last, max(2, int(np.median([len(s) for s in steps])))) if first < last else first[None]
    return grid, np.stack([np.interp(grid, s, v) for s, v in zip(steps, values, strict=True)])


def _times_drawn(rng: np.random.Generator, n: int, samples: int) -> FloatArray:
    """How often each of n runs is drawn ``[samples, n]``."""
    drawn = rng.integers(0, n, (samples, n)) + n * np.arange(samples)[:, None]
    return np.bincount(drawn.ravel(), minlength=samples * n).reshape(samples, n).astype(np.float64)
