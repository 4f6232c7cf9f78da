"""Normalized values."""

from __future__ import annotations

import torch
from torch import Tensor, nn

DECAY = 0.99999
"""What stays of MAPPO's running means at an update."""

_LEAST_VARIANCE = 1e-2


class ValueScaler(nn.Module):
    """Exponential running mean and standard deviation of returns, to which a network's outputs are relative.

    As in MAPPO (Yu et al., 2022, section 5.1; ValueNorm in the authors' code): the means are divided by the sum of
    their weights, so that the first returns count fully, and the variance is at least 0.01. Returns that are given
    together, such as those of a collection, count as one.

    Args:
        decay: what of the running means stays at an update.
    """

    mean_sum: Tensor
    square_sum: Tensor
    weight_sum: Tensor

    def __init__(self, decay: float) -> None:
        super().__init__()
        self._decay = decay
        for name in ("mean_sum", "square_sum", "weight_sum"):
            self.register_buffer(name, torch.zeros((), dtype=torch.float64))

    def observe(self, returns: Tensor, filled: Tensor) -> None:
        """Take in the returns ``[B, T, V]`` of executed steps ``[B, T]``."""
        new = returns[filled].double()
        if new.numel() == 0:
            return
        for total, found in ((self.mean_sum, new.mean()), (self.square_sum, new.square().mean())):
            total.mul_(self._decay).add_(found, alpha=1 - self._decay)
        self.weight_sum.mul_(self._decay).add_(1 - self._decay)

    @property
    def mean(self) -> Tensor:
        """The running mean, 0 before the first returns."""
        return torch.where(self.weight_sum > 0, self.mean_sum / self.weight_sum, 0.0).float()

    @property
    def std(self) -> Tensor:
        """The running standard deviation, 1 before the first returns."""
        mean = self.mean_sum / self.weight_sum
        variance = (self.square_sum / self.weight_sum - mean.square()).clamp(min=_LEAST_VARIANCE)
        return torch.where(self.weight_sum > 0, variance.sqrt(), 1.0).float()

    def normalized(self, returns: Tensor) -> Tensor:
        """What a network is to say for these returns."""
        return (returns - self.mean) / self.std

    def restored(self, outputs: Tensor) -> Tensor:
        """The returns that a network's outputs mean."""
        return outputs * self.std + self.mean
