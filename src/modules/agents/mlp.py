"""A feed-forward agent network."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from ...components.memory import linear_weights, require_memory_for_weights
from ...components.spec import EnvSpec
from ...ranges import Range, Widths
from ...registry import register
from ..recipe import Recipe
from .base import Network, linear_head, mlp, orthogonal_


@register("network")
class MLPNetwork(Network):
    """Linear layers with ReLU and a linear head.

    Args:
        spec: sizes of the environment.
        input_dim: I.
        hidden_dims: widths of the hidden layers.
        orthogonal: orthogonal initialization, hidden layers with gain 1 and the head with 0.01 (as in PyMARL2).
        layer_norm: layer normalization before the head.
        noisy: normally distributed weights of the head, for exploration, see `NoisyLinear`; evaluation has their means.
        noisy_sigma: initial scale of their standard deviations.

    Raises:
        ValueError: it does not fit into memory.
    """

    def __init__(
        self,
        spec: EnvSpec,
        input_dim: int,
        *,
        hidden_dims: Widths,
        orthogonal: bool,
        layer_norm: bool,
        noisy: bool,
        noisy_sigma: Annotated[float, Range(above=0, at_most=100)],
    ) -> None:
        super().__init__()
        n_weights = linear_weights([input_dim, *hidden_dims])
        n_weights += (1 + noisy) * linear_weights([[input_dim, *hidden_dims][-1], spec.n_actions])
        require_memory_for_weights(n_weights, "the network", "lower hidden_dims")
        self.body, width = mlp(input_dim, hidden_dims)
        self.norm = nn.LayerNorm(width) if layer_norm else nn.Identity()
        self.head = linear_head(width, spec.n_actions, noisy_sigma if noisy else None)
        if orthogonal:
            orthogonal_(self.body, self.head)

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Network.forward`."""
        features = self.norm(self.body(inputs))
        return self.head(features), features, state

    def write(self, recipe: Recipe, x: str, hidden: str) -> tuple[str, str, str]:
        """See `Network.write`."""
        features = recipe.layers(x, *self.body, self.norm)
        return recipe.layers(features, self.head), features, hidden
