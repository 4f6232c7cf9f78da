"""The contract of optimizers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from inspect import unwrap
from typing import Annotated, Any, Literal, TypeVar

import torch

from ...ranges import Count, Fraction, Natural, Range
from ...registry import suggest

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


class OptimizerFactory(ABC):
    """Makes the torch optimizer of some networks, and says its learning rates over time.

    An optimizer is a class in ``src/components/optimizers/`` decorated with ``@register("optimizer")``; it implements
    `make`. With ``**settings`` it takes over the settings of this class.

    Args:
        lr: learning rate.
        lr_of: learning rates of single networks instead, by the names under which the learner saves them, such as
            ``controller``, ``mixer`` or ``critic``; null: none.
        lr_warmup: optimizer steps over which the learning rates rise linearly to their values; 0: none.
        lr_schedule: ``constant``, or how they fall from there to 0: ``linear`` or ``cosine`` (Loshchilov and Hutter,
            2017, eq. 5, without restarts).
        lr_updates: optimizer steps after which they are 0, with ``linear`` and ``cosine``.
        weight_decay: of the weights, as the optimizer understands it.
    """

    def __init__(
        self,
        *,
        lr: LearningRate,
        lr_of: dict[str, LearningRate] | None,
        lr_warmup: Natural,
        lr_schedule: Literal["constant", "linear", "cosine"],
        lr_updates: Count,
        weight_decay: Fraction,
    ) -> None:
        if lr_schedule != "constant" and lr_warmup >= lr_updates:
            raise ValueError(f"lr_warmup={lr_warmup} must be below lr_updates={lr_updates}")
        self.lr, self.weight_decay = lr, weight_decay
        self._lr_of, self._warmup, self._schedule, self._updates = lr_of or {}, lr_warmup, lr_schedule, lr_updates

    @abstractmethod
    def make(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """The optimizer of groups of parameters as torch has them, with a state of its own; a group may say its lr."""

    def __call__(self, networks: Mapping[str, torch.nn.Module] | torch.nn.ModuleDict) -> torch.optim.Optimizer:
        """The optimizer of all parameters of the networks.

        Raises:
            ValueError: ``lr_of`` names a network that there is not, or that has no parameters.
        """
        for name in self._lr_of:
            trained = [n for n, network in networks.items() if next(network.parameters(), None) is not None]
            if name not in trained:
                raise ValueError(f"optimizer.lr_of: no network {name!r} is trained; {suggest(name, trained)}")
        own = [name for name in networks if name in self._lr_of]
        others = [p for name, network in networks.items() if name not in own for p in network.parameters()]
        groups: list[dict[str, Any]] = [{"params": others}]
        groups += [{"params": list(networks[name].parameters()), "lr": self._lr_of[name]} for name in own]
        return self.make([group for group in groups if group["params"]])

    def schedule(self, optimizer: torch.optim.Optimizer, n_updates: int) -> None:
        """Set the learning rates for the optimizer step that follows ``n_updates`` steps."""
        if self._warmup == 0 and self._schedule == "constant":
            return
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * self.part(n_updates)

    def part(self, n_updates: int) -> float:
        """The part of the learning rates that applies after ``n_updates`` optimizer steps."""
        if n_updates < self._warmup:
            return (n_updates + 1) / self._warmup
        if self._schedule == "constant":
            return 1.0
        done = min((n_updates - self._warmup) / (self._updates - self._warmup), 1.0)
        return 1 - done if self._schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
