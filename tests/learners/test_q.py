"""Q-learning: numbers worked out by hand, then what must hold for every mixer and network."""

import copy
import dataclasses
import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from hymarl import registry
from hymarl.app.assembly import build_trainer
from hymarl.components.episode import Column, EpisodeBatch
from hymarl.components.replay.base import Sample
from hymarl.components.spec import EnvSpec
from hymarl.controllers.base import Controller

MIXERS, NETWORKS = registry.names("mixer"), registry.names("network")
GAMMA = 0.5


def sampled(batch):
    """The batch as replay would hand it to a learner."""
    return Sample(batch, np.arange(batch.n_episodes))


@pytest.fixture(scope="session")
def make_learner(component):
    def make(controller, mixer, spec, optimizer="adam", lr=0.01, **changes):
        torch.manual_seed(1)
        return component(
            "learner",
            "q",
            controller,
            component("mixer", mixer, spec),
            component("optimizer", optimizer, lr=lr),
            **changes,
        )

    return make


# By hand. Two agents see which of three states they are in and look up the scores of two actions in one table:
#
#              online    target
#   state 0    1   2     9   9     <- the target's first output must never be used
#   state 1    3   1    10  20
#   state 2    0   5    30  40
#
# One episode: state 0, actions (0, 1), reward 1, state 1, actions (1, 0), reward 2, state 2. gamma = 0.5.

SPEC = EnvSpec(n_agents=2, n_actions=2, obs_dim=3, state_dim=3, episode_limit=2)
ONLINE = [[1.0, 2.0], [3.0, 1.0], [0.0, 5.0]]
TARGET = [[9.0, 9.0], [10.0, 20.0], [30.0, 40.0]]


class Table(Controller):
    def __init__(self, table):
        super().__init__()
        self.table = nn.Parameter(torch.tensor(table))

    def initial_state(self, keys):
        return torch.zeros(len(keys), 2, 0)

    def step(self, obs, last_actions, state):
        return obs @ self.table, state

    def unroll(self, batch):
        return batch.obs @ self.table, batch.obs


def episode(terminated=False, individual=None):
    batch = EpisodeBatch.empty(dataclasses.replace(SPEC, individual_rewards=individual is not None), 1)
    batch.obs[0] = torch.eye(3).unsqueeze(1)
    batch.state[0] = torch.eye(3)
    batch.actions[0] = torch.tensor([[0, 1], [1, 0]])
    batch.reward[0] = torch.tensor([1.0, 2.0] if individual is None else individual)
    batch.filled[0] = True
    batch.terminated[0, 1] = terminated
    return batch


@pytest.fixture(scope="session")
def by_hand(make_learner):
    def make(mixer="vdn", spec=SPEC, **changes):
        learner = make_learner(Table(ONLINE), mixer, spec, **{"gamma": GAMMA, **changes})
        with torch.no_grad():
            learner.targets.networks["controller"].table.copy_(torch.tensor(TARGET))
        return learner

    return make


# Chosen: 1 + 2 = 3 and 1 + 3 = 4. Target at time 0: reward 1 + 0.5 * value of state 1, at time 1: 2 + 0.5 * value of
# state 2, where both online and target prefer action 1: 40 + 40 = 80.
@pytest.mark.parametrize(
    ("changes", "terminated", "errors"),
    [
        # In state 1 the online network prefers action 0, of which the target says 10: 1 + 0.5 * 20 = 11.
        ({"double_q": True}, False, (3 - 11, 4 - 42)),
        ({"double_q": True}, True, (3 - 11, 4 - 2)),
        ({"double_q": True, "bootstrap_on_timeout": False}, False, (3 - 11, 4 - 2)),
        # The target itself prefers action 1: 1 + 0.5 * 40 = 21.
        ({"double_q": False}, False, (3 - 21, 4 - 42)),
        ({"double_q": False}, True, (3 - 21, 4 - 2)),
        # lambda 1/4: G_1 = 42, G_0 = 1 + 0.5 * (3/4 * 20 + 1/4 * 42) = 13.75; terminated: 1 + 0.5 * (15 + 0.5) = 8.75
        ({"td_lambda": 0.25}, False, (3 - 13.75, 4 - 42)),
        ({"td_lambda": 0.25}, True, (3 - 8.75, 4 - 2)),
        ({"td_lambda": 1.0, "bootstrap_on_timeout": False}, False, (3 - 2, 4 - 2)),
    ],
)
def test_loss_by_hand(by_hand, changes, terminated, errors):
    loss, metrics, _ = by_hand(**changes).loss(episode(terminated))
    assert loss.item() == pytest.approx((errors[0] ** 2 + errors[1] ** 2) / 2)
    assert metrics["td_error_abs"].item() == pytest.approx((abs(errors[0]) + abs(errors[1])) / 2)
    assert metrics["q_taken_mean"].item() == pytest.approx(3.5)
    assert metrics["target_mean"].item() == pytest.approx(3.5 - (errors[0] + errors[1]) / 2)


