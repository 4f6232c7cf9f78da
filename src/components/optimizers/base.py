"""The contract of optimizers."""

from __future__ import annotations

from collections.abc import Iterable
from inspect import unwrap
from typing import Protocol, TypeVar

import torch

SomeOptimizer = TypeVar("SomeOptimizer", bound=torch.optim.Optimizer)

_MARKED = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")


def without_compiler(optimizer: type[SomeOptimizer]) -> type[SomeOptimizer]:
    """The same optimizer, not differentiable itself, with methods that ``torch.compile`` knows nothing of.

    Torch wraps them so that the compiler leaves them alone, and the first call of one imports it, which takes almost as
    long as importing torch. Here nothing is compiled by it.
    """
    methods = {name: unwrap(getattr(optimizer, name)) for name in _MARKED}
    methods["step"] = torch.no_grad()(unwrap(optimizer.step))
    plain: type[SomeOptimizer] = type(optimizer.__name__, (optimizer,), methods)
    return plain


class OptimizerFactory(Protocol):
    """Makes a torch optimizer for given parameters."""

    def __call__(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer, with its own state."""
        ...
