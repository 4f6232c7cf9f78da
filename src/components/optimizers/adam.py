"""Adam (Kingma and Ba, 2015)."""

from __future__ import annotations

from typing import Annotated, Any

import torch

from ...ranges import Length
from ...registry import register
from .base import Decay, Epsilon, OptimizerFactory, without_compiler

_Adam = without_compiler(torch.optim.Adam)


@register("optimizer")
class Adam(OptimizerFactory):
    """Makes `torch.optim.Adam`, with one pass over all parameters; weight decay is an L2 penalty.

    Args:
        betas: decay of the running first and second moments.
        eps: added to the denominator.
        settings: those of `OptimizerFactory`.
    """

    def __init__(
        self, *, betas: Annotated[list[Decay], Length(at_least=2, at_most=2)], eps: Epsilon, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self.betas, self.eps = (betas[0], betas[1]), eps

    def make(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """See `OptimizerFactory.make`."""
        decay = self.weight_decay
        return _Adam(groups, lr=self.lr, betas=self.betas, eps=self.eps, weight_decay=decay, fused=True)
