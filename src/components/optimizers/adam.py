"""Adam (Kingma and Ba, 2015)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import torch

from ...ranges import Fraction, Length
from ...registry import register
from .base import Decay, Epsilon, LearningRate, without_compiler

_Adam = without_compiler(torch.optim.Adam)


@register("optimizer")
class Adam:
    """Makes `torch.optim.Adam`, with one pass over all parameters.

    Args:
        lr: learning rate.
        betas: decay of the running first and second moments.
        eps: added to the denominator.
        weight_decay: L2 penalty.
    """

    def __init__(
        self,
        *,
        lr: LearningRate,
        betas: Annotated[list[Decay], Length(at_least=2, at_most=2)],
        eps: Epsilon,
        weight_decay: Fraction,
    ) -> None:
        self._lr, self._betas, self._eps, self._weight_decay = lr, (betas[0], betas[1]), eps, weight_decay

    def __call__(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """See `OptimizerFactory`."""
        return _Adam(
            list(parameters),
            lr=self._lr,
            betas=self._betas,
            eps=self._eps,
            weight_decay=self._weight_decay,
            fused=True,
        )
