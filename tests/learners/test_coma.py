"""COMA: the exact gradient of a small game, numbers worked out by hand, and its critic's targets against plain sums."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from hymarl.app.assembly import build_trainer
from hymarl.components.episode import EpisodeBatch
from hymarl.components.replay.base import Sample
from hymarl.components.spec import EnvSpec
from hymarl.controllers.base import Controller
from hymarl.modules.critics.base import ActionCritic
from hymarl.registry import ConfigError

PAYOFFS = torch.tensor([[8.0, -12, -12], [-12, 0, 0], [-12, 0, 0]], dtype=torch.float64)
GAME = EnvSpec(n_agents=2, n_actions=3, obs_dim=1, state_dim=1, episode_limit=1)
LENGTHS = [6, 1, 4, 3]  # the first and third terminate, the others are cut off


class Logits(Controller):
    """A table of logits for each agent."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def initial_state(self, keys):
        return torch.zeros(len(keys), 2, 0)

    def step(self, obs, last_actions, state):
        raise NotImplementedError

    def unroll(self, batch):
        return self.logits.expand(*batch.obs.shape[:2], -1, -1), batch.obs


class Payoffs(ActionCritic):
    """The critic that knows the game."""

    def __init__(self):
        super().__init__(GAME)
        self.table = nn.Parameter(PAYOFFS.clone())

    def forward(self, batch, actions):
        return torch.stack([self.table[:, actions[..., 1]].movedim(0, -1), self.table[actions[..., 0]]], dim=2)


def every_joint_action():
    joint = torch.tensor(list(itertools.product(range(3), repeat=2)))
    batch = EpisodeBatch.empty(GAME, 9, 1)
    batch.actions[:, 0], batch.reward[:, 0] = joint.to(batch.actions.dtype), PAYOFFS.flatten().float()
    batch.filled[:], batch.terminated[:] = True, True
    return batch, joint


@pytest.fixture(scope="session")
def knowing(component):
    def make(logits):
        parts = Logits(logits), Payoffs(), component("optimizer", "adam")
        return component("learner", "coma", *parts, entropy_weight=0.0)

    return make


@pytest.mark.parametrize("seed", range(5))
def test_the_expected_gradient_is_that_of_the_expected_payoff(knowing, seed):
    torch.manual_seed(seed)
    logits = torch.randn(2, 3, dtype=torch.float64)
    learner, (batch, joint) = knowing(logits), every_joint_action()
    policy = logits.softmax(dim=-1)
    chance = policy[0, joint[:, 0]] * policy[1, joint[:, 1]]
    learner.loss(batch, chance * 9)[0].backward()  # the mean is over 9 episodes and 2 agents
    exact = logits.clone().requires_grad_()
    policy = exact.softmax(dim=-1)
    (policy[0] @ PAYOFFS @ policy[1]).backward()
    assert torch.allclose(learner.controller.logits.grad, -exact.grad / 2, atol=1e-9)


def test_an_advantage_by_hand(knowing):
    """Both uniform, both took action 0: 8 instead of (8 - 12 - 12) / 3 = -5.3333, so 13.3333 times log 3."""
    batch, _ = every_joint_action()
    _, metrics, _ = knowing(torch.zeros(2, 3, dtype=torch.float64)).loss(batch.select(torch.tensor([0])))
    assert metrics["policy_loss"].item() == pytest.approx(13.33333 * np.log(3), rel=1e-5)
    assert metrics["entropy"].item() == pytest.approx(np.log(3))


@pytest.fixture(scope="session")
def make_learner(component, make_controller, spec):
    def make(**changes):
        torch.manual_seed(4)
        parts = make_controller(spec, "rnn"), component("critic", "central_q", spec, hidden_dims=[16])
        learner = component("learner", "coma", *parts, component("optimizer", "adam", lr=0.01), **changes)
        for weight in learner.targets.parameters():  # so that online and target networks differ
            weight.data += 0.1 * torch.randn(weight.shape)
        return learner

    return make


