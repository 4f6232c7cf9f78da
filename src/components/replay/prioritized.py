"""Prioritized replay of whole episodes (Schaul et al., 2016)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...ranges import Fraction, Range, Steps
from ...registry import register
from .. import schedules
from ..episode import Columns, EpisodeBatch
from ..rng import Stream, generator
from ..spec import EnvSpec
from .base import Sample
from .uniform import UniformReplay


@register("replay")
class PrioritizedReplay(UniformReplay):
    """As `UniformReplay`, but an episode is drawn the more often the more there is left to be learned from it.

    Episode i is drawn with probability P(i) = p_i^alpha / sum_j p_j^alpha (Schaul et al., 2016, eq. 1), where its
    priority p_i is what the learner said when it last learned from it (Q-learning: the mean absolute TD error of its
    steps) plus ``least``; a new episode has the largest priority that is stored. Draws are independent, so an episode
    can be drawn twice. It counts (N P(i))^-beta in the loss; with beta = 1 the expected gradient is that of uniform
    draws. The weights are not divided by their maximum, which would make it a multiple of that.

    Args:
        spec: sizes of the environment.
        extras: columns that the policy and the learner add.
        seed: of the run.
        alpha: 0 draws uniformly, 1 in proportion to priorities.
        beta: exponent of the weights at the first update.
        beta_updates: optimizer steps over which it rises to 1, along a line.
        least: added to every priority, so that no episode is left out.
        settings: those of `UniformReplay`.
    """

    def __init__(
        self,
        spec: EnvSpec,
        extras: Columns,
        seed: int,
        *,
        alpha: Fraction,
        beta: Fraction,
        beta_updates: Steps,
        least: Annotated[float, Range(at_least=1e-12, at_most=1e6)],
        **settings: Any,
    ) -> None:
        super().__init__(spec, extras, seed, **settings)
        self._alpha, self._beta, self._beta_updates, self._least = alpha, beta, beta_updates, least
        self._priorities = np.zeros(self._capacity)  # by place in the ring

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """``[N]``, how likely each stored episode is drawn, by its place."""
        scaled: NDArray[np.float64] = self._priorities[: self.size] ** self._alpha
        return scaled / scaled.sum()

    def insert(self, batch: EpisodeBatch) -> None:
        """See `Replay.insert`."""
        largest = self._priorities[: self.size].max() if self.size else 1.0
        first = self.n_inserted
        super().insert(batch)
        self._priorities[np.arange(first, self.n_inserted) % self._capacity] = largest

    def sample(self, n_episodes: int, update: int) -> Sample:
        """Episodes drawn for optimizer step number ``update`` in proportion to their priorities, with weights.

        Raises:
            ValueError: fewer episodes are stored.
        """
        self._require(n_episodes)
        chances = self.probabilities
        places = generator(self._seed, Stream.REPLAY, update).choice(self.size, n_episodes, p=chances)
        beta = schedules.linear(update, self._beta, 1.0, self._beta_updates)
        weights = torch.from_numpy((self.size * chances[places]) ** -beta).float()
        return Sample(self._storage.select(torch.from_numpy(places)), self._numbers(places), weights)

    def learned(self, sample: Sample, priorities: Tensor | None) -> None:
        """See `Replay.learned`."""
        if priorities is None:
            raise ValueError("replay=prioritized needs a learner that says how much is left; choose replay=uniform")
        stored = sample.numbers >= self.first
        new = priorities.double().cpu().numpy()[stored] + self._least
        if not np.isfinite(new).all():
            raise FloatingPointError("a TD error is not finite: learning has diverged; lower optimizer.lr")
        self._priorities[sample.numbers[stored] % self._capacity] = new

    def state_dict(self) -> dict[str, Any]:
        """See `Replay.state_dict`."""
        return {**super().state_dict(), "priorities": torch.from_numpy(self._priorities.copy())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Replay.load_state_dict`."""
        super().load_state_dict(state)
        self._priorities = state["priorities"].numpy().copy()
