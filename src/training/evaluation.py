"""Playing fixed episodes to measure a policy: the same ones for every policy, run and moment of training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from torch import Tensor

from ..components.spec import IntArray
from ..components.statistics import mean_ci
from ..policies.base import Policy
from ..policies.learned import LearnedPolicy
from ..runners.base import EpisodeStatistics, Runner, TooManyFailures
from .columns import EPISODE


@dataclass(frozen=True)
class Evaluation:
    """What a policy did in the evaluation episodes.

    Attributes:
        step: training steps the policy had seen.
        stream: ``validation`` or ``test``.
        statistics: one entry per episode.
        metric_names: columns of ``statistics.metrics``.
    """

    step: int
    stream: str
    statistics: EpisodeStatistics
    metric_names: tuple[str, ...]

    @property
    def return_mean(self) -> float:
        """Mean return over episodes."""
        return float(self.statistics.returns.mean())

    def only(self, numbers: IntArray) -> Self:
        """The episodes with these numbers."""
        kept = np.isin(self.statistics.numbers, numbers)
        s = self.statistics
        chosen = EpisodeStatistics(s.numbers[kept], s.returns[kept], s.lengths[kept], s.metrics[kept])
        return replace(self, statistics=chosen)

    def summary(self) -> dict[str, float]:
        """Mean return and every metric's mean over episodes where it exists, with the return's 95 % half-width."""
        mean, half_width = mean_ci(self.statistics.returns)
        summary = {"return_mean": mean, "return_ci95": half_width, "length_mean": float(self.statistics.lengths.mean())}
        for name, column in zip(self.metric_names, self.statistics.metrics.T, strict=True):
            known = column[~np.isnan(column)]
            summary[name] = float(known.mean()) if len(known) else float("nan")
        return summary

    @staticmethod
    def summary_names(metric_names: tuple[str, ...]) -> tuple[str, ...]:
        """Names of what `summary` returns."""
        return ("return_mean", "return_ci95", "length_mean", *metric_names)

    def rows(self) -> list[dict[str, float | str]]:
        """One row per episode for ``evaluations.csv``."""
        s = self.statistics
        return [
            {
                "step": self.step,
                "stream": self.stream,
                "episode": int(s.numbers[i]),
                "return": float(s.returns[i]),
                "length": int(s.lengths[i]),
                **dict(zip(self.metric_names, map(float, s.metrics[i]), strict=True)),
            }
            for i in range(len(s.numbers))
        ]

    @staticmethod
    def columns(metric_names: tuple[str, ...]) -> tuple[str, ...]:
        """Columns of ``evaluations.csv``."""
        return (*EPISODE, *metric_names)


def evaluate(policy: Policy, runner: Runner, n_episodes: int, *, step: int, stream: str) -> Evaluation:
    """Play episodes 0 to ``n_episodes`` - 1 of the runner's stream; they are assigned to environments beforehand.

    Raises:
        TooManyFailures: not one of them could be played, or see `Runner.play`.
    """
    _, statistics = runner.play(policy, np.arange(n_episodes))
    if len(statistics.numbers) == 0:
        raise TooManyFailures(f"all {n_episodes} episodes of an evaluation failed; the last: {runner.failures[-1]}")
    return Evaluation(step, stream, statistics, runner.spec.metric_names)


class Evaluator:
    """Validates the learner's weights on fixed episodes.

    Args:
        policy: acts; nobody else uses it.
        runner: plays validation episodes, in environments of its own.
        n_episodes: per validation.
    """

    def __init__(self, policy: LearnedPolicy, runner: Runner, n_episodes: int) -> None:
        self._policy, self.runner, self._n_episodes = policy, runner, n_episodes

    def evaluate(self, weights: Mapping[str, Tensor], step: int) -> Evaluation:
        """What the policy does with these weights.

        Args:
            weights: as `LearnedPolicy.load_state_dict` takes them.
            step: training steps so far.

        Raises:
            TooManyFailures: see `evaluate`.
        """
        self._policy.load_state_dict(weights)
        return evaluate(self._policy, self.runner, self._n_episodes, step=step, stream="validation")
