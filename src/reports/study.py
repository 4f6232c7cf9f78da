"""The numbers of a report: what groups of runs scored, over training and in the end."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from .estimates import (
    Band,
    FloatArray,
    Interval,
    Statistic,
    Strata,
    bootstrap,
    can_differ,
    interval,
    iqm,
    mean,
    median_interval,
    on_grid,
    performance_profile,
    probability_of_improvement,
    steps_to_reach,
    task_weights,
)
from .groups import Group
from .runs import NO_METRICS
from .scores import Cell, Scores, known_mean
from .settings import ReportSettings

_GAINS = (0.5, 0.9)
_THRESHOLDS = 101
ALL_PAIRS = 5
"""With more methods than this, the best one is compared with each other instead of all with all."""
MANY_METHODS = 8
"""More than these cannot be told apart in print."""


class Curve(NamedTuple):
    """A group's course over training: steps ``[S]``, and over its runs the mean and the interquartile mean."""

    steps: FloatArray
    mean: Band
    iqm: Band
    n_runs: int


class Level(NamedTuple):
    """A value of the main metric to be reached, and how it came about."""

    label: str
    value: float


class Reached(NamedTuple):
    """How fast the runs of a group reached a level.

    Attributes:
        steps: of each run ``[R]``, infinite if it never did.
        until: the steps up to which it is known which runs had reached it: until the first of the others ended.
        median: of the steps.
    """

    steps: FloatArray
    until: float
    median: Interval


class Improvement(NamedTuple):
    """How probable it is that a run of the first method is better than one of the second."""

    method: str
    other: str
    probability: Interval


