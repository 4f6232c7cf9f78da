"""The numbers of a report: what groups of runs scored, over training and in the end."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .estimates import (
    Band,
    FloatArray,
    Interval,
    Strata,
    bootstrap,
    interval,
    iqm,
    mean,
    median_interval,
    on_grid,
    performance_profile,
    probability_of_improvement,
    steps_to_reach,
)
from .groups import Group, differing_keys, is_of_task
from .runs import Run
from .settings import ReportSettings

_GAINS = (0.5, 0.9)
_THRESHOLDS = 101
_ALL_PAIRS = 5  # with more methods than this, each is compared with the best one only
MANY_METHODS = 14
"""More than these cannot be told apart in print."""
Cell = tuple[str, str]
"""A task and a method."""


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
    """How fast the runs of a group reached a level: steps of each run ``[R]``, infinite if it never did; the median."""

    steps: FloatArray
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
        names = sorted({name for run in runs for name in run.metrics})
        self.metric = settings.metrics[0]
        if self.metric not in names:
            raise ValueError(f"report.metrics: no run has {self.metric!r}; choose of: {', '.join(names)}")
        self.metrics = tuple(name for name in dict.fromkeys(settings.metrics) if name in names)
        self.final = self._kind_of_score(runs)
        self.notes: list[str] = []

    def higher(self, metric: str) -> bool:
        """Whether more of a metric is better."""
        return metric not in self.settings.lower_is_better

    @functools.cached_property
    def curves(self) -> Mapping[str, Mapping[Cell, Curve]]:
        """By metric, the courses over training of the groups that have it."""
        return {metric: self._curves(metric) for metric in self.metrics}

    @functools.cached_property
    def scores(self) -> Mapping[str, Mapping[Cell, FloatArray]]:
        """By metric, the final scores ``[R]`` of the runs that have one."""
        found: dict[str, dict[Cell, FloatArray]] = {}
        for metric in self.metrics:
            for cell, group in self.groups.items():
                values = np.array([self.score_of(run, metric) for run in group.runs])
                if not np.isnan(values).all():
                    found.setdefault(metric, {})[cell] = values[~np.isnan(values)]
        return found

    @functools.cached_property
    def references(self) -> Mapping[str, Mapping[str, Mapping[str, FloatArray]]]:
        """By task and scripted policy, its test episodes by metric; they are the same in every run of the task."""
        found: dict[str, dict[str, Mapping[str, FloatArray]]] = {task: {} for task in self.tasks}
        for (task, _), group in self.groups.items():
            for run in group.runs:
                for policy, tests in run.tests.items():
                    if policy != run.policy:
                        found[task].setdefault(policy, tests)
        return found

    def baseline(self, task: str, metric: str) -> FloatArray | None:
        """The test episodes of the baseline, if the runs of the task were compared with it."""
        return self.references[task].get(self.settings.baseline or "", {}).get(metric)

    @functools.cached_property
    def complete(self) -> tuple[str, ...]:
        """The methods that have a score on every task: only they can be compared over all tasks."""
        have = self.scores.get(self.metric, {})
        return tuple(method for method in self.methods if all((task, method) in have for task in self.tasks))

    @functools.cached_property
    def ranking(self) -> tuple[str, ...]:
        """The methods in the order in which figures take them: of very many the best first, else as they are."""
        if len(self.methods) <= MANY_METHODS:
            return self.methods
        found: dict[str, list[float]] = {method: [] for method in self.methods}
        for (task, method), scores in self.scores.get(self.metric, {}).items():
            found[method].append(float(self._comparable(task, scores).mean()))
        return tuple(sorted(found, key=lambda method: (-len(found[method]), -float(np.mean(found[method] or [0.0])))))

    @functools.cached_property
    def scale(self) -> str:
        """How the scores of `strata` were made comparable, in words."""
        if len(self.tasks) == 1 or self.settings.normalize == "none":
            return self.metric
        if self.settings.normalize == "baseline" and self._has_baseline():
            top, bottom = (self.metric, self.settings.baseline)
            return f"{top} / {bottom}" if self.higher(self.metric) else f"{bottom} / {top}"
        return f"{self.metric} from 0 (worst run on the task) to 1 (best)"

    @functools.cached_property
    def strata(self) -> Mapping[str, Strata]:
        """By `complete` method, its scores per task; larger is better, so metrics to be small have their sign changed
        where they are not normalized."""
        have = self.scores.get(self.metric, {})
        return {method: [self._comparable(task, have[task, method]) for task in self.tasks] for method in self.complete}

    @functools.cached_property
    def sign(self) -> float:
        """What `strata` are multiplied by to be shown: -1 where their sign was changed."""
        raw = self.scale == self.metric
        return -1.0 if raw and not self.higher(self.metric) else 1.0

    @functools.cached_property
    def overall(self) -> Mapping[str, tuple[Interval, Interval]]:
        """By `complete` method, mean and interquartile mean over all runs of all tasks, as they are shown."""
        shown = {method: [self.sign * scores for scores in strata] for method, strata in self.strata.items()}
        return {method: (self._estimate(strata, mean), self._estimate(strata, iqm)) for method, strata in shown.items()}

    @functools.cached_property
    def profiles(self) -> tuple[FloatArray, Mapping[str, Band]]:
        """Thresholds ``[P]``, and by method the part of its runs that are better than each of them."""
        pooled = np.concatenate([s for strata in self.strata.values() for s in strata]) if self.strata else np.zeros(1)
        margin = 0.02 * (pooled.max() - pooled.min())
        thresholds = np.linspace(pooled.min() - margin, pooled.max() + margin, _THRESHOLDS)
        return self.sign * thresholds, {
            method: performance_profile(strata, thresholds, seed=self.settings.seed, samples=self.settings.samples)
            for method, strata in self.strata.items()
        }

    @functools.cached_property
    def improvements(self) -> Sequence[Improvement]:
        """All pairs of few methods, or the best one and each of many others."""
        if not self.strata:
            return []
        best = max(self.strata, key=lambda method: float(iqm(np.concatenate(self.strata[method]))))
        pairs = list(itertools.combinations(self.strata, 2))
        if len(self.strata) > _ALL_PAIRS:
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

    def levels(self, task: str) -> list[Level]:
        """The levels of the main metric that are to be reached on a task."""
        curves = [curve for (at, _), curve in self.curves[self.metric].items() if at == task]
        if not curves:
            return []
        levels = [Level(f"{value:g}", value) for value in self.settings.levels]
        if not levels:
            worst, best = (min, max) if self.higher(self.metric) else (max, min)
            start = worst(float(curve.mean.value[0]) for curve in curves)
            end = best(float(curve.iqm.value[-1]) for curve in curves)
            values = {part: start + part * (end - start) for part in _GAINS}
            levels = [
                Level(f"{part * 100:.0f} % of the best gain: {value:.4g}", value) for part, value in values.items()
            ]
        baseline = self.baseline(task, self.metric)
        if baseline is not None:
            levels.append(Level(f"{self.settings.baseline}: {baseline.mean():.4g}", float(baseline.mean())))
        return levels

    def reached(self, task: str, level: Level) -> Mapping[str, Reached]:
        """By method, how fast its runs reached a level on a task, judged by their evaluations."""
        found = {}
        for (at, method), group in self.groups.items():
            series = [run.curves[self.metric] for run in group.runs if self.metric in run.curves]
            if at == task and series:
                steps = [steps_to_reach(*s, level.value, higher=self.higher(self.metric)) for s in series]
                median = median_interval(np.array(steps), seed=self.settings.seed, samples=self.settings.samples)
                found[method] = Reached(np.array(steps), median)
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

    def task_differences(self, groups: Sequence[Group]) -> list[str]:
        """The settings of the environment that groups do not have in common, and that no label shows."""
        return [key for key in differing_keys([group.runs[0] for group in groups]) if is_of_task(key)]

    def score_interval(self, group: Group, metric: str) -> Interval:
        """Mean final score of a group with its bootstrap interval; NaN if it has none. ``steps_per_s`` is one, too."""
        if metric == "steps_per_s":
            values = np.array([run.steps_per_s for run in group.runs])
            values = values[~np.isnan(values)]
        else:
            values = self.scores.get(metric, {}).get((group.task, group.method), np.zeros(0))
        return self._estimate([values], mean) if len(values) else Interval(math.nan, math.nan, math.nan)

    def ratio(self, group: Group, metric: str) -> Interval | None:
        """Mean ratio of a group's final scores to the baseline's, with its bootstrap interval over runs."""
        baseline = self.baseline(group.task, metric)
        scores = self.scores.get(metric, {}).get((group.task, group.method))
        if baseline is None or scores is None or self.final == "last" or not np.nanmean(baseline):
            return None
        return self._estimate([scores / np.nanmean(baseline)], mean)

    def iqm_interval(self, group: Group) -> Interval | None:
        """Interquartile mean of a group's final scores in the main metric, with its bootstrap interval."""
        scores = self.scores.get(self.metric, {}).get((group.task, group.method))
        return None if scores is None else self._estimate([scores], iqm)

    def _estimate(self, strata: Strata, statistic: Callable[[FloatArray], Any]) -> Interval:
        return interval(strata, statistic, seed=self.settings.seed, samples=self.settings.samples)

    def _curves(self, metric: str) -> dict[Cell, Curve]:
        found = {}
        for cell, group in self.groups.items():
            series = [run.curves[metric] for run in group.runs if metric in run.curves]
            if not series:
                continue
            try:
                steps, values = on_grid([s.steps for s in series], [s.values for s in series])
            except ValueError as error:
                self.notes.append(f"{group.label} has no learning curve: {error}.")
                continue
            bands = [
                bootstrap([values], statistic, seed=self.settings.seed, samples=self.settings.samples)
                for statistic in (mean, iqm)
            ]
            found[cell] = Curve(steps, bands[0], bands[1], len(series))
        return found

    def _kind_of_score(self, runs: Sequence[Run]) -> str:
        lacking = {
            "test": [run for run in runs if run.policy not in run.tests],
            "last": [run for run in runs if not run.curves],
        }
        wanted = self.settings.final
        if wanted and lacking[wanted]:
            what = "test episodes" if wanted == "test" else "evaluations during training"
            raise ValueError(
                f"report.final={wanted}: {lacking[wanted][0].path} has no {what}; choose the other, or null"
            )
        return wanted or next((kind for kind, without in lacking.items() if not without), "mixed")

    def score_of(self, run: Run, metric: str) -> float:
        """The final score of a run; NaN if it does not have the metric."""
        episodes = run.tests.get(run.policy, {}).get(metric) if self.final != "last" else None
        if episodes is not None and not np.isnan(episodes).all():
            return float(np.nanmean(episodes))
        if self.final != "test" and metric in run.curves:
            return float(run.curves[metric].values[-1])
        return math.nan

    def _has_baseline(self) -> bool:
        return self.final == "test" and all(self.baseline(task, self.metric) is not None for task in self.tasks)

    def _comparable(self, task: str, scores: FloatArray) -> FloatArray:
        higher = self.higher(self.metric)
        if self.scale == self.metric:
            return scores if higher else -scores
        baseline = self.baseline(task, self.metric)
        if self.settings.normalize == "baseline" and self._has_baseline() and baseline is not None:
            return scores / baseline.mean() if higher else baseline.mean() / scores
        on_task = np.concatenate([s for (at, _), s in self.scores[self.metric].items() if at == task])
        span = float(on_task.max() - on_task.min()) or 1.0
        return (scores - on_task.min()) / span if higher else (on_task.max() - scores) / span