def test_huber_loss_by_hand(by_hand):
    loss, _, _ = by_hand(huber_delta=10.0).loss(episode())  # errors -8 and -38: 64 and 10 * (76 - 10)
    assert loss.item() == pytest.approx((64 + 660) / 2)


@pytest.mark.parametrize("double_q", [True, False])
def test_the_next_action_is_among_the_available_ones(by_hand, double_q):
    batch = episode()
    batch.avail[0, 1, 0, 0] = False  # in state 1 agent 0 must take action 1
    batch.avail[0, 2, :, 1] = False  # in state 2 both must take action 0: the target says 30
    loss, _, _ = by_hand(double_q=double_q).loss(batch)
    # State 1: agent 0 has 20; agent 1 chooses 0 by the online network (10), 1 by the target itself (20).
    errors = (3 - (1 + 0.5 * (20 + (10 if double_q else 20))), 4 - (2 + 0.5 * 60))
    assert loss.item() == pytest.approx((errors[0] ** 2 + errors[1] ** 2) / 2)


def test_availability_at_the_time_of_acting_changes_nothing(by_hand):
    batch = episode()
    before, _, _ = by_hand().loss(batch)
    batch.avail[0, 0, 0, 1] = False
    assert by_hand().loss(batch)[0] == before


def test_the_gradient_by_hand(by_hand):
    # d loss / d q = 2 * error / 2 valid cells: -8 at time 0 (table rows 0: both actions), -38 at time 1.
    learner = by_hand()
    learner.loss(episode())[0].backward()
    assert learner.controller.table.grad.tolist() == [[-8.0, -8.0], [-38.0, -38.0], [0.0, 0.0]]
    assert learner.targets.networks["controller"].table.grad is None


def test_independent_learners_by_hand(by_hand):
    # Without a mixer each agent has its own error: time 0: 1 - 6, 2 - 6 (1 + 0.5 * 10); time 1: 1 - 22, 3 - 22.
    loss, metrics, _ = by_hand("none").loss(episode())
    assert loss.item() == pytest.approx((25 + 16 + 441 + 361) / 4)
    assert metrics["td_error_abs"].item() == pytest.approx((5 + 4 + 21 + 19) / 4)


def test_individual_rewards_by_hand(by_hand):
    # Agent 0 gets 1 and 2, agent 1 gets 0 and 4: errors 1 - 6, 2 - 5; 1 - 22, 3 - 24.
    loss, _, _ = by_hand("none").loss(episode(individual=[[1.0, 0.0], [2.0, 4.0]]))
    assert loss.item() == pytest.approx((25 + 9 + 441 + 441) / 4)


@pytest.mark.parametrize("mixer", [m for m in MIXERS if registry.find("mixer", m).joint])
def test_individual_rewards_are_refused_for_a_joint_value(by_hand, mixer):
    with pytest.raises(ValueError, match="individual rewards cannot be learned as one joint value; choose mixer=none"):
        by_hand(mixer).loss(episode(individual=[[1.0, 0.0], [2.0, 4.0]]))


def test_standardized_rewards_by_hand(by_hand):
    # Rewards 1 and 2 have mean 1.5 and standard deviation 0.5: -1 and 1.
    learner = by_hand(standardize_rewards=True)
    learner.prepare(episode())
    loss, _, _ = learner.loss(episode())
    assert loss.item() == pytest.approx(((3 - (-1 + 10)) ** 2 + (4 - (1 + 40)) ** 2) / 2)


