"""What runs scored in the end: raw, as ratios to the baseline, and normalized so that tasks can be compared."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from .estimates import FloatArray
from .groups import Group
from .runs import Run
from .settings import ReportSettings

_SAME = 1e-6  # relative difference of the same episodes played on two machines
Cell = tuple[str, str]
"""A task and a method."""


class Scores:
    """The final scores of the runs of all groups.

    Args:
        groups: by task and method.
        settings: of the report.
        metrics: those that some run has, the main one first.

    Attributes:
        kind: ``test``: the mean over a run's test episodes, ``last``: its last evaluation.
        raw: by metric and group, the scores ``[R]`` of its runs that have one.

    Raises:
        ValueError: a score was asked for that a run does not have.
    """

    def __init__(self, groups: Mapping[Cell, Group], settings: ReportSettings, metrics: Sequence[str]) -> None:
        self._groups, self._settings = groups, settings
        self.main = metrics[0]
        self.kind = self._kind([run for group in groups.values() for run in group.runs])
        self.raw: dict[str, dict[Cell, FloatArray]] = {}
        for metric in metrics:
            for cell, group in groups.items():
                values = np.array([self.of(run, metric) for run in group.runs])
                if not np.isnan(values).all():
                    self.raw.setdefault(metric, {})[cell] = values[~np.isnan(values)]

    def higher(self, metric: str) -> bool:
        """Whether more of a metric is better."""
        return metric not in self._settings.lower_is_better

    def of(self, run: Run, metric: str) -> float:
        """The final score of a run; NaN if it has none."""
        if self.kind == "test":
            return known_mean(run.tests.get(run.policy, {}).get(metric))
        return float(run.curves[metric].values[-1]) if metric in run.curves else math.nan

    def lacking(self, group: Group, metric: str) -> list[Run]:
        """The runs of a group without a score."""
        return [run for run in group.runs if math.isnan(self.of(run, metric))]

    @functools.cached_property
    def references(self) -> Mapping[str, Mapping[str, Mapping[str, FloatArray]]]:
        """By task and scripted policy, its test episodes by metric, as the first run that was compared with it has
        them."""
        found: dict[str, dict[str, Mapping[str, FloatArray]]] = {task: {} for task, _ in self._groups}
        for (task, _), group in self._groups.items():
            for run in group.runs:
                for policy, tests in run.references.items():
                    found[task].setdefault(policy, tests)
        return found

    @functools.cached_property
    def other_references(self) -> Mapping[str, Run]:
        """By task, a run that was compared with a scripted policy on other episodes than those of `references`."""
        found: dict[str, Run] = {}
        for (task, _), group in self._groups.items():
            for run in group.runs:
                for policy, tests in run.references.items():
                    if any(not _same(tests[m], self.references[task][policy].get(m)) for m in self.raw if m in tests):
                        found.setdefault(task, run)
        return found

    def ratios(self, group: Group, metric: str) -> FloatArray | None:
        """The scores of a group's runs over the baseline's mean in the same test episodes ``[R]``.

        None where a run was not compared with it, or one of the two is not above 0: a ratio would not say which is
        better.
        """
        pairs = [(self.of(run, metric), self._baseline(run, metric)) for run in group.runs]
        pairs = [(score, baseline) for score, baseline in pairs if not math.isnan(score)]
        if self.kind == "last" or not pairs or not all(score > 0 and baseline > 0 for score, baseline in pairs):
            return None
        return np.array([score / baseline for score, baseline in pairs])

    @functools.cached_property
    def normalization(self) -> Literal["none", "range", "baseline"]:
        """What is done to the scores of `normalized`; not ``baseline`` where some group of the main metric has no
        ratios."""
        if len({task for task, _ in self._groups}) == 1:
            return "none"
        wanted = self._settings.normalize
        have = self.raw.get(self.main, {})
        if wanted == "baseline" and any(self.ratios(self._groups[cell], self.main) is None for cell in have):
            return "range"
        return wanted

    @functools.cached_property
    def scale(self) -> str:
        """What `normalized` scores are, in words."""
        if self.normalization == "none":
            return self.main
        if self.normalization == "range":
            return f"{self.main} from 0 (worst run on the task) to 1 (best)"
        top, bottom = self.main, self._settings.baseline
        return f"{top} / {bottom}" if self.higher(self.main) else f"{bottom} / {top}"

    @functools.cached_property
    def normalized(self) -> Mapping[Cell, FloatArray]:
        """The scores in the main metric ``[R]``, comparable between tasks; larger is better."""
        have = self.raw.get(self.main, {})
        return {cell: self._normalized(cell, scores) for cell, scores in have.items()}

    @property
    def sign(self) -> float:
        """What `normalized` scores are multiplied by to be shown: -1 where their sign was changed to make larger ones
        better."""
        return 1.0 if self.normalization != "none" or self.higher(self.main) else -1.0

    def _normalized(self, cell: Cell, scores: FloatArray) -> FloatArray:
        higher = self.higher(self.main)
        if self.normalization == "baseline":
            ratios = self.ratios(self._groups[cell], self.main)
            assert ratios is not None
            return ratios if higher else 1 / ratios
        if self.normalization == "none":
            return scores if higher else -scores
        on_task = np.concatenate([s for (task, _), s in self.raw[self.main].items() if task == cell[0]])
        span = float(on_task.max() - on_task.min()) or 1.0
        return (scores - on_task.min()) / span if higher else (on_task.max() - scores) / span

    def _baseline(self, run: Run, metric: str) -> float:
        return known_mean(run.references.get(self._settings.baseline or "", {}).get(metric))

    def _kind(self, runs: Sequence[Run]) -> Literal["test", "last"]:
        lacking = {
            "test": [run for run in runs if run.policy not in run.tests],
            "last": [run for run in runs if not run.curves],
        }
        wanted = self._settings.final
        if wanted and lacking[wanted]:
            what = "test episodes" if wanted == "test" else "evaluations during training"
            raise ValueError(
                f"report.final={wanted}: {lacking[wanted][0].path} has no {what}; choose the other, or null"
            )
        return wanted or ("test" if len(lacking["test"]) < len(runs) else "last")


def known_mean(values: FloatArray | None) -> float:
    """The mean of what is not NaN; NaN if there is nothing."""
    return math.nan if values is None or np.isnan(values).all() else float(np.nanmean(values))


def _same(one: FloatArray, other: FloatArray | None) -> bool:
    return other is not None and one.shape == other.shape and np.allclose(one, other, rtol=_SAME, equal_nan=True)
