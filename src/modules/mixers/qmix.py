"""Monotonic value function factorization."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...components.spec import EnvSpec
from ...registry import register
from .base import Mixer, MixerInputs


@register("mixer")
class QMixer(Mixer):
    """A two-layer network whose non-negative weights are made from the state by hypernetworks.

    Rashid et al., "QMIX: Monotonic Value Function Factorisation for Deep Multi-Agent Reinforcement Learning", 2018,
    section 4: the joint value grows with each agent's value (eq. 5), so the agents' own best actions together are the
    best joint action.

    Args:
        spec: sizes of the environment.
        embed_dim: E, width of the mixing network.
        hypernet_layers: 1 or 2 layers in the hypernetworks that make weights.
        hypernet_dim: width of their hidden layer (with 2 layers).
        positive: what makes weights non-negative.

    Raises:
        ValueError: another number of layers, or a width below 1.
    """

    def __init__(
        self,
        spec: EnvSpec,
        *,
        embed_dim: int,
        hypernet_layers: int,
        hypernet_dim: int,
        positive: Literal["abs", "softplus"],
    ) -> None:
        super().__init__(spec)
        if hypernet_layers not in (1, 2):
            raise ValueError(f"hypernet_layers must be 1 or 2, got {hypernet_layers}")
        for name, width in (("embed_dim", embed_dim), ("hypernet_dim", hypernet_dim)):
            if width < 1:
                raise ValueError(f"{name} must be at least 1, got {width}")
        hidden = hypernet_dim if hypernet_layers == 2 else 0
        self.weight_1 = _hypernet(spec.state_dim, hidden, spec.n_agents * embed_dim)
        self.bias_1 = nn.Linear(spec.state_dim, embed_dim)
        self.weight_2 = _hypernet(spec.state_dim, hidden, embed_dim)
        self.value = _hypernet(spec.state_dim, embed_dim, 1)
        self._positive = torch.abs if positive == "abs" else F.softplus
        self._embed_dim = embed_dim

    def mix(self, inputs: MixerInputs) -> Tensor:
        """See `Mixer.mix`."""
        state, values = inputs.state.flatten(0, -2), inputs.values.flatten(0, -2)  # N S and N A: one product per layer
        weight_1 = self._positive(self.weight_1(state)).unflatten(-1, (-1, self._embed_dim))  # N A E
        hidden = values.unsqueeze(-2) @ weight_1 + self.bias_1(state).unsqueeze(-2)  # N 1 E
        weight_2 = self._positive(self.weight_2(state)).unsqueeze(-1)  # N E 1
        mixed = (F.elu(hidden) @ weight_2).squeeze(-1) + self.value(state)  # N 1
        return mixed.view(*inputs.values.shape[:-1], 1)


def _hypernet(state_dim: int, hidden_dim: int, out_dim: int) -> nn.Module:
    if not hidden_dim:
        return nn.Linear(state_dim, out_dim)
    return nn.Sequential(nn.Linear(state_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, out_dim))
