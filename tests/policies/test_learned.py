"""A controller and a selector as a policy, in training and from a file."""

import numpy as np
import pytest
import torch

from hymarl.components.files import CheckpointError, save
from hymarl.components.rng import Stream, derive, keys
from hymarl.components.selectors.base import Moment, greedy_actions
from hymarl.policies.base import PolicyState
from hymarl.policies.description import PolicyDescription
from hymarl.policies.learned import LearnedPolicy
from hymarl.registry import ConfigError

KEYS = keys(1, Stream.TRAINING, np.arange(4))


@pytest.fixture
def controller(make_controller, spec):
    torch.manual_seed(0)
    return make_controller(spec, "rnn")


@pytest.fixture
def observations(spec):
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(5, 4, spec.n_agents, spec.obs_dim)).astype(np.float32)  # T B A O
    avail = rng.random((5, 4, spec.n_agents, spec.n_actions)) < 0.5
    avail[..., 2] = True
    return obs, avail


def play(policy, obs, avail, state):
    actions = []
    for o, a in zip(obs, avail, strict=True):
        chosen, state = policy.act(o, a, state)
        actions.append(chosen)
    return np.array(actions), state


def test_acting_is_the_greedy_action_of_the_unrolled_controller(controller, observations, spec):
    obs, avail = observations
    actions, state = play(LearnedPolicy(spec, controller), obs, avail, PolicyState.start(spec, KEYS))
    last, hidden = torch.full((4, spec.n_agents), -1), controller.initial_state(torch.arange(4))
    for t in range(5):
        scores, hidden = controller.step(torch.from_numpy(obs[t]), last, hidden)
        assert (actions[t] == greedy_actions(scores.detach().numpy(), avail[t])).all()
        last = torch.from_numpy(actions[t])
    assert actions.dtype == np.int64
    assert (state.t, state.steps) == (5, 20)
    np.testing.assert_allclose(state.hidden, hidden.detach(), atol=1e-6)


def test_the_selector_gets_the_exploration_keys_the_time_and_the_steps(controller, component, observations, spec):
    obs, avail = observations
    selector = component("selector", "epsilon_greedy", spec, (), start=1.0, finish=0.0, anneal_steps=1000)
    actions, _ = play(LearnedPolicy(spec, controller, selector), obs, avail, PolicyState.start(spec, KEYS, steps=480))
    last, hidden = torch.full((4, spec.n_agents), -1), controller.initial_state(torch.arange(4))
    for t in range(5):
        scores, hidden = controller.step(torch.from_numpy(obs[t]), last, hidden)
        exploration = derive(KEYS, Stream.EXPLORATION)
        wanted, _ = selector.select(scores.detach().numpy(), avail[t], Moment(exploration, t, 480 + 4 * t))
        assert (actions[t] == wanted).all()
        last = torch.from_numpy(wanted)


def test_one_environment_needs_no_batch_axis(controller, observations, spec):
    obs, avail = observations
    policy = LearnedPolicy(spec, controller)
    batch, _ = play(policy, obs, avail, None)
    single, state = play(policy, obs[:, 2], avail[:, 2], None)
    assert (single == batch[:, 2]).all()
    assert single.shape == (5, spec.n_agents)
    assert (state.t, state.steps) == (5, 5)


def test_everything_is_available_unless_said_otherwise(controller, observations, spec):
    obs, avail = observations
    policy = LearnedPolicy(spec, controller)
    free, _ = policy.act(obs[0])
    assert (free == policy.act(obs[0], np.ones_like(avail[0]))[0]).all()
    assert (free == policy.act(obs[0], None, PolicyState.start(spec, np.zeros(4, np.uint64)))[0]).all()


def test_acting_keeps_no_graph_and_leaves_the_weights_trainable(controller, observations, random_batch, spec):
    obs, avail = observations
    _, state = play(LearnedPolicy(spec, controller), obs, avail, None)
    assert not torch.as_tensor(state.hidden).requires_grad
    controller.unroll(random_batch(spec, [3]))[0].sum().backward()
    assert all(p.requires_grad for p in controller.parameters())


def test_metrics_are_those_of_the_selector(controller, component, spec):
    selector = component("selector", "epsilon_greedy", spec, (), start=1.0, finish=0.0, anneal_steps=100)
    exploring, greedy = LearnedPolicy(spec, controller, selector), LearnedPolicy(spec, controller)
    assert (exploring.metric_names, exploring.metrics(25)) == (("epsilon",), {"epsilon": 0.75})
    assert (greedy.metric_names, greedy.metrics(25)) == ((), {})


