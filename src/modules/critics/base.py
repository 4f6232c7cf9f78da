"""The contract of critics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...components.episode import EpisodeBatch
from ...components.memory import gru_weights, linear_weights, require_memory_for_weights
from ...components.spec import EnvSpec
from ...ranges import Width, Widths
from ..agents.base import mlp, orthogonal_, run_gru


class Critic(nn.Module, ABC):
    """Values of whole episodes.

    A critic is a class in ``src/modules/critics/`` decorated with ``@register("critic")`` that inherits from
    `StateCritic` or `ActionCritic` and whose constructor takes ``(spec, *, settings...)``. A learner asks for one by a
    parameter named ``critic``, annotated with the kind it needs.

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


class OwnCritic(Critic):
    """One network for all agents on what each of them has seen, for critics that look at nothing else.

    Linear layers with ReLU on the observation and the agent's number (one-hot), then a GRU unless ``rnn_dim`` is null.

    Args:
        spec: sizes of the environment.
        n_outputs: per agent.
        hidden_dims: widths of the layers.
        rnn_dim: width of the GRU; null: none.
        orthogonal: orthogonal initialization with gain 1.

    Raises:
        ValueError: it does not fit into memory.
    """

    def __init__(
        self, spec: EnvSpec, n_outputs: int, *, hidden_dims: Widths, rnn_dim: Width | None, orthogonal: bool
    ) -> None:
        super().__init__(spec)
        reads, before = spec.obs_dim + spec.n_agents, (hidden_dims or [spec.obs_dim + spec.n_agents])[-1]
        n_weights = linear_weights([reads, *hidden_dims]) + (gru_weights(before, rnn_dim) if rnn_dim else 0)
        require_memory_for_weights(n_weights, "the critic", "lower hidden_dims or rnn_dim")
        self.body, width = mlp(reads, hidden_dims)
        self.gru = nn.GRU(width, rnn_dim) if rnn_dim else None
        self.head = nn.Linear(rnn_dim or width, n_outputs)
        if orthogonal:
            orthogonal_(self.body, self.head, head_gain=1.0)
        self.register_buffer("ids", torch.eye(spec.n_agents), persistent=False)

    def outputs(self, batch: EpisodeBatch) -> Tensor:
        """``[B, T+1, A, n_outputs]`` at every stored observation."""
        obs = batch.obs.transpose(0, 1)  # T+1 B A O: a GRU goes along time
        hidden = self.body(torch.cat([obs, self.get_buffer("ids").expand(*obs.shape[:-1], -1)], dim=-1))
        if self.gru is not None:
            hidden, _ = run_gru(self.gru, hidden, hidden.new_zeros(*hidden.shape[1:-1], self.gru.hidden_size))
        outputs: Tensor = self.head(hidden).transpose(0, 1)
        return outputs
