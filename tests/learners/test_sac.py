"""Discrete soft actor-critic: bandits with closed forms, the loss against plain sums, and the sampled joint actions."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from hymarl.components.episode import EpisodeBatch
from hymarl.components.replay.base import Sample
from hymarl.components.spec import EnvSpec
from hymarl.controllers.base import Controller
from hymarl.learners.decisions import expectation, log_policy
from hymarl.modules.critics.base import ActionCritic

BANDIT = EnvSpec(n_agents=1, n_actions=3, obs_dim=1, state_dim=1, episode_limit=1)
GAME = EnvSpec(n_agents=2, n_actions=3, obs_dim=1, state_dim=1, episode_limit=1)
ARMS = torch.tensor([1.0, 2.0, 3.0])
LENGTHS = [6, 1, 4, 3]  # the first and third terminate, the others are cut off


class Logits(Controller):
    """A table of logits for each agent."""

    def __init__(self, n_agents, logits=(0.0, 0.0, 0.0)):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits).repeat(n_agents, 1))

    def initial_state(self, keys):
        raise NotImplementedError

    def step(self, obs, last_actions, state):
        raise NotImplementedError

    def unroll(self, batch):
        return self.logits.expand(*batch.obs.shape[:2], -1, -1), batch.obs


class Table(ActionCritic):
    """A table of the joint actions of one or two agents."""

    def __init__(self, table):
        super().__init__(BANDIT if table.dim() == 1 else GAME)
        self.table = nn.Parameter(table.clone())

    def forward(self, batch, actions):
        if self.table.dim() == 1:
            return self.table.expand(*actions.shape, -1)
        return torch.stack([self.table[:, actions[..., 1]].movedim(0, -1), self.table[actions[..., 0]]], dim=2)


def every_joint_action(spec, payoffs):
    joint = torch.tensor(list(itertools.product(range(spec.n_actions), repeat=spec.n_agents)))
    batch = EpisodeBatch.empty(spec, len(joint), 1)
    batch.actions[:, 0], batch.reward[:, 0] = joint.to(batch.actions.dtype), payoffs.flatten()
    batch.filled[:], batch.terminated[:], batch.key[:] = True, True, torch.arange(len(joint))
    return Sample(batch, np.arange(len(joint)))


@pytest.fixture(scope="session")
def on_table(component):
    def make(n_agents, table, logits=(0.0, 0.0, 0.0), lr=0.03, **changes):
        parts = Logits(n_agents, logits), Table(table), lambda: Table(table), component("optimizer", "adam", lr=lr)
        return component("learner", "sac", *parts, **changes)

    return make


def test_the_soft_value_of_a_bandit_by_hand():
    log_probs = log_policy(ARMS / 0.5, torch.ones(3, dtype=torch.bool))
    assert log_probs.exp().tolist() == pytest.approx([0.0159, 0.1173, 0.8668], abs=1e-4)
    assert expectation(log_probs, ARMS - 0.5 * log_probs).item() == pytest.approx(3.07147, abs=1e-5)
    assert -expectation(log_probs, log_probs).item() == pytest.approx(0.44106, abs=1e-5)


def test_actions_that_are_not_available_do_not_count():
    log_probs = log_policy(ARMS / 0.5, torch.tensor([True, True, False]))
    assert log_probs.exp().tolist() == pytest.approx([*torch.tensor([2.0, 4.0]).softmax(0).tolist(), 0.0])
    assert expectation(log_probs, torch.tensor([1.0, 1.0, math.nan])).item() == pytest.approx(1.0)


def test_the_policies_end_at_the_softmax_of_what_actions_pay(on_table):
    """Two agents whose payoffs add up; critics that begin knowing nothing, and data of a uniform policy."""
    own = torch.tensor([[0.0, 0.5, 1.0], [0.6, 0.0, 0.3]])
    sample = every_joint_action(GAME, own[0][:, None] + own[1])
    learner = on_table(2, torch.zeros(3, 3), lr=0.1, temperature=0.4, target_entropy=None)
    for _ in range(200):
        learner.update(sample)
    assert torch.allclose(learner.controller.logits.softmax(-1), (own / 0.4).softmax(-1), atol=0.02)
    assert learner.temperature().item() == pytest.approx(0.4)


@pytest.mark.parametrize(("share", "temperature"), [(0.5, 0.5929), (0.7, 0.8710), (0.98, 3.8627)])
def test_where_temperature_and_policy_both_stay(on_table, share, temperature):
    logits = (ARMS / temperature).tolist()
    learner = on_table(1, ARMS, logits, temperature=temperature, target_entropy=share)
    metrics = learner.update(every_joint_action(BANDIT, ARMS)).metrics
    assert metrics["entropy"].item() == pytest.approx(share * math.log(3), abs=1e-4)
    assert metrics["grad_norm"].item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(("logits", "rises"), [((0.0, 0.0, 5.0), True), ((0.0, 0.0, 0.0), False)])
def test_the_temperature_rises_where_the_entropy_is_too_small_and_falls_where_it_is_too_large(on_table, logits, rises):
    learner = on_table(1, ARMS, logits, temperature=0.3, target_entropy=0.5)
    learner.update(every_joint_action(BANDIT, ARMS))
    assert (learner.temperature().item() > 0.3) == rises


def test_the_target_entropy_is_that_of_the_available_actions(on_table):
    """Of two equally likely actions, the entropy is more than 0.7 log 2 and less than 0.7 log 3."""
    sample = every_joint_action(BANDIT, ARMS)
    sample.episodes.avail[..., 2] = False
    learner = on_table(1, ARMS, temperature=0.3, target_entropy=0.7)
    learner.update(Sample(sample.episodes.select(torch.tensor([0, 1])), np.arange(2)))
    assert learner.temperature().item() < 0.3


@pytest.fixture(scope="session")
def make_learner(component, make_controller, spec):
    def make(critic, **changes):
        torch.manual_seed(4)

        def made():
            if critic == "own_q":
                return component("critic", "own_q", spec, lambda: make_controller(spec, "rnn"))
            return component("critic", critic, spec, hidden_dims=[16])

        parts = make_controller(spec, "rnn"), made(), made, component("optimizer", "adam", lr=0.01)
        learner = component("learner", "sac", *parts, **changes)
        for weight in learner.targets.parameters():  # so that online and target networks differ
            weight.data += 0.1 * torch.randn(weight.shape)
        return learner

    return make


@pytest.mark.parametrize(("critic", "td_lambda"), [("own_q", 0.0), ("central_q", 0.7)])
def test_the_loss_equals_plain_sums(make_learner, random_batch, spec, critic, td_lambda):
    gamma, share = 0.9, 0.4
    learner = make_learner(critic, gamma=gamma, td_lambda=td_lambda, temperature=0.2, target_entropy=share)
    batch, weights = random_batch(spec, LENGTHS), torch.tensor([0.5, 2.0, 1.0, 1.5])
    with torch.no_grad():
        scores = learner.controller.unroll(batch)[0]
        joint = learner._sampled(log_policy(scores, batch.avail), batch)
        taken = torch.cat([batch.actions.long(), joint[:, -1:]], dim=1)
        critics = [learner.networks[name] for name in ("critic", "twin")]
        copies = [learner.targets.networks[name] for name in ("critic", "twin")]
        of_taken, of_joint, of_next = [], [], []
        for network, copy in zip(critics, copies, strict=True):
            of_taken.append(network(batch, taken))
            of_joint.append(network(batch, joint))
            of_next.append(copy(batch, joint))
        td, policy, temperature, n, n_chose = 0.0, 0.0, 0.0, 0, 0

        def policy_at(b, t, i):
            actions = torch.nonzero(batch.avail[b, t, i]).flatten().tolist()
            return list(zip(actions, scores[b, t, i, actions].softmax(-1).tolist(), strict=True))

        def soft_return(b, t, i):
            y = batch.reward[b, t].item()
            if batch.terminated[b, t]:
                return y
            choices, goes_on = policy_at(b, t + 1, i), t + 1 < LENGTHS[b]
            entropy = -sum(p * math.log(p) for _, p in choices)
            value = sum(p * min(q[b, t + 1, i, u].item() for q in of_next) for u, p in choices) + 0.2 * entropy
            if goes_on:
                value = (1 - td_lambda) * value + td_lambda * (soft_return(b, t + 1, i) + 0.2 * entropy)
            return y + gamma * value

        for b, length in enumerate(LENGTHS):
            for t, i in itertools.product(range(length), range(spec.n_agents)):
                y = soft_return(b, t, i)
                td += weights[b].item() * sum((q[b, t, i, taken[b, t, i]].item() - y) ** 2 for q in of_taken)
                n += 1
                choices = policy_at(b, t, i)
                if len(choices) > 1:
                    n_chose += 1
                    entropy = -sum(p * math.log(p) for _, p in choices)
                    worth = sum(p * min(q[b, t, i, u].item() for q in of_joint) for u, p in choices)
                    policy += weights[b].item() * (-0.2 * entropy - worth)
                    temperature += weights[b].item() * math.log(0.2) * (entropy - share * math.log(len(choices)))
    loss, metrics, priorities = learner.loss(batch, weights)
    assert metrics["policy_loss"].item() == pytest.approx(policy / n_chose, rel=1e-4)
    assert loss.item() == pytest.approx(td / n + (policy + temperature) / n_chose, rel=1e-4)
    assert priorities.shape == (4,)


def test_each_loss_has_the_gradient_of_its_own_networks_only(make_learner, random_batch, spec):
    learner, batch = make_learner("central_q", temperature=0.2), random_batch(spec, LENGTHS)
    loss = learner.loss(batch).loss
    loss.backward()
    together = [p.grad.clone() for p in learner.networks["controller"].parameters()]
    learner.optimizer.zero_grad()
    scores = learner.controller.unroll(batch)[0]
    log_probs = log_policy(scores, batch.avail)
    joint = learner._sampled(log_probs, batch)
    with torch.no_grad():
        advised = torch.minimum(*(critic(batch, joint) for critic in learner.critics))
    cells = (log_probs.exp() * (0.2 * log_probs.masked_fill(~batch.avail, 0) - advised)).sum(-1)[:, :-1]
    chose = batch.filled.unsqueeze(-1) & (batch.avail[:, :-1].sum(-1) > 1)
    cells[chose].mean().backward()
    for p, grad in zip(learner.networks["controller"].parameters(), together, strict=True):
        assert torch.allclose(p.grad, grad, atol=1e-6)


def test_sampled_actions_are_available_follow_the_policy_and_depend_on_episode_and_update(on_table):
    learner = on_table(2, torch.zeros(3, 3))
    batch = EpisodeBatch.empty(GAME, 4000, 1)
    batch.key[:] = torch.arange(4000)
    avail = torch.tensor([[True, True, True], [True, False, True]]).expand(4000, 2, -1, -1)
    log_probs = log_policy(torch.tensor([0.0, 1.0, 2.0]).expand(4000, 2, 2, -1), avail)
    first = learner._sampled(log_probs, batch)
    assert not (first[..., 1] == 1).any()
    for agent in range(2):
        shares = torch.stack([(first[..., agent] == u).double().mean() for u in range(3)])
        assert torch.allclose(shares, log_probs[0, 0, agent].exp().double(), atol=0.02)
    rows = torch.tensor([7, 3])
    assert torch.equal(learner._sampled(log_probs[rows], batch.select(rows)), first[rows])
    learner.updates = 1
    assert 0.3 < (learner._sampled(log_probs, batch) != first).double().mean() < 0.6


@pytest.mark.parametrize("critic", ["own_q", "central_q"])
def test_what_is_in_cells_that_do_not_count_changes_nothing(make_learner, random_batch, spec, critic):
    def outcome(filler):
        learner, batch = make_learner(critic), random_batch(spec, LENGTHS)
        batch.reward[~batch.filled] = filler
        beyond = torch.arange(7) > torch.tensor(LENGTHS)[:, None]
        batch.obs[beyond], batch.state[beyond] = filler, filler
        return {k: x.item() for k, x in learner.update(Sample(batch, np.arange(4))).metrics.items()}

    assert outcome(0.0) == outcome(100.0)


def test_it_learns_a_collection(make_learner, random_batch, spec):
    learner, batch = make_learner("own_q"), random_batch(spec, LENGTHS)
    metrics = [learner.update(Sample(batch, np.arange(4))).metrics for _ in range(40)]
    assert metrics[-1]["td_error_abs"] < 0.8 * metrics[0]["td_error_abs"]
    assert tuple(metrics[0]) == learner.metric_names
