"""Attention over agents."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...components.memory import linear_weights, require_memory_for_weights
from ...components.spec import EnvSpec
from ...ranges import Width
from ...registry import register
from .base import Mixer, MixerInputs, hypernet


@register("mixer")
class QattenMixer(Mixer):
    """A weighted sum of the agents' values, whose weights are made by attention of the state over the agents.

    Yang et al., "Qatten: A General Framework for Cooperative Multiagent Reinforcement Learning", 2020, eq. 10 to 13:
    Q_tot = c(s) + sum_h |w_h(s)| sum_i lambda_ih Q_i, where lambda_ih is the softmax over agents of
    q_h(s) . k_h(o_i) / sqrt(head_dim). The weights are positive and depend on no action, so the agents' own best
    actions together are the best joint action. Keys are made of each agent's observation (the authors take the
    agent's part of a StarCraft state), so agents may be listed in any order.

    Args:
        spec: sizes of the environment.
        n_heads: number of attention heads.
        head_dim: width of a head's query and key.
        hypernet_dim: width of the hidden layers that read the state.

    Raises:
        ValueError: it does not fit into memory.
    """

    def __init__(self, spec: EnvSpec, *, n_heads: Width, head_dim: Width, hypernet_dim: Width) -> None:
        super().__init__(spec)
        made = (n_heads * head_dim, n_heads, 1)
        n_weights = sum(linear_weights([spec.state_dim, hypernet_dim, out]) for out in made)
        n_weights += linear_weights([spec.obs_dim, n_heads * head_dim])
        require_memory_for_weights(n_weights, "the mixer", "lower n_heads, head_dim or hypernet_dim")
        self.query = hypernet(spec.state_dim, hypernet_dim, n_heads * head_dim)
        self.key = nn.Linear(spec.obs_dim, n_heads * head_dim, bias=False)  # the softmax would not see a bias
        self.head_weight = hypernet(spec.state_dim, hypernet_dim, n_heads)
        self.value = hypernet(spec.state_dim, hypernet_dim, 1)
        self._heads = n_heads, head_dim

    def mix(self, inputs: MixerInputs) -> Tensor:
        """See `Mixer.mix`."""
        query = self.query(inputs.state).unflatten(-1, self._heads).unsqueeze(-1)  # B T h D 1
        key = self.key(inputs.obs).unflatten(-1, self._heads).transpose(-3, -2)  # B T h A D
        weight = torch.softmax((key @ query).squeeze(-1) / self._heads[1] ** 0.5, dim=-1)  # B T h A
        heads = (weight @ inputs.values.unsqueeze(-1)).squeeze(-1)  # B T h
        mixed: Tensor = (self.head_weight(inputs.state).abs() * heads).sum(dim=-1, keepdim=True)
        return mixed + self.value(inputs.state)
