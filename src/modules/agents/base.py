"""The contract of agent networks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ...components.spec import FloatArray
from ..gru import unroll
from ..noisy import NoisyLinear

ArrayStepper = Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray, FloatArray]]
"""From inputs ``[B, A, I]`` and state ``[B, A, *state_shape]`` to scores ``[B, A, U]``, features ``[B, A, H]`` and the
next state."""


class Network(nn.Module, ABC):
    """Scores of one agent's actions from its inputs over time; the agents are a batch axis.

    A network is a class in ``src/modules/agents/`` decorated with ``@register("network")`` whose constructor takes
    ``(spec, input_dim, *, settings...)``.

    Attributes:
        takes_entities: whether the inputs are ``[B, T, A, K, I]``, one row per entity, instead of ``[B, T, A, I]``.
        state_shape: shape of one agent's recurrent state, ``(0,)`` for a feed-forward network.
    """

    takes_entities: ClassVar[bool] = False
    state_shape: tuple[int, ...] = (0,)

    @abstractmethod
    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Unroll over T steps (1 when acting).

        Args:
            inputs: ``[B, T, A, I]`` or, with entities, ``[B, T, A, K, I]``.
            state: ``[B, A, *state_shape]``, the recurrent state before the first step.

        Returns:
            Scores ``[B, T, A, U]``, features ``[B, T, A, H]`` (what scores were made of, for mixers and critics), and
            the recurrent state after the last step.
        """

    def stepper(self) -> ArrayStepper | None:
        """`forward` of one step without gradients on arrays, reading the weights where they are now; or ``None``.

        With few rows most of the time of a forward pass is the overhead of calls, which is smaller in NumPy.
        """
        return None


def orthogonal_(hidden: Iterable[nn.Module], *heads: nn.Linear, head_gain: float = 0.01) -> None:
    """Orthogonal weights and zero bias: gain 1 for the linear layers among ``hidden``, 0.01 for heads, as in PyMARL2.

    Saxe et al., "Exact solutions to the nonlinear dynamics of learning", 2014; Hu et al., "Rethinking the
    Implementation Tricks and Monotonicity Constraint in Cooperative Multi-Agent Reinforcement Learning", 2021.
    """
    layers = [(layer, 1.0) for layer in hidden if isinstance(layer, nn.Linear)] + [(head, head_gain) for head in heads]
    for layer, gain in layers:
        nn.init.orthogonal_(layer.weight, gain=gain)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def mlp(input_dim: int, hidden_dims: list[int]) -> tuple[nn.Sequential, int]:
    """Linear layers with ReLU after each, and the width of the last."""
    layers: list[nn.Module] = []
    for width in hidden_dims:
        layers += [nn.Linear(input_dim, width), nn.ReLU(inplace=True)]  # nobody needs what went in
        input_dim = width
    return nn.Sequential(*layers), input_dim


def linear_head(n_inputs: int, n_outputs: int, sigma: float | None) -> nn.Linear:
    """The last layer: a `NoisyLinear` with this initial scale of its noise; ``None``: without noise."""
    return nn.Linear(n_inputs, n_outputs) if sigma is None else NoisyLinear(n_inputs, n_outputs, sigma)


def is_dense(layers: Iterable[nn.Module]) -> bool:
    """Whether `dense` can compute all of these layers."""
    return all(type(layer) in (nn.Linear, NoisyLinear, nn.ReLU, nn.Identity) for layer in layers)


def dense(layers: Iterable[nn.Module]) -> Callable[[FloatArray], FloatArray]:
    """The layers as a NumPy function of rows ``[N, I]`` that reads their weights where they are in memory."""
    weights = [
        (x.weight.detach().numpy().T, 0 if x.bias is None else x.bias.detach().numpy())
        if isinstance(x, nn.Linear)
        else None
        for x in layers
        if not isinstance(x, nn.Identity)
    ]

    def apply(x: FloatArray) -> FloatArray:
        for layer in weights:
            if layer is None:
                x = np.maximum(x, 0)
            else:
                x = x @ layer[0]
                x += layer[1]
        return x

    return apply


def run_gru(gru: nn.GRU, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """A GRU over time with the other leading axes as batch.

    Args:
        gru: one layer, time first.
        inputs: ``[T, B, *, I]``: time is the first axis here, as it is in memory.
        state: ``[B, *, H]``.

    Returns:
        Outputs ``[T, B, *, H]`` and the state after the last step ``[B, *, H]``.
    """
    lead = inputs.shape[:-1]
    out = unroll(gru, inputs.flatten(1, -2), state.flatten(0, -2)).view(*lead, -1)
    return out, out[-1]


def zero_state(network: Network, n_envs: int, n_agents: int, device: torch.device) -> Tensor:
    """The recurrent state at the start of an episode, ``[B, A, *state_shape]``."""
    return torch.zeros(n_envs, n_agents, *network.state_shape, device=device)
