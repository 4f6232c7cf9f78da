"""A central value of the state."""

from __future__ import annotations

from torch import Tensor, nn

from ...components.episode import EpisodeBatch
from ...components.spec import EnvSpec
from ...ranges import Count
from ...registry import register
from ..agents.base import mlp, orthogonal_
from .base import StateCritic


@register("critic")
class CentralV(StateCritic):
    """Linear layers with ReLU on the environment's state, one value for the team (MAPPO; Yu et al., 2022).

    With individual rewards there is one value for each agent.

    Args:
        spec: sizes of the environment.
        hidden_dims: widths of the layers.
        orthogonal: orthogonal initialization, hidden layers with gain 1 and the head with 0.01.
    """

    def __init__(self, spec: EnvSpec, *, hidden_dims: list[Count], orthogonal: bool) -> None:
        super().__init__(spec)
        self.body, width = mlp(spec.state_dim, hidden_dims)
        self.head = nn.Linear(width, spec.n_agents if spec.individual_rewards else 1)
        if orthogonal:
            orthogonal_(self.body, self.head)

    def forward(self, batch: EpisodeBatch) -> Tensor:
        """See `StateCritic`."""
        values: Tensor = self.head(self.body(batch.state))  # B T+1 V
        return values
