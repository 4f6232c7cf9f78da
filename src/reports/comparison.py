"""Several policies on the same episodes, side by side."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..components.statistics import bootstrap_ratio_ci, mean_ci
from ..training.evaluation import Evaluation
from ..training.run_directory import Table
from .tables import format_ci, format_ratio, format_table


class Comparison:
    """Evaluations of several policies on common random numbers: every policy played the same episodes.

    Args:
        evaluations: by policy, in the order they are shown.
        headline_metrics: the metrics that are shown beside the return.
        baseline: the policy the first of them is divided by, if it is among the evaluations.
    """

    def __init__(
        self, evaluations: Mapping[str, Evaluation], headline_metrics: Sequence[str], baseline: str | None
    ) -> None:
        played = [e.statistics.numbers for e in evaluations.values()]
        common = functools.reduce(np.intersect1d, played)  # an episode whose environment failed twice is missing
        self._evaluations = {name: e.only(common) for name, e in evaluations.items()}
        self._headline = tuple(headline_metrics)
        self._baseline = baseline if baseline in self._evaluations else None

    def __repr__(self) -> str:
        return f"Comparison({', '.join(self.policies)}; {self.n_episodes} episodes)"

    def __str__(self) -> str:
        return self.text()

    @property
    def policies(self) -> tuple[str, ...]:
        """Their names, in the order they are shown."""
        return tuple(self._evaluations)

    def episodes(self, policy: str, column: str = "return") -> NDArray[np.float64]:
        """The return or a metric of a policy in every episode ``[N]``, the same episodes for every policy.

        Args:
            policy: its name.
            column: ``return``, ``length``, or the name of a metric, which is NaN in episodes that do not have it.

        Raises:
            KeyError: there is no such policy or column.
        """
        evaluation = self._evaluations[policy]
        statistics = evaluation.statistics
        columns = {"return": statistics.returns, "length": statistics.lengths}
        columns |= dict(zip(evaluation.metric_names, statistics.metrics.T, strict=True))
        return columns[column].astype(np.float64)

    def mean(self, policy: str, column: str = "return") -> tuple[float, float]:
        """The mean over the episodes that have the `episodes` column, and the half-width of its 95 % interval."""
        values = self.episodes(policy, column)
        known = values[~np.isnan(values)]
        return mean_ci(known) if len(known) else (float("nan"), float("nan"))

    def text(self) -> str:
        """A table: mean and 95 % interval over episodes of the return and the headline metrics, and the ratio."""
        ratio = [f"{self._headline[0]} / {self._baseline}"] if self._baseline and self._headline else []
        rows = [[name, *self._cells(name)] for name in self._evaluations]
        table = format_table(["policy", "return", *self._headline, *ratio], rows)
        return f"{table}\n{self._note()}"

    def write(self, directory: Path) -> None:
        """Write ``comparison.csv``, one row per policy and episode, and ``comparison.txt``."""
        names = next(iter(self._evaluations.values())).metric_names
        path = directory / "comparison.csv"
        path.unlink(missing_ok=True)
        table = Table(path, ("policy", *Evaluation.columns(names)))
        for policy, evaluation in self._evaluations.items():
            for row in evaluation.rows():
                table.append({"policy": policy, **row})
        table.close()
        (directory / "comparison.txt").write_text(self.text() + "\n", encoding="utf-8")

    def evaluation(self, policy: str) -> Evaluation:
        """What one policy did."""
        return self._evaluations[policy]

    def means(self) -> dict[str, dict[str, float]]:
        """Mean of the return (as ``return``) and of every metric by policy."""
        return {name: {**e.summary(), "return": e.return_mean} for name, e in self._evaluations.items()}

    @property
    def n_episodes(self) -> int:
        """How many episodes every policy played."""
        return len(next(iter(self._evaluations.values())).statistics.numbers)

    def _note(self) -> str:
        n = self.n_episodes
        what = f"mean ± 95 % interval over {n} test episodes" if n > 1 else "one test episode"
        same = ", the same one" if n == 1 else ", the same ones"
        return what + (f"{same} for every policy" if len(self._evaluations) > 1 else "")

    def _cells(self, name: str) -> list[str]:
        evaluation = self._evaluations[name]
        columns = [self._column(evaluation, metric) for metric in self._headline]
        cells = [_interval(evaluation.statistics.returns), *map(_interval, columns)]
        if self._baseline and self._headline:
            other = self._column(self._evaluations[self._baseline], self._headline[0])
            cells.append("1" if name == self._baseline else format_ratio(bootstrap_ratio_ci(columns[0], other, seed=0)))
        return cells

    @staticmethod
    def _column(evaluation: Evaluation, metric: str) -> np.ndarray:
        return evaluation.statistics.metrics[:, evaluation.metric_names.index(metric)]


def _interval(values: np.ndarray) -> str:
    return format_ci(*mean_ci(values))
