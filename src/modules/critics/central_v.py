"""A central value of the state."""

from __future__ import annotations

from torch import Tensor, nn

from ...components.episode import EpisodeBatch
from ...components.memory import linear_weights, require_memory_for_weights
from ...components.spec import EnvSpec
from ...ranges import Widths
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
        orthogonal: orthogonal initialization with gain 1.

    Raises:
        ValueError: it does not fit into memory.
    """

    def __init__(self, spec: EnvSpec, *, hidden_dims: Widths, orthogonal: bool) -> None:
        super().__init__(spec)
        n_weights = linear_weights([spec.state_dim, *hidden_dims, self.n_values])
        require_memory_for_weights(n_weights, "the critic", "lower hidden_dims")
        self.body, width = mlp(spec.state_dim, hidden_dims)
        self.head = nn.Linear(width, self.n_values)
        if orthogonal:
            orthogonal_(self.body, self.head, head_gain=1.0)

    @property
    def n_values(self) -> int:
        """See `StateCritic`."""
        return self.spec.n_agents if self.spec.individual_rewards else 1

    def forward(self, batch: EpisodeBatch) -> Tensor:
        """See `StateCritic`."""
        values: Tensor = self.head(self.body(batch.state))  # B T+1 V
        return values
