"""Attention over agents, by hand and under permutations."""

import math

import pytest
import torch
from torch import nn

from hymarl.components.spec import EnvSpec
from hymarl.modules.mixers.base import MixerInputs


def test_by_hand(component):
    # Two heads of width 4. Head 0: query (2, 0, 0, 0), keys (o, 0, 0, 0): logits 2 * o / sqrt(4) = o. Head 1: query 0.
    spec = EnvSpec(n_agents=2, n_actions=2, obs_dim=1, state_dim=1, episode_limit=1)
    mixer = component("mixer", "qatten", spec, n_heads=2, head_dim=4)
    for network, numbers in ((mixer.query, [2.0] + [0.0] * 7), (mixer.head_weight, [-3.0, 0.5]), (mixer.value, [0.25])):
        nn.init.zeros_(network[-1].weight)
        network[-1].bias.data = torch.tensor(numbers)
    mixer.key.weight.data = torch.eye(8)[:, :1]
    inputs = MixerInputs(
        torch.tensor([[[1.0, 5.0]]]),
        torch.tensor([[[1.0, 5.0]]]),
        torch.zeros(1, 1, 2, dtype=torch.int64),
        torch.tensor([[[[0.0], [math.log(3)]]]]),  # weights 1/4 and 3/4
        torch.ones(1, 1, 1),
    )
    assert mixer(inputs).item() == pytest.approx(3 * (0.25 * 1 + 0.75 * 5) + 0.5 * 3 + 0.25)


def test_the_order_of_agents_does_not_matter(component):
    torch.manual_seed(0)
    spec = EnvSpec(n_agents=4, n_actions=2, obs_dim=3, state_dim=2, episode_limit=1)
    mixer, order = component("mixer", "qatten", spec), torch.tensor([2, 0, 3, 1])
    values, obs, state = torch.randn(2, 5, 4), torch.randn(2, 5, 4, 3), torch.randn(2, 5, 2)
    actions = torch.zeros(2, 5, 4, dtype=torch.int64)
    mixed = mixer(MixerInputs(values, values, actions, obs, state))
    permuted = mixer(MixerInputs(values[..., order], values[..., order], actions, obs[:, :, order], state))
    assert torch.allclose(mixed, permuted, atol=1e-6)
    assert not torch.allclose(mixed, mixer(MixerInputs(values, values, actions, obs[:, :, order], state)), atol=1e-3)