# Off-policy traces. At time 1 agent 0 did not take its best action, agent 1 did; the target says 20 and 10 of them.
# What follows is 2, then a value of 40 for each agent, or of 38 if it takes its other action with probability 0.2.


def with_log_prob(batch, log_prob):
    """The batch with the logarithms ``[B, T, A]`` of the probabilities of its actions."""
    return batch.extended({"log_prob": Column((2,), torch.float32, "T")}, {"log_prob": log_prob})


@pytest.mark.parametrize(
    ("mixer", "changes", "targets"),
    [
        ("vdn", {"trace": "watkins"}, [[1 + 0.5 * 20], [42]]),
        ("none", {"trace": "watkins"}, [[1 + 0.5 * 10, 1 + 0.5 * (10 + 0.25 * (22 - 10))], [22, 22]]),
        # Both agents have 0.8 * 10 + 0.2 * 20 = 12 at time 1; pi of the actions is 0.2 and 0.8.
        ("vdn", {"trace": "tree_backup", "trace_epsilon": 0.4}, [[1 + 0.5 * (24 + 0.04 * (40 - 30))], [40]]),
        (
            "none",
            {"trace": "tree_backup", "trace_epsilon": 0.4},
            [[1 + 0.5 * (12 + 0.05 * (21 - 20)), 1 + 0.5 * (12 + 0.2 * (21 - 10))], [21, 21]],
        ),
        # mu is 0.1 and 1: the team's ratio is 2 * 0.8, an agent's 2 and 0.8.
        ("vdn", {"trace": "retrace", "trace_epsilon": 0.4}, [[1 + 0.5 * (24 + 0.25 * (40 - 30))], [40]]),
        (
            "none",
            {"trace": "retrace", "trace_epsilon": 0.4},
            [[1 + 0.5 * (12 + 0.25 * (21 - 20)), 1 + 0.5 * (12 + 0.2 * (21 - 10))], [21, 21]],
        ),
        ("vdn", {"n_steps": 2, "td_lambda": 0.0}, [[1 + 0.5 * 2 + 0.25 * 80], [42]]),
        ("vdn", {"n_steps": 2, "td_lambda": 0.0, "bootstrap_on_timeout": False}, [[2], [2]]),
    ],
)
def test_targets_by_hand(by_hand, mixer, changes, targets):
    batch = with_log_prob(episode(), torch.tensor([[[0.1, 1.0], [0.1, 1.0]]]).log())
    learner = by_hand(mixer, **{"td_lambda": 0.25, **changes})
    assert learner.estimates(batch).td_targets[0].tolist() == [pytest.approx(target) for target in targets]


def test_without_epsilon_retrace_and_tree_backup_are_watkins_and_need_no_probabilities(learner, random_batch, spec):
    batch = random_batch(spec, [6, 4, 2, 6])
    settings = {"td_lambda": 0.9, "trace_epsilon": 0.0}
    wanted, *others = (
        learner("qplex", trace=trace, **settings).estimates(batch).td_targets
        for trace in ("watkins", "retrace", "tree_backup")
    )
    assert all(torch.equal(other, wanted) for other in others)
    assert not torch.equal(learner("qplex", **settings).estimates(batch).td_targets, wanted)
    assert learner(trace="retrace", **settings).needs == ()
    assert learner(trace="retrace", td_lambda=0.9, trace_epsilon=0.1).needs == ("log_prob",)
    assert learner(trace="tree_backup", td_lambda=0.9, trace_epsilon=0.1).needs == ()


