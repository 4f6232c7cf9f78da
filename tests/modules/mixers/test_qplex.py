"""Duplex dueling, by hand."""

import pytest
import torch
from torch import nn

from hymarl.components.spec import EnvSpec
from hymarl.modules.mixers.base import MixerInputs

SPEC = EnvSpec(n_agents=2, n_actions=3, obs_dim=1, state_dim=1, episode_limit=1)


@pytest.fixture(scope="session")
def qplex(component):
    """A mixer whose w, b and lambda are these numbers, lambda being a table of joint actions ``[U, U, 2]``."""

    def make(weight, bias, table):
        mixer = component("mixer", "qplex", SPEC)
        for layer, numbers in ((mixer.weight, weight), (mixer.bias, bias)):
            nn.init.zeros_(layer[-1].weight)
            layer[-1].bias.data = torch.tensor(numbers)
        mixer._lambda = lambda inputs: table[inputs.actions[..., 0], inputs.actions[..., 1]]
        return mixer

    return make


def mixer_inputs(values, best, actions):
    cells = (torch.as_tensor(x).view(1, 1, 2) for x in (values, best, actions))
    return MixerInputs(*cells, torch.zeros(1, 1, 2, 1), torch.ones(1, 1, 1))


def test_by_hand(qplex):
    # Q' = (2 * 1 + 0.1, 0.5 * 3 - 0.2) = (2.1, 1.3), V' = (2 * 2 + 0.1, 1.3), A' = (-2, 0), Q_tot = 5.4 - 1.5 * 2.
    values = torch.tensor([1.0, 3.0], requires_grad=True)
    mixed = qplex([-2.0, 0.5], [0.1, -0.2], torch.tensor([1.5, 0.7]).expand(3, 3, 2))(
        mixer_inputs(values, [2.0, 3.0], [0, 0])
    )
    assert mixed.item() == pytest.approx(2.4)
    mixed.backward()
    assert values.grad.tolist() == pytest.approx([2.0, 0.5])  # w, since no gradient goes through A'


def test_it_represents_a_game_that_no_monotonic_mixer_does(qplex):
    payoffs = torch.tensor([[8.0, -12, -12], [-12, 0, 0], [-12, 0, 0]])
    table = torch.full((3, 3, 2), 4.0)
    table[0, 1:, 1] = table[1:, 0, 0] = 20.0  # whoever deviates alone from (0, 0)
    mixer, q = qplex([1.0, 1.0], [4.0, 4.0], table), torch.tensor([0.0, -1.0, -1.0])
    for i in range(3):
        for j in range(3):
            mixed = mixer(mixer_inputs(torch.stack([q[i], q[j]]), [0.0, 0.0], [i, j]))
            assert mixed.item() == pytest.approx(payoffs[i, j].item())


def test_lambda_depends_on_the_joint_action_and_is_above_0(component):
    torch.manual_seed(0)
    mixer = component("mixer", "qplex", SPEC)
    weights = torch.stack([
        mixer._lambda(mixer_inputs([0.0, 0.0], [0.0, 0.0], [i, j])).flatten() for i in range(3) for j in range(3)
    ])  # fmt: skip
    assert weights.min() > 0
    assert len(weights.unique(dim=0)) == 9
