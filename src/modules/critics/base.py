"""The contract of critics."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from ...components.episode import EpisodeBatch
from ...components.spec import EnvSpec


class Critic(nn.Module, ABC):
    """Values of whole episodes.

    A critic is a class in ``src/modules/critics/`` decorated with ``@register("critic")`` that inherits from
    `StateCritic` and whose constructor takes ``(spec, *, settings...)``. A learner asks for one by a parameter named
    ``critic``, annotated with the kind it needs.

    Args:
        spec: sizes of the environment.
    """

    def __init__(self, spec: EnvSpec) -> None:
        super().__init__()
        self.spec = spec

    @abstractmethod
    def forward(self, batch: EpisodeBatch) -> Tensor:
        """Values at every stored observation."""


class StateCritic(Critic):
    """A critic of states: `forward` returns ``[B, T+1, V]``, with V = 1 for a common value and A for one per agent."""

    @property
    @abstractmethod
    def n_values(self) -> int:
        """V."""
