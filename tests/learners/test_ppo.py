"""PPO: numbers worked out by hand, the policy gradient, and what its ratio is made of."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from hymarl.components.episode import EpisodeBatch
from hymarl.components.replay.base import Sample
from hymarl.components.rng import Stream
from hymarl.learners import losses
from hymarl.learners.decisions import decisions
from hymarl.learners.value_scaler import ValueScaler
from hymarl.modules.critics.base import StateCritic
from hymarl.policies.learned import LearnedPolicy

LENGTHS = [6, 1, 4, 3]  # the first and third terminate, the others are cut off


class Said(StateCritic):
    """A critic that says the first number of the state."""

    n_values = 1

    def __init__(self, spec):
        super().__init__(spec)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, batch):
        return batch.state[..., :1] * self.scale


PLAIN = {"normalize_advantages": False, "normalize_values": False, "value_clip": None, "huber_delta": None}


@pytest.fixture(scope="session")
def make_learner(component, make_controller, spec):
    def make(critic=None, network="rnn", made_for=spec, **changes):
        torch.manual_seed(3)
        controller = make_controller(made_for, network)
        critic = component("critic", critic, made_for) if isinstance(critic, str) else Said(made_for)
        return component("learner", "ppo", controller, critic, component("optimizer", "adam", lr=0.01), **changes)

    return make


def with_log_prob(learner, batch, shift=0.0):
    """The batch with the probabilities of the learner's own policy, shifted, as the column of those that acted."""
    columns = {"log_prob": learner_column(batch)}
    with torch.no_grad():
        log_prob = decisions(batch, learner.controller.unroll(batch)[0]).log_prob * batch.filled.unsqueeze(-1)
    return batch.extended(columns, {"log_prob": log_prob + shift})


def learner_column(batch):
    from hymarl.components.episode import Column

    return Column((batch.actions.shape[-1],), torch.float32, "T")


def test_advantages_by_hand(make_learner, spec):
    """Two episodes of two steps, rewards 1, 2 and 3, 4: the first terminates, the second is cut off with value 2.5."""
    batch = EpisodeBatch.empty(spec, 2, 2)
    batch.state[0, :2, 0], batch.state[1, :, 0] = torch.tensor([0.5, 1.0]), torch.tensor([1.5, 2.0, 2.5])
    batch.reward[:] = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    batch.filled[:], batch.terminated[0, 1] = True, True
    prepared = make_learner(**PLAIN, gamma=0.99, gae_lambda=0.95).prepare(batch)
    assert prepared.extras["advantages"].flatten().tolist() == pytest.approx([2.4305, 1.0, 7.6887, 4.475], abs=1e-4)
    assert prepared.extras["returns"].flatten().tolist() == pytest.approx([2.9305, 2.0, 9.1887, 6.475], abs=1e-4)
    assert prepared.extras["old_outputs"].flatten().tolist() == [0.5, 1.0, 1.5, 2.0]


@pytest.mark.parametrize(
    ("ratio", "advantage", "gain"), [(1.5, 2.0, 2.4), (0.5, 2.0, 1.0), (1.5, -2.0, -3.0), (0.5, -2.0, -1.6)]
)
def test_the_clipped_gain_by_hand(make_learner, random_batch, spec, ratio, advantage, gain):
    learner = make_learner(**PLAIN, clip=0.2, entropy_weight=0.0, value_weight=0.0)
    batch = learner.prepare(random_batch(spec, LENGTHS))
    batch.avail[:] = True
    batch = with_log_prob(learner, batch, -float(np.log(ratio)))
    batch.extras["advantages"][:] = advantage
    loss, metrics, _ = learner.loss(batch)
    assert loss.item() == pytest.approx(-gain, rel=1e-5)
    assert metrics["clipped"].item() == 1.0
    assert metrics["kl"].item() == pytest.approx(ratio - 1 - np.log(ratio), rel=1e-4)


@pytest.mark.parametrize("critic", ["central_v", "own_v"])
def test_the_first_gradient_is_the_policy_gradient(make_learner, random_batch, spec, critic):
    learner = make_learner(critic, entropy_weight=0.0, value_weight=0.0)
    batch = with_log_prob(learner, learner.prepare(random_batch(spec, LENGTHS)))
    learner.loss(batch)[0].backward()
    found = [p.grad.clone() for p in learner.controller.parameters()]
    learner.networks.zero_grad(set_to_none=True)
    log_probs = learner.controller.unroll(batch)[0].masked_fill(~batch.avail, -torch.inf).log_softmax(dim=-1)
    total, n = torch.zeros(()), 0
    for b, length in enumerate(LENGTHS):
        for t in range(length):
            for agent in range(spec.n_agents):
                if batch.avail[b, t, agent].sum() > 1:
                    advantages = batch.extras["advantages"][b, t]
                    advantage = advantages[agent] if len(advantages) > 1 else advantages[0]
                    total = total - advantage * log_probs[b, t, agent, batch.actions[b, t, agent].long()]
                    n += 1
    (total / n).backward()
    wanted = [p.grad for p in learner.controller.parameters()]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found, wanted, strict=True))
    assert any(gradient.abs().max() > 1e-4 for gradient in wanted)


@pytest.mark.parametrize("network", ["rnn", "mlp", "entity"])
def test_what_acted_is_what_learns(component, make_controller, random_env, network):
    """Before the first update the ratio is 1 in every cell, recurrent states and ends of episodes included."""
    if network == "entity":
        pytest.skip("the environment of this test lists no entities")
    runner = component("runner", "parallel", random_env, 0, Stream.TRAINING, n_envs=5, workers=0)
    torch.manual_seed(1)
    controller = make_controller(runner.spec, network)
    learner = component("learner", "ppo", controller, Said(runner.spec), component("optimizer", "adam"))
    policy = LearnedPolicy(runner.spec, controller, component("selector", "softmax", runner.spec))
    batch = runner.play(policy, np.arange(20)).batch
    assert len(set(batch.lengths.tolist())) > 1
    difference = decisions(batch, learner.controller.unroll(batch)[0]).log_prob - batch.extras["log_prob"]
    assert difference[batch.filled].abs().max() < 1e-6


