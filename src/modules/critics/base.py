"""The contract of critics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from ...components.episode import EpisodeBatch
from ...components.spec import EnvSpec


class Critic(nn.Module, ABC):
    """Values of whole episodes.

    A critic is a class in ``src/modules/critics/`` decorated with ``@register("critic")`` that inherits from
    `StateCritic` or `ActionCritic` and whose constructor takes ``(spec, *, settings...)``, or also ``make_controller``
    where it needs networks as the agents have them. A learner asks for one by a parameter named ``critic``, annotated
    with the kind it needs.

    Args:
        spec: sizes of the environment.
    """

    def __init__(self, spec: EnvSpec) -> None:
        super().__init__()
        self.spec = spec


class StateCritic(Critic):
    """A critic of states: `forward` returns ``[B, T+1, V]``, with V = 1 for a common value and A for one per agent."""

    @property
    @abstractmethod
    def n_values(self) -> int:
        """V."""

    @abstractmethod
    def forward(self, batch: EpisodeBatch) -> Tensor:
        """Values at every stored observation."""


class ActionCritic(Critic):
    """A critic of actions: it says what each action of an agent is worth while the others do what they are said to.

    Attributes:
        sees_others: whether the others' actions change anything.
    """

    sees_others: ClassVar[bool] = True

    @abstractmethod
    def forward(self, batch: EpisodeBatch, actions: Tensor) -> Tensor:
        """Values ``[B, T+1, A, U]`` of all actions of each agent.

        Args:
            batch: the episodes.
            actions: ``[B, T+1, A]``; an agent's own one changes nothing for it.
        """
