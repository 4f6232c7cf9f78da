"""AdamW (Loshchilov and Hutter, 2019)."""

from __future__ import annotations

from typing import Any

import torch

from ...registry import register
from .adam import Adam
from .base import without_compiler

_AdamW = without_compiler(torch.optim.AdamW)


@register("optimizer")
class AdamW(Adam):
    """Makes `torch.optim.AdamW`: weights decay by themselves, apart from the gradient.

    Args:
        settings: those of `Adam`.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)

    def make(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """See `OptimizerFactory.make`."""
        decay = self.weight_decay
        return _AdamW(groups, lr=self.lr, betas=self.betas, eps=self.eps, weight_decay=decay, fused=True)