def test_probabilities_are_stored_where_a_trace_needs_them(configured):
    retrace = "learner.td_lambda=0.5", "learner.trace=retrace", "learner.trace_epsilon=0.1"
    trainer = build_trainer(configured("env=two_step", *retrace))
    trainer.close()
    assert set(trainer.collector.policy.extras) == {"log_prob"}
    sentence = "learner=q needs the log_prob of every action, which selector=greedy does not store; choose another"
    with pytest.raises(registry.ConfigError, match=sentence):
        build_trainer(configured("env=two_step", *retrace, "selector=greedy"))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"n_steps": 3, "td_lambda": 0.5}, "the return has either n_steps=3 or td_lambda=0.5; set td_lambda=0 or n_st"),
        ({"n_steps": 3, "trace": "watkins"}, "the return has either n_steps=3 or trace=watkins; set n_steps=1 or trac"),
        (
            {"trace_epsilon": 0.1},
            "trace=peng has no trace_epsilon, got 0.1; set it to 0 or choose trace=retrace or tre",
        ),
        ({"trace": "watkins", "trace_epsilon": 0.1}, "trace=watkins has no trace_epsilon, got 0.1"),
    ],
)
def test_returns_that_do_not_go_together_are_refused(by_hand, changes, sentence):
    with pytest.raises(registry.ConfigError, match=sentence):
        by_hand(**changes)


# Normalized values


def test_normalized_values_by_hand(by_hand):
    """The first targets, 11 and 42, have the mean 26.5 and the deviation 15.5. The second are the same, since what the
    target's 20 and 80 mean follows the statistics only when it is copied. Then the third are others, and all six count.
    """
    learner = by_hand(normalize_values=True)
    loss, metrics, _ = learner.loss(episode())
    assert loss.item() == pytest.approx(((3 + 1) ** 2 + (4 - 1) ** 2) / 2)
    assert metrics["q_taken_mean"].item() == pytest.approx(26.5 + 3.5 * 15.5)
    assert metrics["target_mean"].item() == pytest.approx(26.5)
    assert metrics["td_error_abs"].item() == pytest.approx((4 + 3) * 15.5 / 2)
    assert learner.loss(episode()).metrics["target_mean"].item() == pytest.approx(26.5)
    learner.targets.networks["value_scaler"].load_state_dict(learner.value_scaler.state_dict())
    third = 1 + 0.5 * (26.5 + 20 * 15.5), 2 + 0.5 * (26.5 + 80 * 15.5)
    mean = np.mean([11, 42, 11, 42, *third])
    assert learner.loss(episode()).metrics["target_mean"].item() == pytest.approx(np.mean(third), rel=1e-4)
    assert learner.value_scaler.mean.item() == pytest.approx(mean, rel=1e-4)


@pytest.mark.parametrize("mixer", ["vdn", pytest.param("none", marks=pytest.mark.slow)])
def test_normalized_values_end_at_the_values_of_the_game(make_learner, mixer):
    """Both agents do the same; the first action pays 1000 or 3000, the second -500 or 200, and every way is played."""
    first, second = torch.tensor([1000.0, 3000.0]), torch.tensor([-500.0, 200.0])
    batch, choices = EpisodeBatch.empty(SPEC, 4), torch.cartesian_prod(torch.arange(2), torch.arange(2))
    batch.obs[:], batch.actions[:] = torch.eye(3).unsqueeze(1), choices.unsqueeze(-1).to(batch.actions.dtype)
    batch.reward[:] = torch.stack([first[choices[:, 0]], second[choices[:, 1]]], dim=1)
    batch.filled[:], batch.terminated[:, 1] = True, True
    learner = make_learner(
        Table([[0.0, 0.0]] * 3), mixer, SPEC, lr=0.05, gamma=GAMMA, target_interval_updates=10, normalize_values=True
    )
    for _ in range(150):
        learner.update(sampled(batch))
    found = learner.restored(learner.estimates(batch).q_taken)
    wanted = torch.stack([first[choices[:, 0]] + GAMMA * 200, second[choices[:, 1]]], dim=1)
    assert torch.allclose(found, wanted.unsqueeze(-1).expand_as(found), atol=20)


