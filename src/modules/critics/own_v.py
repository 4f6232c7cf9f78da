"""A value of each agent's observations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...components.episode import EpisodeBatch
from ...components.memory import gru_weights, linear_weights, require_memory_for_weights
from ...components.spec import EnvSpec
from ...ranges import Width, Widths
from ...registry import register
from ..agents.base import mlp, orthogonal_, run_gru
from .base import StateCritic


@register("critic")
class OwnV(StateCritic):
    """One network for all agents on what each of them has seen, one value for each (IPPO; de Witt et al., 2020).

    Linear layers with ReLU on the observation and the agent's number (one-hot), then a GRU unless ``rnn_dim`` is null.

    Args:
        spec: sizes of the environment.
        hidden_dims: widths of the layers.
        rnn_dim: width of the GRU; null: none.
        orthogonal: orthogonal initialization with gain 1.

    Raises:
        ValueError: it does not fit into memory.
    """

    def __init__(self, spec: EnvSpec, *, hidden_dims: Widths, rnn_dim: Width | None, orthogonal: bool) -> None:
        super().__init__(spec)
        reads, before = spec.obs_dim + spec.n_agents, (hidden_dims or [spec.obs_dim + spec.n_agents])[-1]
        n_weights = linear_weights([reads, *hidden_dims]) + (gru_weights(before, rnn_dim) if rnn_dim else 0)
        require_memory_for_weights(n_weights, "the critic", "lower hidden_dims or rnn_dim")
        self.body, width = mlp(reads, hidden_dims)
        self.gru = nn.GRU(width, rnn_dim) if rnn_dim else None
        self.head = nn.Linear(rnn_dim or width, 1)
        if orthogonal:
            orthogonal_(self.body, self.head, head_gain=1.0)
        self.register_buffer("ids", torch.eye(spec.n_agents), persistent=False)

    @property
    def n_values(self) -> int:
        """See `StateCritic`."""
        return self.spec.n_agents

    def forward(self, batch: EpisodeBatch) -> Tensor:
        """See `StateCritic`."""
        obs = batch.obs.transpose(0, 1)  # T+1 B A O: a GRU goes along time
        hidden = self.body(torch.cat([obs, self.get_buffer("ids").expand(*obs.shape[:-1], -1)], dim=-1))
        if self.gru is not None:
            hidden, _ = run_gru(self.gru, hidden, hidden.new_zeros(*hidden.shape[1:-1], self.gru.hidden_size))
        values: Tensor = self.head(hidden).squeeze(-1).transpose(0, 1)
        return values  # B T+1 A
