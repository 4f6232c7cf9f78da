"""The recurrent agent network of the PyMARL family."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from ...components.memory import gru_weights, linear_weights, require_memory_for_weights
from ...components.spec import EnvSpec
from ...ranges import Range, Width, Widths
from ...registry import register
from ..recipe import Recipe
from .base import Network, linear_head, mlp, orthogonal_, run_gru


@register("network")
class RNNNetwork(Network):
    """Linear layers with ReLU, one GRU, a linear head (DRQN; Hausknecht and Stone, 2015).

    Args:
        spec: sizes of the environment.
        input_dim: I.
        hidden_dims: widths of the layers before the GRU.
        rnn_dim: H, width of the GRU.
        orthogonal: orthogonal initialization, hidden layers with gain 1 and the head with 0.01; the GRU keeps its own
            (as in PyMARL2).
        layer_norm: layer normalization between the GRU and the head.
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
        rnn_dim: Width,
        orthogonal: bool,
        layer_norm: bool,
        noisy: bool,
        noisy_sigma: Annotated[float, Range(above=0, at_most=100)],
    ) -> None:
        super().__init__()
        n_weights = linear_weights([input_dim, *hidden_dims]) + (1 + noisy) * linear_weights([rnn_dim, spec.n_actions])
        n_weights += gru_weights([input_dim, *hidden_dims][-1], rnn_dim)
        require_memory_for_weights(n_weights, "the network", "lower hidden_dims or rnn_dim")
        self.state_shape = (rnn_dim,)
        self.body, width = mlp(input_dim, hidden_dims)
        self.rnn = nn.GRU(width, rnn_dim)
        self.norm = nn.LayerNorm(rnn_dim) if layer_norm else nn.Identity()
        self.head = linear_head(rnn_dim, spec.n_actions, noisy_sigma if noisy else None)
        if orthogonal:
            orthogonal_(self.body, self.head)

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Network.forward`."""
        hidden, last = run_gru(self.rnn, self.body(inputs.transpose(0, 1)), state)  # T B A H
        return self.head(self.norm(hidden)).transpose(0, 1), hidden.transpose(0, 1), last

    def write(self, recipe: Recipe, x: str, hidden: str) -> tuple[str, str, str]:
        """See `Network.write`."""
        hidden = recipe.gru(recipe.layers(x, *self.body), hidden, self.rnn)
        return recipe.layers(hidden, self.norm, self.head), hidden, hidden