class Study:
    """Groups of runs, and everything that is estimated from them.

    Args:
        groups: by task, then by method; no two have both in common.
        settings: of the report.

    Raises:
        ValueError: no run has the main metric, or a score was asked for that a run does not have.
    """

    def __init__(self, groups: Sequence[Group], settings: ReportSettings) -> None:
        self.groups = {(group.task, group.method): group for group in groups}
        self.tasks = tuple(dict.fromkeys(group.task for group in groups))
        self.methods = tuple(dict.fromkeys(group.method for group in groups))
        self.settings = settings
        runs = [run for group in groups for run in group.runs]
        names = sorted({name for run in runs for name in run.metrics} - NO_METRICS)
        self.metric = settings.metrics[0]
        if self.metric not in names:
            raise ValueError(f"report.metrics: no run has {self.metric!r}; choose of: {', '.join(names)}")
        self.metrics = tuple(name for name in dict.fromkeys(settings.metrics) if name in names)
        self.scores = Scores(self.groups, settings, self.metrics)
        self.without_curve: dict[str, list[str]] = {}
        """By the label of a group, the metrics in which its runs have no step of training in common."""

    def higher(self, metric: str) -> bool:
        """Whether more of a metric is better."""
        return self.scores.higher(metric)

    @functools.cached_property
    def curves(self) -> Mapping[str, Mapping[Cell, Curve]]:
        """By metric, the courses over training of the groups that have it."""
        return {metric: self._curves(metric) for metric in self.metrics}

    @property
    def references(self) -> Mapping[str, Mapping[str, Mapping[str, FloatArray]]]:
        """By task and scripted policy, its test episodes by metric."""
        return self.scores.references

    def baseline(self, task: str, metric: str) -> float:
        """The mean of the baseline, NaN if the runs of the task were not compared with it."""
        return known_mean(self.references[task].get(self.settings.baseline or "", {}).get(metric))

    @functools.cached_property
    def complete(self) -> tuple[str, ...]:
        """The methods that have a score on every task: only they can be compared over all tasks."""
        have = self.scores.normalized
        return tuple(method for method in self.methods if all((task, method) in have for task in self.tasks))

    @functools.cached_property
    def ranking(self) -> tuple[str, ...]:
        """The methods in the order in which figures take them: of very many the best first, else as they are."""
        if len(self.methods) <= MANY_METHODS:
            return self.methods
        found: dict[str, list[FloatArray]] = {method: [] for method in self.methods}
        for (_, method), scores in self.scores.normalized.items():
            found[method].append(scores)
        return tuple(sorted(found, key=lambda method: (-len(found[method]), -_merit(found[method]))))

    @functools.cached_property
    def strata(self) -> Mapping[str, Strata]:
        """By `complete` method, its normalized scores per task; none where there is nothing to compare them with.

        A single method has none if 0 and 1 would be its own worst and best run.
        """
        have = self.scores.normalized
        if self.scores.normalization == "range" and len({method for _, method in have}) == 1:
            return {}
        return {method: [have[task, method] for task in self.tasks] for method in self.complete}

    @functools.cached_property
    def overall(self) -> Mapping[str, tuple[Interval, Interval]]:
        """By `complete` method, mean and interquartile mean over all tasks, as they are shown."""
        shown = {method: [self.scores.sign * scores for scores in strata] for method, strata in self.strata.items()}
        return {method: (self._estimate(strata, mean), self._estimate(strata, iqm)) for method, strata in shown.items()}

    @functools.cached_property
    def profiles(self) -> tuple[FloatArray, Mapping[str, Band]]:
        """Thresholds ``[P]``, and by method the part of its runs that are better than each of them."""
        pooled = np.concatenate([s for strata in self.strata.values() for s in strata]) if self.strata else np.zeros(1)
        margin = 0.02 * (pooled.max() - pooled.min())
        thresholds = np.linspace(pooled.min() - margin, pooled.max() + margin, _THRESHOLDS)
        return self.scores.sign * thresholds, {
            method: performance_profile(strata, thresholds, seed=self.settings.seed, samples=self.settings.samples)
            for method, strata in self.strata.items()
        }

    @functools.cached_property
    def improvements(self) -> Sequence[Improvement]:
        """All pairs of few methods, or the best one and each of many others."""
        pairs = list(itertools.combinations(self.strata, 2))
        if len(self.strata) > ALL_PAIRS:
            best = max(self.strata, key=lambda method: _merit(self.strata[method]))
            pairs = [(best, other) for other in self.strata if other != best]
        return [
            Improvement(
                one,
                other,
                probability_of_improvement(
                    self.strata[one], self.strata[other], seed=self.settings.seed, samples=self.settings.samples
                ),
            )
            for one, other in pairs
        ]

    @functools.cached_property
    def too_few(self) -> list[Improvement]:
        """The `improvements` with so few runs that they cannot show a difference."""
        return [i for i in self.improvements if not can_differ(self.strata[i.method], self.strata[i.other])]

    def levels(self, task: str) -> list[Level]:
        """The levels of the main metric that are to be reached on a task."""
        curves = [curve for (at, _), curve in self.curves[self.metric].items() if at == task]
        if not curves:
            return []
        levels = [Level(f"{value:g}", value) for value in self.settings.levels]
        if not levels:
            worst, best = (min, max) if self.higher(self.metric) else (max, min)
            start = worst(float(curve.iqm.value[0]) for curve in curves)
            end = best(float(curve.iqm.value[-1]) for curve in curves)
            if (end > start) == self.higher(self.metric) and end != start:  # else nothing was learned
                values = {part: start + part * (end - start) for part in _GAINS}
                levels = [
                    Level(f"{part * 100:.0f} % of the best gain: {value:.4g}", value) for part, value in values.items()
                ]
        baseline = self.baseline(task, self.metric)
        if not math.isnan(baseline):
            levels.append(Level(f"{self.settings.baseline}: {baseline:.4g}", baseline))
        return levels

    def reached(self, task: str, level: Level) -> Mapping[str, Reached]:
        """By method, how fast its runs reached a level on a task, judged by their evaluations."""
        found = {}
        for (at, method), group in self.groups.items():
            series = [run.curves[self.metric] for run in group.runs if self.metric in run.curves]
            if at == task and series:
                steps = np.array([steps_to_reach(*s, level.value, higher=self.higher(self.metric)) for s in series])
                ends = np.array([s.steps[-1] for s in series])
                never = np.isinf(steps)
                median = median_interval(steps, seed=self.settings.seed, samples=self.settings.samples)
                found[method] = Reached(steps, float(ends[never].min() if never.any() else ends.max()), median)
        return found

    @functools.cached_property
    def scaling(self) -> Mapping[str, Mapping[str, Sequence[Group]]]:
        """By family of tasks and method, the groups by number of agents; only where there are several numbers."""
        families: dict[str, dict[str, list[Group]]] = {}
        for group in self.groups.values():
            if group.agents is not None:
                families.setdefault(group.family, {}).setdefault(group.method, []).append(group)
        return {
            family: {method: sorted(groups, key=lambda g: g.agents or 0) for method, groups in methods.items()}
            for family, methods in families.items()
            if len({group.agents for groups in methods.values() for group in groups}) > 1
        }

    def score_interval(self, group: Group, metric: str) -> Interval:
        """Mean final score of a group with its bootstrap interval; NaN if it has none. ``steps_per_s`` is one, too."""
        if metric == "steps_per_s":
            values = np.array([run.steps_per_s for run in group.runs])
            values = values[~np.isnan(values)]
        else:
            values = self.scores.raw.get(metric, {}).get((group.task, group.method), np.zeros(0))
        return self._estimate([values], mean) if len(values) else Interval(math.nan, math.nan, math.nan)

    def ratio(self, group: Group, metric: str) -> Interval | None:
        """Mean ratio of a group's final scores to the baseline's, with its bootstrap interval over runs."""
        ratios = self.scores.ratios(group, metric)
        return None if ratios is None else self._estimate([ratios], mean)

    def iqm_interval(self, group: Group) -> Interval | None:
        """Interquartile mean of a group's final scores in the main metric, with its bootstrap interval."""
        scores = self.scores.raw.get(self.metric, {}).get((group.task, group.method))
        return None if scores is None else self._estimate([scores], iqm)

    def _estimate(self, strata: Strata, statistic: Statistic) -> Interval:
        return interval(strata, statistic, seed=self.settings.seed, samples=self.settings.samples)

    def _curves(self, metric: str) -> dict[Cell, Curve]:
        found = {}
        for cell, group in self.groups.items():
            series = [run.curves[metric] for run in group.runs if metric in run.curves]
            if not series:
                continue
            try:
                steps, values = on_grid([s.steps for s in series], [s.values for s in series])
            except ValueError:
                self.without_curve.setdefault(group.label, []).append(metric)
                continue
            bands = [
                bootstrap([values], statistic, seed=self.settings.seed, samples=self.settings.samples)
                for statistic in (mean, iqm)
            ]
            found[cell] = Curve(steps, bands[0], bands[1], len(series))
        return found


def _merit(strata: Strata) -> float:
    """What methods are ordered by: the interquartile mean of normalized scores."""
    return float(iqm(np.concatenate(strata), task_weights(strata))) if strata else 0.0