def test_advantages_are_in_units_of_rewards_also_with_normalized_values(component):
    """The critic says (payoff - 3) / 6, which means the payoff: the advantage of both taking action 0 is 13.3333."""
    batch, _ = every_joint_action()
    parts = Logits(torch.zeros(2, 3, dtype=torch.float64)), Payoffs(), component("optimizer", "adam")
    learner = component("learner", "coma", *parts, entropy_weight=0.0, normalize_values=True)
    learner.value_scaler.observe(torch.tensor([[[-3.0], [9.0]]]), torch.ones(1, 2, dtype=torch.bool))
    learner.critic.table.data = (PAYOFFS - 3) / 6
    _, metrics, _ = learner.loss(batch.select(torch.tensor([0])))
    assert metrics["policy_loss"].item() == pytest.approx(13.33333 * np.log(3), rel=1e-5)
    assert metrics["target_mean"].item() == pytest.approx(8)


@pytest.mark.parametrize("seed", range(3))
def test_the_critics_loss_equals_plain_sums(make_learner, random_batch, spec, seed):
    learner, batch, gamma = make_learner(gamma=0.9, td_lambda=0.0), random_batch(spec, LENGTHS, seed=seed), 0.9
    with torch.no_grad():
        scores = learner.controller.unroll(batch)[0].masked_fill(~batch.avail, -torch.inf)
        joint = torch.cat([batch.actions.long(), torch.zeros_like(batch.actions[:, :1]).long()], dim=1)
        for b, length in enumerate(LENGTHS):
            joint[b, length] = scores[b, length].argmax(dim=-1)
        q, target_q = learner.critic(batch, joint), learner.targets.networks["critic"](batch, joint)
        errors = []
        for b, length in enumerate(LENGTHS):
            for t, i in itertools.product(range(length), range(spec.n_agents)):
                y = batch.reward[b, t]
                if not batch.terminated[b, t]:
                    y = y + gamma * target_q[b, t + 1, i, joint[b, t + 1, i]]
                errors.append((q[b, t, i, joint[b, t, i]] - y).item())
    loss, metrics, _ = learner.loss(batch)
    assert metrics["td_error_abs"].item() == pytest.approx(np.abs(errors).mean(), rel=1e-5)
    wanted = np.square(errors).mean() + metrics["policy_loss"].item() - 0.01 * metrics["entropy"].item()
    assert loss.item() == pytest.approx(wanted, rel=1e-5)


def test_an_agents_own_action_changes_nothing_for_it_and_that_of_another_does(component, random_batch, spec):
    torch.manual_seed(0)
    critic, batch = component("critic", "central_q", spec), random_batch(spec, LENGTHS)
    actions = torch.zeros(4, 7, 2, dtype=torch.int64)
    before, actions[..., 0] = critic(batch, actions), 3
    after = critic(batch, actions)
    torch.testing.assert_close(
        before[:, :, 0], after[:, :, 0], rtol=0, atol=1e-6
    )  # its own row is added and taken away
    assert not torch.isclose(before[:, :, 1], after[:, :, 1]).any()


def test_it_learns_a_collection(make_learner, random_batch, spec):
    learner, batch = make_learner(), random_batch(spec, LENGTHS)
    metrics = [learner.update(Sample(batch, np.arange(4))).metrics for _ in range(40)]
    assert metrics[-1]["td_error_abs"] < 0.8 * metrics[0]["td_error_abs"]
    assert all(x.isfinite() for x in metrics[-1].values())
    assert tuple(metrics[0]) == learner.metric_names


def test_episodes_that_the_policy_did_not_sample_are_refused(configured):
    config = configured("env=two_step", "algo=coma", "selector=epsilon_greedy")
    with pytest.raises(ConfigError, match="learner=coma learns from samples of its own policy, and selector=epsilon_"):
        build_trainer(config)
