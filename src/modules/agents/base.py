"""The contract of agent networks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..gru import unroll
from ..noisy import NoisyLinear
from ..recipe import NoRecipeError, Recipe


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

    def write(self, recipe: Recipe, x: str, hidden: str) -> tuple[str, str, str]:
        """Write down what `forward` does in one step, so that it can be done without torch.

        With few rows most of the time of a forward pass is the overhead of calls, which is smaller in NumPy; and a
        policy can be exported.

        Args:
            recipe: to write into.
            x: name of the inputs ``[N, I]`` or ``[N, K, I]`` of N agents.
            hidden: name of their recurrent state ``[N, *state_shape]``.

        Returns:
            Names of the scores ``[N, U]``, the features ``[N, H]`` and the next recurrent state.

        Raises:
            NoRecipeError: that is not possible, as for a network that does not define this method itself.
        """
        raise NoRecipeError("does not say how to compute it without torch")


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


class Body(nn.Sequential):
    """Layers over the last axis, for inputs with any number of axes.

    Leading axes are flattened before the layers and restored after them: with more than two axes ``nn.Linear`` returns
    a view, and because of a ReLU in place on a view the backward pass copies the whole tensor.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """From ``[*, I]`` to ``[*, O]``."""
        outputs: Tensor = super().forward(inputs.flatten(0, -2) if inputs.dim() > 2 else inputs)
        return outputs.unflatten(0, inputs.shape[:-1]) if inputs.dim() > 2 else outputs


def mlp(input_dim: int, hidden_dims: list[int]) -> tuple[Body, int]:
    """Linear layers with ReLU after each, and the width of the last."""
    layers: list[nn.Module] = []
    for width in hidden_dims:
        layers += [nn.Linear(input_dim, width), nn.ReLU(inplace=True)]  # nobody needs what went in
        input_dim = width
    return Body(*layers), input_dim


def mlp_to_output(*widths: int) -> Body:
    """Linear layers with ReLU between them, from the first of these widths to the last."""
    body, width = mlp(widths[0], list(widths[1:-1]))
    return body.append(nn.Linear(width, widths[-1]))


def linear_head(n_inputs: int, n_outputs: int, sigma: float | None) -> nn.Linear:
    """The last layer: a `NoisyLinear` with this initial scale of its noise; ``None``: without noise."""
    return nn.Linear(n_inputs, n_outputs) if sigma is None else NoisyLinear(n_inputs, n_outputs, sigma)


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
