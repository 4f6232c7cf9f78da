"""RMSprop (Tieleman and Hinton, 2012), the optimizer of the original PyMARL."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from ...ranges import Fraction
from ...registry import register
from .base import Decay, Epsilon, LearningRate, without_compiler

_RMSprop = without_compiler(torch.optim.RMSprop)


@register("optimizer")
class RMSprop:
    """Makes `torch.optim.RMSprop`.

    Args:
        lr: learning rate.
        alpha: decay of the running mean square.
        eps: added to the denominator.
        weight_decay: L2 penalty.
    """

    def __init__(self, *, lr: LearningRate, alpha: Decay, eps: Epsilon, weight_decay: Fraction) -> None:
        self._lr, self._alpha, self._eps, self._weight_decay = lr, alpha, eps, weight_decay

    def __call__(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """See `OptimizerFactory`."""
        return _RMSprop(
            list(parameters), lr=self._lr, alpha=self._alpha, eps=self._eps, weight_decay=self._weight_decay
        )
