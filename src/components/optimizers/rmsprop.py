"""RMSprop (Tieleman and Hinton, 2012), the optimizer of the original PyMARL."""

from __future__ import annotations

from typing import Any

import torch

from ...registry import register
from .base import Decay, Epsilon, OptimizerFactory, without_compiler

_RMSprop = without_compiler(torch.optim.RMSprop)


@register("optimizer")
class RMSprop(OptimizerFactory):
    """Makes `torch.optim.RMSprop`; weight decay is an L2 penalty.

    Args:
        alpha: decay of the running mean square.
        eps: added to the denominator.
        settings: those of `OptimizerFactory`.
    """

    def __init__(self, *, alpha: Decay, eps: Epsilon, **settings: Any) -> None:
        super().__init__(**settings)
        self._alpha, self._eps = alpha, eps

    def make(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """See `OptimizerFactory.make`."""
        return _RMSprop(groups, lr=self.lr, alpha=self._alpha, eps=self._eps, weight_decay=self.weight_decay)