class Clock(Controller):
    """The score is the number of observations seen so far: it tells where a network began to unroll."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def initial_state(self, n_envs):
        return torch.zeros(n_envs, 2, 1)

    def step(self, obs, last_actions, state):
        raise NotImplementedError

    def unroll(self, batch):
        seen = torch.ones_like(batch.obs[..., :1]).cumsum(dim=1) * self.scale
        return seen.expand(-1, -1, -1, 2), batch.obs


def test_the_target_network_unrolls_from_the_beginning_and_its_first_output_is_dropped(make_learner):
    batch = episode()
    batch.reward.zero_()
    learner = make_learner(Clock(), "none", SPEC, gamma=1.0)
    _, metrics, _ = learner.loss(batch)
    # Values 1 and 2 at times 0 and 1; of what follows the target says 2 and 3. Begun at time 1 it would say 1 and 2.
    assert metrics["q_taken_mean"].item() == pytest.approx(1.5)
    assert metrics["target_mean"].item() == pytest.approx(2.5)
    assert metrics["td_error_abs"].item() == pytest.approx(1.0)


@pytest.mark.parametrize(("gamma", "td_lambda"), [(1.1, 0.0), (-0.1, 0.0), (0.9, 1.5), (0.9, -1.0)])
def test_impossible_settings_are_refused(by_hand, gamma, td_lambda):
    with pytest.raises(registry.ConfigError, match=r"(gamma|td_lambda) must be at (least 0|most 1), got"):
        by_hand(gamma=gamma, td_lambda=td_lambda)


# Every mixer and network


@pytest.fixture(scope="session")
def learner(make_controller, make_learner, spec):
    def make(mixer="qmix", network="mlp", seed=0, controller=None, **changes):
        torch.manual_seed(seed)
        return make_learner(make_controller(spec, network, **(controller or {})), mixer, spec, **changes)

    return make


every_pair = [(mixer, network) for mixer in MIXERS for network in NETWORKS]


@pytest.mark.parametrize(("mixer", "network"), every_pair)
def test_gradient_reaches_every_parameter(learner, random_batch, spec, mixer, network):
    made = learner(mixer, network)
    made.loss(random_batch(spec, [6, 4, 2, 6]))[0].backward()
    assert not [n for n, p in made.networks.named_parameters() if p.grad is None or not p.grad.any()]
    assert all(p.grad is None for p in made.targets.networks.parameters())


@pytest.mark.parametrize(("mixer", "network"), every_pair)
def test_the_loss_falls_on_a_fixed_batch(learner, random_batch, spec, mixer, network):
    made, batch = learner(mixer, network, td_lambda=0.5), random_batch(spec, [6, 4, 2, 6])
    losses = [made.update(sampled(batch)).metrics["loss"].item() for _ in range(40)]
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize("sharing", [{"sharing": "independent"}, {"sharing": "grouped", "groups": [0, 0]}])
@pytest.mark.parametrize("network", NETWORKS)
def test_the_loss_falls_however_parameters_are_shared(learner, random_batch, spec, network, sharing):
    made, batch = learner("vdn", network, controller=sharing), random_batch(spec, [6, 4, 2, 6])
    losses = [made.update(sampled(batch)).metrics["loss"].item() for _ in range(40)]
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize(("mixer", "network"), every_pair)
def test_metrics_are_announced_and_wait_for_nobody(learner, random_batch, spec, mixer, network):
    made = learner(mixer, network)
    metrics = made.update(sampled(random_batch(spec, [6, 4]))).metrics
    assert tuple(metrics) == made.metric_names
    assert all(isinstance(x, torch.Tensor) and x.shape == () and not x.requires_grad for x in metrics.values())


def loss_and_gradient(made, batch):
    made.networks.zero_grad(set_to_none=True)
    loss, metrics, _ = made.loss(batch)
    loss.backward()
    return loss.detach(), metrics, [p.grad.clone() for p in made.networks.parameters()]


def assert_same(a, b):
    assert torch.allclose(a[0], b[0], rtol=1e-5)
    assert all(torch.allclose(a[1][name], b[1][name], rtol=1e-5, atol=1e-6) for name in a[1])
    assert all(torch.allclose(x, y, rtol=1e-4, atol=1e-6) for x, y in zip(a[2], b[2], strict=True))


def padded(spec, batch, more_rows, more_steps):
    b, t = batch.filled.shape
    extras = {name: batch.columns[f"extras.{name}"] for name in batch.extras}
    bigger = EpisodeBatch.empty(spec, b + more_rows, t + more_steps, extras).tensors()
    for name, x in batch.tensors().items():
        if x.dim() == 1:
            bigger[name][:b] = x
        else:
            bigger[name][:b, : x.shape[1]] = x
    return EpisodeBatch.from_tensors(batch.columns, bigger)


def garbage(batch, seed):
    """Finite nonsense wherever nothing may be read, also in what follows a terminal step."""
    g = torch.Generator().manual_seed(seed)
    steps, rows = batch.lengths, torch.arange(batch.n_episodes)
    t = torch.arange(batch.obs.shape[1])
    real = t <= steps[:, None]  # B T+1
    real[rows, steps] = ~batch.terminated.any(dim=1)
    real[steps == 0] = False
    dirty = copy.deepcopy(batch)
    for name in ("obs", "state"):
        x = dirty.tensors()[name]
        x[~real] = torch.randn(x.shape, generator=g)[~real] * 1000
    dirty.avail[~real] = torch.rand(dirty.avail.shape, generator=g)[~real] < 0.5
    dirty.reward[~batch.filled] = 1e7
    n_actions = batch.avail.shape[-1]
    nonsense = torch.randint(n_actions, batch.actions.shape, generator=g).to(batch.actions.dtype)
    dirty.actions[~batch.filled] = nonsense[~batch.filled]
    for x in dirty.extras.values():
        x[~batch.filled] = torch.nan
    return dirty


LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=4)


@pytest.mark.parametrize(("mixer", "network"), every_pair)
@settings(max_examples=5)
@given(LENGTHS, st.integers(0, 2), st.integers(0, 3), st.sampled_from([0.0, 0.6]), st.integers(0, 1000))
def test_padding_and_garbage_in_masked_cells_change_neither_loss_nor_gradient(
    learner, random_batch, spec, mixer, network, lengths, more_rows, more_steps, lam, seed
):
    made = learner(mixer, network, td_lambda=lam, double_q=seed % 2 == 0, bootstrap_on_timeout=seed % 3 > 0)
    batch = random_batch(spec, lengths, seed=seed)
    wanted = loss_and_gradient(made, batch)
    larger = padded(spec, batch, more_rows, more_steps)
    assert_same(loss_and_gradient(made, larger), wanted)
    assert_same(loss_and_gradient(made, garbage(larger, seed)), wanted)


@pytest.mark.parametrize(
    "changes",
    [
        {"td_lambda": 0.9, "trace": "watkins"},
        {"td_lambda": 0.9, "trace": "tree_backup", "trace_epsilon": 0.3},
        {"td_lambda": 0.9, "trace": "retrace", "trace_epsilon": 0.3},
        {"n_steps": 3},
        {"normalize_values": True},
    ],
)
@pytest.mark.parametrize("mixer", ["none", "qplex"])
def test_padding_and_garbage_change_no_other_return_either(learner, random_batch, spec, mixer, changes):
    batch = random_batch(spec, [6, 1, 4, 5], seed=3)
    log_prob = -torch.rand(batch.actions.shape, generator=torch.Generator().manual_seed(0))
    batch = with_log_prob(batch, log_prob * batch.filled.unsqueeze(-1))
    larger = padded(spec, batch, 1, 2)
    wanted, *others = (
        loss_and_gradient(learner(mixer, **changes), x) for x in (batch, larger, garbage(larger, 5))
    )  # each by a learner of its own, since normalized values depend on what was seen before
    for other in others:
        assert_same(other, wanted)


@pytest.mark.parametrize(
    "mixer", [m if m in ("none", "qmix", "qplex") else pytest.param(m, marks=pytest.mark.slow) for m in MIXERS]
)
def test_the_gradient_equals_finite_differences(option, make_controller, component, random_batch, mixer):
    """In double precision, for every weight; what is detached stays as it is."""
    spec = EnvSpec(n_agents=2, n_actions=3, obs_dim=2, state_dim=2, episode_limit=4)
    widths = ("embed_dim", "hypernet_dim", "lambda_dim", "n_heads", "head_dim", "hypernet_layers", "lambda_layers")
    sizes = {name: 1 if name.endswith("layers") else 2 for name in option("mixer", mixer)[1] if name in widths}
    torch.manual_seed(5)
    controller = make_controller(spec, "mlp", {"hidden_dims": [3]}, last_action=False, agent_id=False)
    parts = controller, component("mixer", mixer, spec, **sizes), component("optimizer", "adam")
    made, batch = component("learner", "q", *parts, td_lambda=0.5), random_batch(spec, [3, 1, 4, 2], seed=2)
    made.state.double()
    for weight in made.targets.parameters():  # so that online and target networks differ
        weight.data += 0.1 * torch.randn(weight.shape, dtype=weight.dtype)
    batch.obs, batch.state, batch.reward = batch.obs.double(), batch.state.double(), batch.reward.double()

    detached, detach = [], torch.Tensor.detach
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "detach", lambda x: (detached.append(detach(x).clone()), detached[-1])[1])
        loss = made.loss(batch).loss
    loss.backward()
    gradients = {name: p.grad for name, p in made.networks.named_parameters()}

    def loss_at(weight, index, value):
        again = iter(detached)
        with pytest.MonkeyPatch.context() as patch, torch.no_grad():
            patch.setattr(torch.Tensor, "detach", lambda x: next(again))
            weight.data.view(-1)[index] = value
            return made.loss(batch).loss.item()

    step = 1e-5
    for name, weight in made.networks.named_parameters():
        for index, at in enumerate(weight.data.flatten().tolist()):
            difference = loss_at(weight, index, at + step) - loss_at(weight, index, at - step)
            weight.data.view(-1)[index] = at
            assert difference / (2 * step) == pytest.approx(gradients[name].view(-1)[index].item(), rel=1e-5, abs=1e-7)


def test_the_order_of_episodes_does_not_matter(learner, random_batch, spec):
    made, batch = learner("qmix", "rnn"), random_batch(spec, [6, 2, 4, 5])
    order = torch.tensor([2, 0, 3, 1])
    assert_same(loss_and_gradient(made, batch.select(order)), loss_and_gradient(made, batch))


# Speed: time is an axis, not a loop


def calls_of_modules(made, batch):
    count = 0

    def called(*_):
        nonlocal count
        count += 1

    modules = [*made.networks.modules(), *made.targets.networks.modules()]
    hooks = [module.register_forward_hook(called) for module in modules]
    made.update(sampled(batch))
    for hook in hooks:
        hook.remove()
    return count


@pytest.mark.parametrize("sharing", [{"sharing": "shared"}, {"sharing": "independent"}])
@pytest.mark.parametrize(("mixer", "network"), every_pair)
def test_an_update_calls_every_module_as_often_for_long_episodes_as_for_short_ones(
    learner, random_batch, spec, mixer, network, sharing
):
    made = learner(mixer, network, controller=sharing, td_lambda=0.5)
    longer = dataclasses.replace(spec, episode_limit=60)
    calls = {n: calls_of_modules(made, random_batch(longer, [n, n])) for n in (1, 60)}
    assert calls[1] == calls[60] > 0


@pytest.mark.parametrize("sharing", [{"sharing": "shared"}, {"sharing": "independent"}])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_loss_unrolls_every_network_once(learner, random_batch, spec, network, sharing):
    made, called = learner("vdn", network, controller=sharing), []
    controllers = made.networks["controller"], made.targets.networks["controller"]
    networks = [module for controller in controllers for module in controller.networks]
    for module in networks:
        module.register_forward_hook(lambda module, args, output: called.append((module, output[0].shape[1])))
    made.loss(random_batch(spec, [6, 6]))
    assert called == [(module, 7) for module in networks]  # T+1 observations at once


class Operations(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))

    @classmethod
    def _should_skip_dynamo(cls):  # the compiler, which takes a second to import
        return False


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("network", [n for n in NETWORKS if n != "rnn"])  # a GRU is counted step by step
def test_the_number_of_tensor_operations_does_not_grow_with_the_length(learner, random_batch, spec, mixer, network):
    longer = dataclasses.replace(spec, episode_limit=60)

    def count(lam, n):
        made, batch = learner(mixer, network, td_lambda=lam), random_batch(longer, [n, n])
        with Operations() as operations:
            made.update(sampled(batch))
        return operations.count

    assert count(0.0, 3) == count(0.0, 60)
    rounds = 6 - 2  # of lambda-returns: log2 60 and log2 3, rounded up
    assert count(0.5, 60) - count(0.5, 3) <= 20 * rounds


# Saving


def through_a_file(state):
    stream = io.BytesIO()
    torch.save(state, stream)
    stream.seek(0)
    return torch.load(stream, weights_only=True)


def assert_equal_states(a, b, where=""):
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert set(a) == set(b), where
        for key in a:
            assert_equal_states(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal_states(x, y, f"{where}/{i}")
    else:
        assert a == b, where


@pytest.mark.parametrize(("mixer", "network"), every_pair)
@pytest.mark.parametrize(("optimizer", "target_update"), [("adam", "hard"), ("rmsprop", "soft")])
def test_a_saved_learner_continues_to_the_same_bits(
    learner, random_batch, spec, mixer, network, optimizer, target_update
):
    changes = {"optimizer": optimizer, "target_update": target_update, "target_interval_updates": 3}
    changes |= {"standardize_rewards": True, "target_tau": 0.1, "normalize_values": True}
    batches = [random_batch(spec, [6, 3, 2], seed=seed) for seed in range(8)]
    original = learner(mixer, network, **changes)
    for batch in batches[:4]:  # targets were copied after update 3: online, target and initial networks all differ
        original.prepare(batch)
        original.update(sampled(batch))
    saved = through_a_file(original.state_dict())
    restored = learner(mixer, network, seed=99, **changes)
    restored.load_state_dict(saved)
    assert_equal_states(restored.state_dict(), original.state_dict())
    for batch in batches[4:]:
        found = []
        for made in (original, restored):
            made.prepare(batch)
            found.append(made.update(sampled(batch)).metrics)
        assert_equal_states(*found)
    assert original.updates == restored.updates == 8
    assert_equal_states(restored.state_dict(), original.state_dict())


def test_a_saved_state_holds_targets_of_controller_and_mixer_apart_from_the_online_ones(learner, random_batch, spec):
    made = learner("qmix", "mlp")
    made.update(sampled(random_batch(spec, [6, 3])))
    state = made.state_dict()["state"]
    for part in ("controller", "mixer"):
        online = {name.removeprefix("networks."): x for name, x in state.items() if name.startswith(f"networks.{part}")}
        targets = {n.removeprefix("targets.networks."): x for n, x in state.items() if f"targets.networks.{part}" in n}
        assert online
        assert set(online) == set(targets)
        assert all(not torch.equal(x, targets[name]) for name, x in online.items())


def test_targets_follow_after_the_step(learner, random_batch, spec):
    made, batch, equal = learner("vdn", "mlp", target_interval_updates=2), random_batch(spec, [6, 3]), []
    for _ in range(4):
        made.update(sampled(batch))
        online, targets = (n.state_dict() for n in (made.controller, made.targets.networks["controller"]))
        equal.append(all(torch.equal(x, targets[name]) for name, x in online.items()))
    assert equal == [False, True, False, True]
    with torch.no_grad():
        next(made.controller.parameters()).add_(1.0)
    made.weights_replaced()
    assert torch.equal(next(made.controller.parameters()), next(made.targets.networks["controller"].parameters()))


@pytest.mark.parametrize("mixer", MIXERS)
def test_weights_count_each_episode_and_samples_with_weights_have_priorities(learner, random_batch, spec, mixer):
    made, batch = learner(mixer, "mlp"), random_batch(spec, [6, 3, 5])
    alone = [made.loss(batch.select(torch.tensor([row]))) for row in range(3)]
    weights, steps = torch.tensor([1.0, 0.0, 2.0]), torch.tensor([6.0, 3.0, 5.0])
    loss, _, priorities = made.loss(batch, weights)
    wanted = sum(w * n * one.loss for w, n, one in zip(weights, steps, alone, strict=True)) / steps.sum()
    assert torch.allclose(loss, wanted, rtol=1e-5)
    assert torch.allclose(priorities, torch.stack([one.metrics["td_error_abs"] for one in alone]), rtol=1e-5)
    assert made.loss(batch).priorities is None
    assert torch.allclose(made.loss(batch, torch.ones(3)).loss, made.loss(batch).loss)
