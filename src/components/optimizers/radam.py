"""RAdam (Liu et al., 2020)."""

from __future__ import annotations

from typing import Any

import torch

from ...registry import register
from .adam import Adam
from .base import without_compiler

_RAdam = without_compiler(torch.optim.RAdam)


@register("optimizer")
class RAdam(Adam):
    """Makes `torch.optim.RAdam`: Adam whose first steps are as small as the uncertain second moment asks for.

    Args:
        settings: those of `Adam`.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)

    def make(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """See `OptimizerFactory.make`."""
        return _RAdam(groups, lr=self.lr, weight_decay=self.weight_decay, betas=self.betas, eps=self.eps)
