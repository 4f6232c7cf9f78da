"""Several policies on the same episodes, side by side."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..components.statistics import bootstrap_ratio_ci, mean_ci
from ..training.evaluation import Evaluation
from ..training.run_directory import Table
from .measures import MEASURES, span
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

    def write(self, directory: Path, title: str | None = None) -> None:
        """Write ``comparison.csv``, one row per policy and episode, and ``comparison.txt``, the table below a title."""
        names = next(iter(self._evaluations.values())).metric_names
        path = directory / "comparison.csv"
        path.unlink(missing_ok=True)
        table = Table(path, ("policy", *Evaluation.columns(names)))
        for policy, evaluation in self._evaluations.items():
            for row in evaluation.rows():
                table.append({"policy": policy, **row})
        table.close()
        (directory / "comparison.txt").write_text(
            "\n\n".join([*([title] if title else []), self.text()]) + "\n", encoding="utf-8"
        )

    def evaluation(self, policy: str) -> Evaluation:
        """What one policy did."""
        return self._evaluations[policy]

    def means(self) -> dict[str, dict[str, float]]:
        """Mean of the return (as ``return``) and of every metric by policy."""
        return {name: {**e.summary(), "return": e.return_mean} for name, e in self._evaluations.items()}

    def numbers(self) -> dict[str, float]:
        """The return and the headline metrics as numbers of the run whose policy stands first.

        ``final/<column>`` is its mean, ``reference/<policy>/<column>`` that of another policy, and
        ``ratio/<policy>/<column>`` the quotient of the two, where both are above 0: else it says nothing about which is
        better. What no episode has is left out.
        """
        first, *others = self._evaluations
        found: dict[str, float] = {}
        for column in ("return", *self._headline):
            own = self.mean(first, column)[0]
            found[f"final/{column}"] = own
            for other in others:
                mean = self.mean(other, column)[0]
                found[f"reference/{other}/{column}"] = mean
                if own > 0 and mean > 0:
                    found[f"ratio/{other}/{column}"] = own / mean
        return {name: value for name, value in found.items() if math.isfinite(value)}

    @property
    def n_episodes(self) -> int:
        """How many episodes every policy played."""
        return len(next(iter(self._evaluations.values())).statistics.numbers)

    def _note(self) -> str:
        n = self.n_episodes
        what = f"mean ± 95 % interval over {n} test episodes" if n > 1 else "one test episode"
        same = ", the same one" if n == 1 else ", the same ones"
        said = [what + (f"{same} for every policy" if len(self._evaluations) > 1 else "")]
        for column in self._headline:
            known = [int((~np.isnan(self.episodes(policy, column))).sum()) for policy in self._evaluations]
            if min(known) < n:  # e.g. no job was finished
                said.append(f"{column}: over the {span(known)} of them that have one")
        said += [f"{column}: {MEASURES[column].meaning}" for column in self._headline if column in MEASURES]
        return "\n".join(said)

    def _cells(self, name: str) -> list[str]:
        cells = [format_ci(*self.mean(name, column)) for column in ("return", *self._headline)]
        if self._baseline and self._headline:
            cells.append("1" if name == self._baseline else self._ratio(name, self._baseline))
        return cells

    def _ratio(self, name: str, baseline: str) -> str:
        """The first headline metric of a policy divided by the baseline's, over the episodes in which both have it."""
        own, other = (self.episodes(policy, self._headline[0]) for policy in (name, baseline))
        both = ~np.isnan(own) & ~np.isnan(other)
        return format_ratio(bootstrap_ratio_ci(own[both], other[both], seed=0)) if both.any() else "-"
