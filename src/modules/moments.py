"""Mean and standard deviation of everything seen so far."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Moments(nn.Module):
    """Running mean and variance by Chan et al.'s parallel algorithm ("Updating Formulae", 1979); saved with weights.

    Args:
        shape: of one observation; every number in it has a mean and variance of its own.

    Attributes:
        count: observations so far.
        mean: their mean, 0 before the first.
        square: sum of squared deviations from it.
    """

    count: Tensor
    mean: Tensor
    square: Tensor

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("square", torch.zeros(shape, dtype=torch.float64))

    def include(self, new: Tensor) -> None:
        """Take in observations ``[N, *shape]``."""
        n, count = len(new), int(self.count)
        if n == 0:
            return
        new, total = new.double(), count + n
        mean = new.mean(dim=0)
        delta = mean - self.mean
        self.square += (new - mean).square().sum(dim=0) + delta * delta * count * n / total
        self.mean += delta * n / total
        self.count.fill_(total)
