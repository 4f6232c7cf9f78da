"""The contract of optimizers."""

from __future__ import annotations

from collections.abc import Iterable
from inspect import unwrap
from typing import Annotated, Protocol, TypeVar

import torch

from ...ranges import Range

LearningRate = Annotated[float, Range(above=0, at_most=1)]

Decay = Annotated[float, Range(at_least=0, below=1)]
"""The part of a running mean that stays at a step."""

Epsilon = Annotated[float, Range(at_least=1e-30, at_most=1)]
"""What keeps a denominator from 0, also with 32 bits."""

SomeOptimizer = TypeVar("SomeOptimizer", bound=torch.optim.Optimizer)

_MARKED = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")


def without_compiler(optimizer: type[SomeOptimizer]) -> type[SomeOptimizer]:
    """The same optimizer, not differentiable itself, with methods that ``torch.compile`` knows nothing of.

    Torch wraps these methods so that the compiler leaves them alone, and the first call of one imports the compiler,
    which takes long and is not used here.
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
