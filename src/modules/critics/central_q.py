"""A central value of each agent's actions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...components.episode import EpisodeBatch
from ...components.memory import linear_weights, require_memory_for_weights
from ...components.spec import EnvSpec
from ...ranges import Widths
from ...registry import register
from ..agents.base import mlp, orthogonal_
from .base import ActionCritic


@register("critic")
class CentralQ(ActionCritic):
    """The values of an agent's actions, given what the others do (COMA; Foerster et al., 2018, section 4).

    Linear layers with ReLU, shared by all agents, read the state, the agent's observation, the actions of the others
    (one-hot) and the agent's number (one-hot), and give the values of all of its actions at once.

    Args:
        spec: sizes of the environment.
        hidden_dims: widths of the layers.
        orthogonal: orthogonal initialization with gain 1.

    Raises:
        ValueError: it does not fit into memory.
    """

    def __init__(self, spec: EnvSpec, *, hidden_dims: Widths, orthogonal: bool) -> None:
        super().__init__(spec)
        a, u = spec.n_agents, spec.n_actions
        self._reads = (spec.state_dim, spec.obs_dim, a * u, a)
        widths = [sum(self._reads), *hidden_dims, u]
        require_memory_for_weights(linear_weights(widths), "the critic", "lower hidden_dims")
        self.body, width = mlp(sum(self._reads), hidden_dims)
        self.head = nn.Linear(width, u)
        if orthogonal:
            orthogonal_(self.body, self.head, head_gain=1.0)

    def forward(self, batch: EpisodeBatch, actions: Tensor) -> Tensor:
        """See `ActionCritic`."""
        if not self.body:
            return self._first(self.head, batch, actions)
        first, activation, others = self.body[0], self.body[1], self.body[2:]
        assert isinstance(first, nn.Linear)
        values: Tensor = self.head(others(activation(self._first(first, batch, actions))))
        return values  # B T+1 A U

    def _first(self, layer: nn.Linear, batch: EpisodeBatch, actions: Tensor) -> Tensor:
        """The first layer, ``[B, T+1, A, H]``, without copying for each agent what agents have in common.

        A one-hot action times weights is a row of theirs, so the others' actions come to the sum of all agents' rows
        minus the agent's own.
        """
        of_state, of_obs, of_actions, of_id = layer.weight.split(self._reads, dim=1)
        n_agents, n_actions = self.spec.n_agents, self.spec.n_actions
        rows = actions.long() + n_actions * torch.arange(n_agents, device=actions.device)  # B T+1 A
        all_taken = F.embedding_bag(rows.flatten(0, 1), of_actions.T, mode="sum").unflatten(0, rows.shape[:2])
        own = F.linear(batch.obs, of_obs)
        own += (F.linear(batch.state, of_state, layer.bias) + all_taken).unsqueeze(2)
        own += F.embedding(rows, of_id.T.repeat_interleave(n_actions, dim=0) - of_actions.T)
        return own