def test_a_policy_acts_with_the_weights_it_was_given_whatever_becomes_of_their_source(
    make_controller, observations, spec
):
    obs, avail = observations
    torch.manual_seed(1)
    policy, source = (LearnedPolicy(spec, make_controller(spec, "rnn")) for _ in range(2))
    before, wanted = (play(p, obs, avail, None)[0] for p in (policy, source))
    assert (before != wanted).any()
    policy.load_state_dict(source.controller.state_dict())
    assert (play(policy, obs, avail, None)[0] == wanted).all()
    with torch.no_grad():
        for weight in source.controller.parameters():
            weight.fill_(7.0)
    assert (play(policy, obs, avail, None)[0] == wanted).all()
    with pytest.raises(KeyError):
        policy.load_state_dict({})
    with pytest.raises(ValueError, match=r"has the shape \[1\], needed is \["):
        policy.load_state_dict({name: torch.zeros(1) for name in source.controller.state_dict()})


# Files


@pytest.fixture
def description(option, spec):
    settings = option("controller", "mac", agent_id=False), option("network", "entity", rnn_dim=4)
    return PolicyDescription(spec, *settings[0], *settings[1])


def write(path, description, seed):
    torch.manual_seed(seed)
    controller = description.controller()
    save(path, {"policy": description.to_plain(), "controller": controller.state_dict(), "mixer": {}, "step": seed})
    return controller


def test_a_policy_is_loaded_from_a_run_without_anything_else(tmp_path, description, observations, spec):
    obs, avail = observations
    folder = tmp_path / "checkpoints"
    best = write(folder / "best.pt", description, 1)
    write(folder / "weights_000000000005.pt", description, 2)
    last = write(folder / "weights_000000000010.pt", description, 3)
    for controller, source in (
        (best, (tmp_path,)),
        (best, (str(tmp_path), "best")),
        (last, (tmp_path, "last")),
        (best, (folder / "best.pt",)),
    ):
        loaded = LearnedPolicy.load(*source)
        assert loaded.spec == spec
        wanted, _ = play(LearnedPolicy(spec, controller), obs, avail, None)
        assert (play(loaded, obs, avail, None)[0] == wanted).all()


@pytest.mark.parametrize(("network", "changes"), [("entity", {"rnn_dim": 4}), ("rnn", {})])
def test_one_agent_acts_as_it_does_among_several_where_they_are_not_told_apart(
    tmp_path, option, observations, spec, network, changes
):
    obs, avail = observations
    settings = option("controller", "mac", agent_id=False), option("network", network, **changes)
    write(tmp_path / "w.pt", PolicyDescription(spec, *settings[0], *settings[1]), 1)
    together, _ = play(LearnedPolicy.load(tmp_path / "w.pt"), obs, avail, None)
    one = LearnedPolicy.load(tmp_path / "w.pt", agents=1)
    assert one.spec.n_agents == 1
    for agent in range(spec.n_agents):
        own = slice(agent, agent + 1)
        assert (play(one, obs[:, :, own], avail[:, :, own], None)[0] == together[..., own]).all()
    assert LearnedPolicy.load(tmp_path / "w.pt", agents=5).act(np.zeros((5, spec.obs_dim)))[0].shape == (5,)


TOLD_APART = {"agent_id": True}, {"agent_id": False, "sharing": "grouped", "groups": [0, 1]}


@pytest.mark.parametrize("changes", TOLD_APART, ids=str)
def test_agents_that_are_told_apart_cannot_be_another_number(tmp_path, option, spec, changes):
    settings = option("controller", "mac", **changes), option("network", "mlp")
    write(tmp_path / "w.pt", PolicyDescription(spec, *settings[0], *settings[1]), 1)
    assert LearnedPolicy.load(tmp_path / "w.pt", agents=2).spec == spec
    with pytest.raises(ConfigError, match=r"for 2 agents, which they tell apart, and do not fit 1; they fit any nu"):
        LearnedPolicy.load(tmp_path / "w.pt", agents=1)
    with pytest.raises(ConfigError, match=r"agents=0: n_agents must be a whole number from 1 on, got 0"):
        LearnedPolicy.load(tmp_path / "w.pt", agents=0)


def test_nothing_to_load_is_one_sentence(tmp_path):
    with pytest.raises(CheckpointError, match="holds no checkpoints"):
        LearnedPolicy.load(tmp_path)


@pytest.mark.parametrize("wrong", [(2, 1, 0), (2, 0, 1), (2, 0, -1)])
def test_observations_of_another_shape_are_refused(controller, spec, wrong):
    n, agents, width = wrong
    obs = np.zeros((n, spec.n_agents + agents, spec.obs_dim + width), np.float32)
    with pytest.raises(ValueError, match=r"observations must have the shape \[B, 2, .*\] or \[2, .*\], got \["):
        LearnedPolicy(spec, controller).act(obs)
