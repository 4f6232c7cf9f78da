"""Duplex dueling."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...components.memory import linear_weights, require_memory_for_weights
from ...components.spec import EnvSpec
from ...ranges import Layers, Width
from ...registry import register
from ..agents.base import mlp_to_output
from .base import Mixer, MixerInputs, hypernet

_POSITIVE = 1e-10  # added to weights, as by the authors, so that they are never 0


@register("mixer")
class QPLEXMixer(Mixer):
    """A value and an advantage of the joint action, each made of those of the agents.

    Wang et al., "QPLEX: Duplex Dueling Multi-Agent Q-Learning", 2021, eq. 8 to 12. The agents' values become
    Q'_i = w_i(s) Q_i + b_i(s) with w_i > 0, V'_i is the best of them and A'_i = Q'_i - V'_i <= 0. Then
    Q_tot = sum_i V'_i + sum_i lambda_i(s, u) A'_i with lambda_i > 0, so the joint action is best if every agent's is.
    Any joint value whose best joint action consists of the agents' best ones can be represented.

    As in the authors' code (wjh720/QPLEX), Q_tot = sum_i Q'_i + sum_i (lambda_i - 1) A'_i, where no gradient goes
    through A'_i; without this it learns hardly anything that VDN does not.

    Args:
        spec: sizes of the environment.
        n_heads: number of heads of lambda, each a positive key of the state times what the agents and actions give.
        lambda_layers: layers of each of the three networks that lambda is made of.
        lambda_dim: width of their hidden layers.
        hypernet_dim: width of the hidden layers of w and b.
        transform: whether there are w and b (the authors' ``weighted_head``); else Q'_i = Q_i. With them w may fall
            towards 0 while lambda grows, and the best joint action of a small game is found less often.

    Raises:
        ValueError: it does not fit into memory.
    """

    def __init__(
        self,
        spec: EnvSpec,
        *,
        n_heads: Width,
        lambda_layers: Layers,
        lambda_dim: Width,
        hypernet_dim: Width,
        transform: bool,
    ) -> None:
        super().__init__(spec)
        a, s, hidden = spec.n_agents, spec.state_dim, [lambda_dim] * (lambda_layers - 1)
        widths = [[s, *hidden, n_heads], [s, *hidden, n_heads * a], [s + a * spec.n_actions, *hidden, n_heads * a]]
        n_weights = 2 * linear_weights([s, hypernet_dim, a]) if transform else 0
        n_weights += sum(map(linear_weights, widths))
        require_memory_for_weights(n_weights, "the mixer", "lower n_heads, lambda_layers, lambda_dim or hypernet_dim")
        self._transform = transform
        if transform:
            self.weight = hypernet(s, hypernet_dim, a)
            self.bias = hypernet(s, hypernet_dim, a)
        self.keys, self.agents, self.actions = (mlp_to_output(*of_one) for of_one in widths)
        self._n_actions = spec.n_actions

    def mix(self, inputs: MixerInputs) -> Tensor:
        """See `Mixer.mix`."""
        value, best = inputs.values, inputs.best  # B T A
        if self._transform:
            weight, bias = self.weight(inputs.state).abs() + _POSITIVE, self.bias(inputs.state)
            value, best = weight * value + bias, weight * best + bias
        advantage = (value - best).detach()
        further = (self._lambda(inputs) - 1) * advantage
        return (value + further).sum(dim=-1, keepdim=True)

    def _lambda(self, inputs: MixerInputs) -> Tensor:
        """How much each agent's advantage counts, ``[B, T, A]``, above 0."""
        state = inputs.state
        actions = F.one_hot(inputs.actions, self._n_actions).flatten(-2).to(state.dtype)  # B T A*U
        keys = self.keys(state).abs().unsqueeze(-1) + _POSITIVE  # B T K 1
        agents = self.agents(state).unflatten(-1, (-1, self._n_agents)).sigmoid()  # B T K A
        taken = self.actions(torch.cat([state, actions], dim=-1)).unflatten(-1, (-1, self._n_agents)).sigmoid()
        weights: Tensor = (keys * agents * taken).sum(dim=-2)
        return weights
