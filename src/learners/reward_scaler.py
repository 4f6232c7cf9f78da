"""Standardized rewards."""

from __future__ import annotations

from torch import Tensor

from ..modules.moments import Moments


class RewardScaler(Moments):
    """Running mean and standard deviation of rewards, for learning on standardized ones.

    Each collected step is counted once, when it was played, not when it is replayed. As the mean is subtracted from
    every reward, the sum over an episode depends on its length, which is why this is off by default (EPyMARL has it
    on).
    """

    def observe(self, reward: Tensor, filled: Tensor) -> None:
        """Add the rewards of executed steps."""
        self.include(reward[filled].flatten())

    def forward(self, reward: Tensor) -> Tensor:
        """Standardized rewards; unchanged until two have been seen or while all are equal."""
        count, mean, square = int(self.count), float(self.mean), float(self.square)
        if count < 2 or square == 0:
            return reward
        return (reward - mean) / (square / count) ** 0.5
