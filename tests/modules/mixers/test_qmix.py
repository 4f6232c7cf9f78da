"""The QMIX network, by hand and element by element."""

import math

import pytest
import torch

from hymarl.components.spec import EnvSpec
from hymarl.modules.mixers.base import MixerInputs
from hymarl.registry import ConfigError


def mixer_inputs(values, state):
    b, t, a = values.shape
    return MixerInputs(values, values, torch.zeros(b, t, a, dtype=torch.int64), torch.zeros(b, t, a, 1), state)


def set_linear(layer, weight, bias):
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        layer.bias.copy_(torch.tensor(bias))


def test_by_hand(component):
    # State 1, values (1, 1). First layer: |1| * 1 + |-2| * 1 - 5 = -2, elu(-2) = e^-2 - 1.
    # Second layer: |-3| * (e^-2 - 1); the state's own value: 0.5 * relu(2 * 1 - 1) + 0.25 = 0.75.
    spec = EnvSpec(n_agents=2, n_actions=2, obs_dim=1, state_dim=1, episode_limit=1)
    mixer = component("mixer", "qmix", spec, embed_dim=1, hypernet_layers=1, positive="abs")
    set_linear(mixer.weight_1, [[1.0], [-2.0]], [0.0, 0.0])
    set_linear(mixer.bias_1, [[0.0]], [-5.0])
    set_linear(mixer.weight_2, [[-3.0]], [0.0])
    set_linear(mixer.value[0], [[2.0]], [-1.0])
    set_linear(mixer.value[2], [[0.5]], [0.25])
    inputs = mixer_inputs(torch.ones(1, 1, 2), torch.ones(1, 1, 1))
    assert mixer(inputs).item() == pytest.approx(3 * (math.exp(-2) - 1) + 0.75, rel=1e-6)
    # With softplus the weights are log(1 + e^x) of the same numbers; the layer before elu is then positive.
    softplus = component("mixer", "qmix", spec, embed_dim=1, hypernet_layers=1, positive="softplus")
    softplus.load_state_dict(mixer.state_dict())
    set_linear(softplus.bias_1, [[0.0]], [5.0])
    w = [math.log1p(math.exp(x)) for x in (1, -2, -3)]
    assert softplus(inputs).item() == pytest.approx((w[0] + w[1] + 5) * w[2] + 0.75, rel=1e-6)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("positive", ["abs", "softplus"])
def test_equals_a_loop_over_every_element(component, layers, positive):
    spec = EnvSpec(n_agents=3, n_actions=2, obs_dim=1, state_dim=4, episode_limit=5)
    torch.manual_seed(0)
    settings = {"embed_dim": 5, "hypernet_layers": layers, "hypernet_dim": 6, "positive": positive}
    mixer = component("mixer", "qmix", spec, **settings).double()
    values, state = (torch.randn(2, 3, n, dtype=torch.float64) * 2 for n in (3, 4))
    mixed = mixer(mixer_inputs(values, state))
    make_positive = abs if positive == "abs" else lambda x: math.log1p(math.exp(x))
    for b in range(2):
        for t in range(3):
            s = state[b, t]
            w1, b1, w2, v = (net(s).tolist() for net in (mixer.weight_1, mixer.bias_1, mixer.weight_2, mixer.value))
            total = v[0]
            for e in range(5):
                hidden = b1[e]
                for agent in range(3):
                    hidden += values[b, t, agent].item() * make_positive(w1[agent * 5 + e])
                total += (hidden if hidden > 0 else math.expm1(hidden)) * make_positive(w2[e])
            assert mixed[b, t, 0].item() == pytest.approx(total, rel=1e-9)


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_number_of_parameters_as_in_the_paper(component):
    # One layer: hypernetwork 1: 4 -> 3*5, bias 4 -> 5, hypernetwork 2: 4 -> 5, value 4 -> 5 -> 1; each with a bias.
    spec = EnvSpec(n_agents=3, n_actions=2, obs_dim=1, state_dim=4, episode_limit=5)
    one = component("mixer", "qmix", spec, embed_dim=5, hypernet_layers=1, hypernet_dim=6)
    assert count(one) == (4 + 1) * 15 + (4 + 1) * 5 + (4 + 1) * 5 + (4 + 1) * 5 + (5 + 1) * 1
    # Two layers: the weights come through a hidden layer of 6.
    two = component("mixer", "qmix", spec, embed_dim=5, hypernet_layers=2, hypernet_dim=6)
    assert count(two) - count(one) == 2 * (4 + 1) * 6 + (6 + 1) * (15 + 5) - (4 + 1) * (15 + 5)


def test_other_numbers_of_layers_are_refused(component):
    spec = EnvSpec(n_agents=3, n_actions=2, obs_dim=1, state_dim=4, episode_limit=5)
    with pytest.raises(ConfigError, match="hypernet_layers must be at most 2, got 3"):
        component("mixer", "qmix", spec, hypernet_layers=3)


@pytest.mark.parametrize("positive", ["abs", "softplus", "square"])
def test_an_agent_gains_the_more_the_higher_the_others_values(component, positive):
    spec = EnvSpec(n_agents=2, n_actions=2, obs_dim=1, state_dim=3, episode_limit=1)
    torch.manual_seed(1)
    mixer = component("mixer", "qmix", spec, embed_dim=8, hypernet_layers=2, hypernet_dim=6, positive=positive).double()
    ladder = torch.linspace(-4, 4, 9, dtype=torch.float64)
    values = torch.cartesian_prod(ladder, ladder).expand(20, -1, -1)  # in 20 states
    state = torch.randn(20, 1, 3, dtype=torch.float64).expand(-1, 81, -1) * 3
    table = mixer(mixer_inputs(values, state)).view(20, 9, 9)
    mixed_differences = table.diff(dim=1).diff(dim=2)
    assert mixed_differences.min() >= -1e-9
    assert mixed_differences.max() > 1e-3
