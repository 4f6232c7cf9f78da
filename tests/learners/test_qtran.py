"""QTRAN against plain sums."""

import dataclasses

import numpy as np
import pytest
import torch

from hymarl.components.replay.base import Sample
from hymarl.registry import ConfigError

GAMMA = 0.9
LENGTHS = [6, 1, 4, 3]  # the first and third terminate, the others are cut off


@pytest.fixture(scope="session")
def make_learner(component, make_controller, spec):
    def make(made_for=spec, **changes):
        torch.manual_seed(2)
        parts = make_controller(made_for, "rnn"), made_for, component("optimizer", "adam", lr=0.01)
        learner = component("learner", "qtran", *parts, **{"gamma": GAMMA, "embed_dim": 16, **changes})
        for weight in learner.targets.parameters():  # so that online and target networks differ
            weight.data += 0.1 * torch.randn(weight.shape)
        return learner

    return make


def by_plain_sums(learner, batch):
    """The three losses, one episode and one time after another."""
    q, features = learner.controller.unroll(batch)
    _, target_features = learner.targets.networks["controller"].unroll(batch)

    def joint(network, b, t, features, actions):
        cell = batch.state[b, t][None, None], features[b, t][None, None], torch.as_tensor(actions)[None, None]
        return network(*cell).item()

    td, opt, nopt = [], [], []
    for b, length in enumerate(LENGTHS):
        for t in range(length):
            best = [q[b, s].masked_fill(~batch.avail[b, s], -torch.inf).argmax(dim=-1).tolist() for s in (t, t + 1)]
            y = batch.reward[b, t].item()
            if not batch.terminated[b, t]:
                y += GAMMA * joint(learner.targets.networks["joint_value"], b, t + 1, target_features, best[1])
            actions = batch.actions[b, t].tolist()
            taken = joint(learner.joint_value, b, t, features, actions)
            v = learner.state_value(batch.state[b, t]).item()
            q_taken, q_best = (sum(q[b, t, i, u].item() for i, u in enumerate(us)) for us in (actions, best[0]))
            td.append((taken - y) ** 2)
            opt.append((q_best - joint(learner.joint_value, b, t, features, best[0]) + v) ** 2)
            nopt.append(min(q_taken - taken + v, 0) ** 2)
    return np.mean(td), np.mean(opt), np.mean(nopt)


@pytest.mark.parametrize("seed", range(5))
def test_the_loss_equals_plain_sums(make_learner, random_batch, spec, seed):
    learner, batch = make_learner(opt_weight=0.7, nopt_weight=0.4), random_batch(spec, LENGTHS, seed=seed)
    with torch.no_grad():
        td, opt, nopt = by_plain_sums(learner, batch)
    loss, metrics, _ = learner.loss(batch)
    assert metrics["opt_loss"].item() == pytest.approx(opt, rel=1e-4)
    assert metrics["nopt_loss"].item() == pytest.approx(nopt, rel=1e-4)
    assert loss.item() == pytest.approx(td + 0.7 * opt + 0.4 * nopt, rel=1e-5)
    assert nopt > 0


@pytest.mark.slow
def test_normalized_values_end_at_the_rewards(make_learner, random_batch, spec):
    learner, batch = make_learner(normalize_values=True, gamma=0.0), random_batch(spec, LENGTHS)
    batch.reward[:] = 500 + 1000 * batch.reward
    for _ in range(100):
        metrics = learner.update(Sample(batch, np.arange(4))).metrics
    rewards = batch.reward[batch.filled]
    assert metrics["target_mean"].item() == pytest.approx(rewards.mean().item(), rel=1e-4)
    assert metrics["td_error_abs"].item() < 0.15 * rewards.std().item()


def test_the_joint_value_does_not_learn_from_the_agents(make_learner, random_batch, spec):
    def gradients(**weights):
        learner = make_learner(**weights)
        learner.loss(random_batch(spec, LENGTHS))[0].backward()
        return {name: p.grad for name, p in learner.networks.named_parameters()}

    alone, together = gradients(opt_weight=0.0, nopt_weight=0.0), gradients(opt_weight=5.0, nopt_weight=3.0)
    same = {name for name in alone if alone[name] is not None and torch.equal(alone[name], together[name])}
    assert same == {name for name in alone if name.startswith("joint_value.")}
    assert not [name for name, gradient in together.items() if gradient is None or not gradient.any()]


def test_it_learns_a_batch(make_learner, random_batch, spec):
    learner, batch = make_learner(), random_batch(spec, LENGTHS)
    losses = [learner.update(Sample(batch, np.arange(4))).metrics["loss"].item() for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]
    assert set(learner.targets.networks) == {"controller", "joint_value"}


def test_individual_rewards_are_refused(make_learner, spec):
    with pytest.raises(
        ConfigError, match="it learns one joint value from a common reward; choose learner=q with mixer"
    ):
        make_learner(dataclasses.replace(spec, individual_rewards=True))
