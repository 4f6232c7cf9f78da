"""The recurrent agent network of the PyMARL family."""

from __future__ import annotations

from torch import Tensor, nn

from ...components.spec import EnvSpec, FloatArray
from ...registry import register
from ..gru import gru_stepper
from .base import ArrayStepper, Network, dense, is_dense, mlp, orthogonal_, run_gru


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

    Raises:
        ValueError: a width below 1.
    """

    def __init__(
        self,
        spec: EnvSpec,
        input_dim: int,
        *,
        hidden_dims: list[int],
        rnn_dim: int,
        orthogonal: bool,
        layer_norm: bool,
    ) -> None:
        super().__init__()
        if rnn_dim < 1:
            raise ValueError(f"rnn_dim must be at least 1, got {rnn_dim}")
        self.state_shape = (rnn_dim,)
        self.body, width = mlp(input_dim, hidden_dims)
        self.rnn = nn.GRU(width, rnn_dim)
        self.norm = nn.LayerNorm(rnn_dim) if layer_norm else nn.Identity()
        self.head = nn.Linear(rnn_dim, spec.n_actions)
        if orthogonal:
            orthogonal_(self.body, self.head)

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Network.forward`."""
        hidden, last = run_gru(self.rnn, self.body(inputs.transpose(0, 1)), state)  # T B A H
        return self.head(self.norm(hidden)).transpose(0, 1), hidden.transpose(0, 1), last

    def stepper(self) -> ArrayStepper | None:
        """See `Network.stepper`."""
        if not is_dense([*self.body, self.norm, self.head]):
            return None
        body, recur, head = dense(self.body), gru_stepper(self.rnn), dense([self.norm, self.head])

        def step(inputs: FloatArray, state: FloatArray) -> tuple[FloatArray, FloatArray]:
            hidden = recur(body(inputs.reshape(-1, inputs.shape[-1])), state.reshape(-1, state.shape[-1]))
            return head(hidden).reshape(*inputs.shape[:-1], -1), hidden.reshape(state.shape)

        return step
