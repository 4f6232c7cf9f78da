"""Normalized observations."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ..components.episode import EpisodeBatch
from ..modules.moments import Moments
from ..modules.recipe import Recipe

_LARGEST = 10.0
_LEAST_STD = 1e-3


class ObsScaler(nn.Module):
    """Every number of the observation less its running mean, over its running standard deviation, within -10 and 10.

    Statistics are those of all agents together, of executed steps of training episodes (Andrychowicz et al., "What
    Matters for On-Policy Deep Actor-Critic Methods?", 2021). What episodes have added counts from the next `refresh`
    on, so without a lag an on-policy learner sees observations as the agents saw them when they acted. They are saved
    with the weights; evaluation uses them and adds nothing. A number that has hardly varied is only shifted. The zeros
    that environments give for agents that have left count as well.

    Args:
        obs_dim: O.
    """

    shift: Tensor
    factor: Tensor

    def __init__(self, obs_dim: int) -> None:
        super().__init__()
        self.moments = Moments(obs_dim)
        self.register_buffer("shift", torch.zeros(obs_dim))
        self.register_buffer("factor", torch.ones(obs_dim))

    def observe(self, batch: EpisodeBatch) -> None:
        """Add newly collected episodes."""
        self.moments.include(batch.obs[:, :-1][batch.filled].flatten(0, 1).to(self.shift.device))

    def refresh(self) -> None:
        """Use what was observed so far from now on."""
        if self.moments.count > 0:
            std = (self.moments.square / self.moments.count).sqrt()
            self.shift.copy_(self.moments.mean)
            self.factor.copy_(torch.where(std < _LEAST_STD, 1.0, 1 / std))

    def forward(self, obs: Tensor) -> Tensor:
        """``[*, O]`` to ``[*, O]``."""
        return ((obs - self.shift) * self.factor).clamp(-_LARGEST, _LARGEST)

    def write(self, recipe: Recipe, obs: str) -> str:
        """Write down what `forward` does; returns the name of the normalized observations."""
        limit = np.array(_LARGEST, np.float32)
        parts = {"shift": self.shift.numpy(), "factor": self.factor.numpy(), "limit": limit}
        return recipe.constant("scale", obs, self, **parts)
