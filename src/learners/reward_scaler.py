"""Standardized rewards."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RewardScaler(nn.Module):
    """Running mean and standard deviation of rewards, for learning on standardized ones.

    Each collected step is counted once, when it was played, not when it is replayed. As the mean is subtracted from
    every reward, the sum over an episode depends on its length, which is why this is off by default (EPyMARL has it
    on).
    """

    count: Tensor
    mean: Tensor
    square: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros((), dtype=torch.float64))
        self.register_buffer("square", torch.zeros((), dtype=torch.float64))  # sum of squared deviations

    def observe(self, reward: Tensor, filled: Tensor) -> None:
        """Add the rewards of executed steps (Chan et al.'s parallel variance)."""
        new = reward[filled].double()
        n, count = new.numel(), int(self.count)
        if n == 0:
            return
        total, delta = count + n, float(new.mean()) - float(self.mean)
        self.square += float((new - new.mean()).square().sum()) + delta * delta * count * n / total
        self.mean += delta * n / total
        self.count.fill_(total)

    def forward(self, reward: Tensor) -> Tensor:
        """Standardized rewards; unchanged until two have been seen or while all are equal."""
        count, mean, square = int(self.count), float(self.mean), float(self.square)
        if count < 2 or square == 0:
            return reward
        return (reward - mean) / (square / count) ** 0.5
