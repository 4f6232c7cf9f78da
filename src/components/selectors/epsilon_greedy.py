"""The best-looking available action, or with probability epsilon any available one."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from ...registry import register
from .. import schedules
from ..rng import UInt64Array, draw, uniform
from ..spec import BoolArray, FloatArray, IntArray
from .base import Selector, greedy_actions


@register("selector")
class EpsilonGreedy(Selector):
    """Each agent explores on its own with probability epsilon, which falls with the training step.

    Args:
        schedule: shape of the fall.
        start: epsilon at step 0.
        finish: epsilon from ``anneal_steps`` on.
        anneal_steps: environment steps of the fall.

    Raises:
        ValueError: a probability outside [0, 1], or an exponential schedule that ends at 0.
    """

    metric_names: ClassVar[tuple[str, ...]] = ("epsilon",)

    def __init__(
        self, *, schedule: Literal["linear", "exponential"], start: float, finish: float, anneal_steps: int
    ) -> None:
        if not (0 <= start <= 1 and 0 <= finish <= 1):
            raise ValueError(f"start and finish are probabilities, got {start} and {finish}")
        if schedule == "exponential" and min(start, finish) <= 0:
            raise ValueError("an exponential schedule cannot start or finish at 0; use schedule=linear")
        self._schedule = schedules.linear if schedule == "linear" else schedules.exponential
        self._start, self._finish, self._anneal_steps = start, finish, anneal_steps

    def epsilon(self, steps: int) -> float:
        """Probability of a random action after ``steps`` training steps."""
        return self._schedule(steps, self._start, self._finish, self._anneal_steps)

    def metrics(self, steps: int) -> dict[str, float]:
        """See `Selector.metrics`."""
        return {"epsilon": self.epsilon(steps)}

    def select(self, scores: FloatArray, avail: BoolArray, keys: UInt64Array, t: int, steps: int) -> IntArray:
        """See `Selector.select`."""
        greedy = greedy_actions(scores, avail)
        n_agents = greedy.shape[1]
        counter = 2 * (t * n_agents + np.arange(n_agents))  # two draws per decision: whether, and which
        explore = uniform(draw(keys[:, None], counter)) < self.epsilon(steps)  # B A
        if not explore.any():
            return greedy
        chosen = uniform(draw(keys[:, None], counter + 1))
        return np.where(explore, nth_available(avail, chosen), greedy)


def nth_available(avail: BoolArray, position: np.ndarray) -> IntArray:
    """The available action at relative ``position`` in [0, 1) ``[B, A]``: uniform when the position is."""
    rank = np.floor(position * avail.sum(axis=-1)).astype(np.int64)  # B A
    return (np.cumsum(avail, axis=-1) > rank[..., None]).argmax(axis=-1)
