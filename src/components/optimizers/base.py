"""The contract of optimizers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch


class OptimizerFactory(Protocol):
    """Makes a torch optimizer for given parameters."""

    def __call__(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer, with its own state."""
        ...