def test_an_agent_without_a_choice_does_not_count(make_learner, random_batch, spec):
    learner = make_learner(**PLAIN)
    batch = random_batch(spec, LENGTHS)
    batch.avail[:, :-1, 1] = False
    batch.avail[:, :-1, 1].scatter_(-1, batch.actions[:, :, 1:].long(), True)
    prepared = with_log_prob(learner, learner.prepare(batch))
    prepared.extras["log_prob"][:, :, 1] = 5.0  # would make a ratio far from 1
    _, metrics, _ = learner.loss(prepared)
    assert metrics["clipped"].item() == 0.0
    assert metrics["entropy"].item() > 0.1


def test_the_value_loss_by_hand(make_learner, spec):
    """Old value 1, now 1.5, return 3: 2.25; with a clip of 0.2 the value counts as 1.2, which is worse: 3.24."""

    def value_loss(**changes):
        learner = make_learner(**PLAIN | changes, gamma=0.0, entropy_weight=0.0)
        batch = EpisodeBatch.empty(spec, 1, 1)
        batch.state[:, 0, 0], batch.reward[:], batch.filled[:], batch.terminated[:] = 1.0, 3.0, True, True
        batch = with_log_prob(learner, learner.prepare(batch))
        learner.critic.scale.data.fill_(1.5)
        return learner.loss(batch)[1]["value_loss"].item()

    assert value_loss() == pytest.approx(2.25)
    assert value_loss(value_clip=0.2) == pytest.approx(3.24)
    assert value_loss(huber_delta=1.0) == pytest.approx(1.0 * (2 * 1.5 - 1.0))


def test_running_means_of_returns_by_hand():
    scaler = ValueScaler(0.5)
    filled = torch.tensor([[True, True, False]])
    assert (scaler.mean.item(), scaler.std.item()) == (0.0, 1.0)
    scaler.observe(torch.tensor([[[1.0], [3.0], [99.0]]]), filled)
    assert (scaler.mean.item(), scaler.std.item()) == (2.0, 1.0)
    scaler.observe(torch.tensor([[[5.0], [7.0], [99.0]]]), filled)
    assert scaler.mean.item() == pytest.approx(4.66667, abs=1e-4)
    assert scaler.std.item() ** 2 == pytest.approx(4.55556, abs=1e-4)
    x = torch.tensor([-3.0, 8.0])
    assert torch.allclose(scaler.restored(scaler.normalized(x)), x, atol=1e-5)


def test_before_the_first_update_the_critic_is_where_it_was_whatever_the_rewards(make_learner, random_batch, spec):
    """The clip of values is around what the critic said, in its own units, which the first returns change."""
    learner, batch = make_learner("central_v", value_clip=0.2), random_batch(spec, LENGTHS)
    batch.reward[:] = batch.reward + 50
    prepared = learner.prepare(batch)
    said = learner.critic(batch)[:, :-1]
    assert torch.equal(prepared.extras["old_outputs"], torch.where(batch.filled.unsqueeze(-1), said, 0.0))
    assert learner.value_scaler.mean.item() > 40
    error = said - learner.value_scaler.normalized(prepared.extras["returns"])
    wanted = losses.td_loss(error, batch.filled, 10.0)
    _, metrics, _ = learner.loss(with_log_prob(learner, prepared))
    assert metrics["value_loss"].item() == pytest.approx(wanted.item(), rel=1e-5)
    again = learner.prepare(batch)  # values are in units of rewards now
    assert again.extras["returns"][batch.filled].mean() > prepared.extras["returns"][batch.filled].mean() + 5


def test_gradients_of_policy_and_critic_are_clipped_apart(make_learner, random_batch, spec):
    def gradients(**changes):
        learner = make_learner("central_v", **changes)
        batch = with_log_prob(learner, learner.prepare(random_batch(spec, LENGTHS)))
        learner.update(Sample(batch, np.arange(4)))
        return {
            name: torch.cat([p.grad.flatten() for p in network.parameters()]).norm().item()
            for name, network in learner.networks.items()
            if name != "value_scaler"
        }

    free, small = gradients(grad_clip=None, value_weight=100.0), gradients(grad_clip=0.01, value_weight=100.0)
    assert free["critic"] > 10 * free["controller"] > 0.1
    assert small == pytest.approx({"controller": 0.01, "critic": 0.01}, rel=1e-2)


@pytest.mark.parametrize("individual", [False, True])
@pytest.mark.parametrize("critic", ["central_v", "own_v"])
def test_it_learns_a_collection(make_learner, random_batch, spec, critic, individual):
    made_for = dataclasses.replace(spec, individual_rewards=individual)
    learner = make_learner(critic, made_for=made_for, entropy_weight=0.0, value_clip=None)
    batch = with_log_prob(learner, learner.prepare(random_batch(made_for, LENGTHS)))
    n_values = spec.n_agents if individual or critic == "own_v" else 1
    assert batch.extras["advantages"].shape == (4, 6, n_values)
    metrics = [learner.update(Sample(batch, np.arange(4))).metrics for _ in range(40)]
    assert metrics[-1]["policy_loss"] < metrics[0]["policy_loss"] - 0.05
    assert metrics[-1]["value_loss"] < 0.7 * metrics[0]["value_loss"]
    assert tuple(metrics[0]) == learner.metric_names
