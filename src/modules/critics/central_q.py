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
        reads = spec.state_dim + spec.obs_dim + a * u + a
        require_memory_for_weights(linear_weights([reads, *hidden_dims, u]), "the critic", "lower hidden_dims")
        self.body, width = mlp(reads, hidden_dims)
        self.head = nn.Linear(width, u)
        if orthogonal:
            orthogonal_(self.body, self.head, head_gain=1.0)
        self.register_buffer("ids", torch.eye(a), persistent=False)

    def forward(self, batch: EpisodeBatch, actions: Tensor) -> Tensor:
        """See `ActionCritic`."""
        ids = self.get_buffer("ids")
        of_others = F.one_hot(actions.long(), self.spec.n_actions).to(ids.dtype).unsqueeze(2) * (1 - ids).unsqueeze(-1)
        lead = of_others.shape[:3]  # B T+1 A
        state = batch.state.unsqueeze(2).expand(*lead, -1)
        inputs = torch.cat([state, batch.obs, of_others.flatten(-2), ids.expand(*lead, -1)], dim=-1)
        values: Tensor = self.head(self.body(inputs))
        return values  # B T+1 A U
