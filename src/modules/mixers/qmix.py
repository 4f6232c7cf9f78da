"""Monotonic value function factorization."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...components.memory import linear_weights, require_memory_for_weights
from ...components.spec import EnvSpec
from ...ranges import Range, Width
from ...registry import register
from .base import Mixer, MixerInputs, hypernet

_POSITIVE: Mapping[str, Callable[[Tensor], Tensor]] = {
    "abs": torch.abs,
    "softplus": F.softplus,
    "square": torch.square,
}


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
        positive: what makes weights non-negative: ``abs``, ``softplus`` or ``square``.

    Raises:
        ValueError: it does not fit into memory.
    """

    def __init__(
        self,
        spec: EnvSpec,
        *,
        embed_dim: Width,
        hypernet_layers: Annotated[int, Range(at_least=1, at_most=2)],
        hypernet_dim: Width,
        positive: Literal["abs", "softplus", "square"],
    ) -> None:
        super().__init__(spec)
        hidden = hypernet_dim if hypernet_layers == 2 else 0
        between = [hidden] if hidden else []
        made = (spec.n_agents * embed_dim, embed_dim)
        n_weights = sum(linear_weights([spec.state_dim, *between, out]) for out in made)
        n_weights += 2 * linear_weights([spec.state_dim, embed_dim])
        require_memory_for_weights(n_weights, "the mixer", "lower embed_dim or hypernet_dim")
        self.weight_1 = hypernet(spec.state_dim, hidden, spec.n_agents * embed_dim)
        self.bias_1 = nn.Linear(spec.state_dim, embed_dim)
        self.weight_2 = hypernet(spec.state_dim, hidden, embed_dim)
        self.value = hypernet(spec.state_dim, embed_dim, 1)
        self._positive = _POSITIVE[positive]
        self._embed_dim = embed_dim

    def mix(self, inputs: MixerInputs) -> Tensor:
        """See `Mixer.mix`."""
        state, values = inputs.state.flatten(0, -2), inputs.values.flatten(0, -2)  # N S and N A: one product per layer
        weight_1 = self._positive(self.weight_1(state)).unflatten(-1, (-1, self._embed_dim))  # N A E
        hidden = values.unsqueeze(-2) @ weight_1 + self.bias_1(state).unsqueeze(-2)  # N 1 E
        weight_2 = self._positive(self.weight_2(state)).unsqueeze(-1)  # N E 1
        mixed = (F.elu(hidden) @ weight_2).squeeze(-1) + self.value(state)  # N 1
        return mixed.view(*inputs.values.shape[:-1], 1)
