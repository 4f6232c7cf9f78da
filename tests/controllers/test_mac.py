"""The multi-agent controller: who shares a network, and that acting and unrolling are the same."""

import dataclasses

import numpy as np
import pytest
import torch

from hymarl import registry
from hymarl.components.spec import EnvSpec
from hymarl.registry import ConfigError

NETWORKS = registry.names("network")
SHARING = {
    "shared": {"sharing": "shared"},
    "independent": {"sharing": "independent"},
    "grouped": {"sharing": "grouped", "groups": [1, 0, 0]},
}
NO_HINT = {"agent_id": False, "last_action": False}


@pytest.fixture(scope="session")
def three(spec):
    return dataclasses.replace(spec, n_agents=3)


@pytest.fixture(scope="session")
def mac(make_controller, three):
    def make(network="mlp", sharing="shared", settings=None, seed=0, **changes):
        torch.manual_seed(seed)
        return make_controller(three, network, settings, **SHARING[sharing], **changes)

    return make


@pytest.mark.parametrize("sharing", SHARING)
@pytest.mark.parametrize("network", NETWORKS)
def test_unrolling_a_batch_equals_acting_step_by_step(mac, random_batch, three, network, sharing):
    made, batch = mac(network, sharing), random_batch(three, [5, 3, 1, 5])
    scores, features = made.unroll(batch)
    assert scores.shape == (4, 6, 3, three.n_actions)
    assert features.shape[:3] == (4, 6, 3)
    state, last = made.initial_state(torch.arange(4)), torch.full((4, 3), -1)
    for t in range(6):
        acting, state = made.step(batch.obs[:, t], last, state)
        assert torch.allclose(acting, scores[:, t], atol=1e-5)
        if t < 5:
            last = batch.actions[:, t].long()


STEPPED = [
    *((network, sharing, {}, {}) for network in NETWORKS for sharing in SHARING),
    ("rnn", "shared", {"hidden_dims": []}, {"agent_id": False}),
    ("rnn", "grouped", {"layer_norm": True}, {}),
    ("mlp", "independent", {}, NO_HINT),
    ("entity", "shared", {"n_layers": 1}, {"last_action": False}),
    ("entity", "grouped", {"rnn_dim": 5}, {}),
]


@pytest.mark.parametrize(("network", "sharing", "settings", "changes"), STEPPED)
def test_stepping_with_arrays_is_stepping_and_follows_the_weights(
    mac, random_batch, three, network, sharing, settings, changes
):
    made, batch = mac(network, sharing, settings, **changes), random_batch(three, [5, 3, 1, 5])
    step = made.stepper()
    for _ in range(2):
        state, hidden, last = made.initial_state(torch.arange(4)), None, torch.full((4, 3), -1)
        for t in range(5):
            wanted, state = made.step(batch.obs[:, t], last, state)
            scores, hidden = step(batch.obs[:, t].numpy(), last.numpy(), hidden, np.zeros(4, np.uint64))
            assert scores.dtype == "float32"
            assert torch.allclose(torch.from_numpy(scores), wanted, atol=1e-5)
            last = batch.actions[:, t].long()
        with torch.no_grad():
            for weight in made.parameters():
                weight.add_(0.1 * torch.randn_like(weight))


def first_scores(made, step, obs):
    last = torch.full((len(obs), 3), -1)
    wanted, _ = made.step(obs, last, made.initial_state(torch.arange(len(obs))))
    return torch.from_numpy(step(obs.numpy(), last.numpy(), None, np.zeros(len(obs), np.uint64))[0]), wanted


def negated(cls, method):
    """A subclass whose ``method`` returns the negative of what it did."""

    def changed(self, *args):
        first, *rest = getattr(cls, method)(self, *args)
        return (-first, *rest)

    return type("Changed", (cls,), {method: changed})


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("changed", ["forward", "step", "_forward", "an activation", "no bias"])
def test_stepping_with_arrays_does_what_a_changed_class_does(mac, three, network, changed):
    made, obs = mac(network), torch.randn(4, 3, three.obs_dim)
    inside = made.networks[0]
    if changed == "forward":
        inside.__class__ = negated(type(inside), "forward")
    elif changed == "an activation":
        inside.body.append(torch.nn.Tanh())
    elif changed == "no bias":
        next(layer for layer in inside.body if isinstance(layer, torch.nn.Linear)).bias = None
    else:
        made.__class__ = negated(type(made), changed)
    scores, wanted = first_scores(made, made.stepper(), obs)
    assert torch.allclose(scores, wanted, atol=1e-5)


@pytest.mark.parametrize("sharing", SHARING)
@pytest.mark.parametrize("network", NETWORKS)
def test_every_agent_goes_through_its_own_network(mac, random_batch, three, network, sharing):
    """The same as looping over agents by hand."""
    made, batch = mac(network, sharing), random_batch(three, [5, 3])
    belongs = {"shared": [0, 0, 0], "independent": [0, 1, 2], "grouped": [1, 0, 0]}[sharing]
    assert len(made.networks) == max(belongs) + 1
    last = torch.cat([torch.full((2, 1, 3), -1), batch.actions.long()], dim=1)
    inputs, state = made.inputs(batch.obs, last), made.initial_state(torch.arange(2))
    scores, features = made.unroll(batch)
    _, stepped = made.step(batch.obs[:, 0], last[:, 0], state)
    for agent, number in enumerate(belongs):
        cut = slice(agent, agent + 1)
        wanted, wanted_features, _ = made.networks[number](inputs[:, :, cut], state[:, cut])
        _, _, wanted_state = made.networks[number](inputs[:, :1, cut], state[:, cut])
        assert torch.allclose(scores[:, :, agent], wanted[:, :, 0], atol=1e-5)
        assert torch.allclose(features[:, :, agent], wanted_features[:, :, 0], atol=1e-5)
        assert torch.allclose(stepped[:, agent], wanted_state[:, 0], atol=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_same_input_gives_the_same_scores_exactly_where_a_network_is_shared(mac, three, network):
    obs = torch.randn(1, 1, three.obs_dim).expand(4, 3, -1)
    last = torch.full((4, 3), -1)

    def scores(sharing):
        made = mac(network, sharing, **NO_HINT)
        return made.step(obs, last, made.initial_state(torch.arange(4)))[0][0]

    shared, independent, grouped = (scores(s) for s in ("shared", "independent", "grouped"))
    assert torch.allclose(shared[0], shared[1], atol=1e-6)
    assert torch.allclose(shared[0], shared[2], atol=1e-6)
    assert torch.allclose(grouped[1], grouped[2], atol=1e-6)
    different = [(independent, 0, 1), (independent, 0, 2), (independent, 1, 2), (grouped, 0, 1)]
    assert all((x[i] - x[j]).abs().max() > 1e-3 for x, i, j in different)


@pytest.mark.parametrize("sharing", SHARING)
@pytest.mark.parametrize("network", NETWORKS)
def test_the_gradient_of_an_agents_scores_touches_only_its_network(mac, random_batch, three, network, sharing):
    made, batch = mac(network, sharing), random_batch(three, [3, 2])
    belongs = {"shared": [0, 0, 0], "independent": [0, 1, 2], "grouped": [1, 0, 0]}[sharing]
    for agent, number in enumerate(belongs):
        made.zero_grad(set_to_none=True)
        made.unroll(batch)[0][:, :, agent].square().sum().backward()
        for other, network_ in enumerate(made.networks):
            moved = [p.grad is not None and bool(p.grad.any()) for p in network_.parameters()]
            assert all(moved) if other == number else not any(moved)


def test_the_agents_id_and_last_action_reach_the_scores(mac, three):
    obs, zero = torch.ones(1, 3, three.obs_dim), torch.zeros(1, 3, dtype=torch.int64)

    def scores(last, **changes):
        made = mac(**changes)
        return made.step(obs, last, made.initial_state(torch.arange(1)))[0]

    with_id = scores(zero, agent_id=True, last_action=False)
    assert not torch.allclose(with_id[0, 0], with_id[0, 1], atol=1e-4)
    for last_action in (True, False):
        differ = [scores(zero + action, agent_id=False, last_action=last_action) for action in (-1, 0, 1)]
        assert torch.equal(differ[0], differ[1]) is not last_action
        assert torch.equal(differ[1], differ[2]) is not last_action


@pytest.mark.parametrize("network", NETWORKS)
def test_what_comes_later_does_not_change_what_was_thought(mac, random_batch, three, network):
    made, batch = mac(network), random_batch(three, [5, 5])
    before = made.unroll(batch)[0]
    batch.obs[:, 3:] += 1
    batch.actions[:, 3:] = 0
    after = made.unroll(batch)[0]
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.equal(before[:, 3:], after[:, 3:])


def test_nothing_is_remembered_on_the_controller(mac, random_batch, three):
    made, batch = mac("rnn"), random_batch(three, [4, 2])
    before, weights = made.unroll(batch)[0], {k: v.clone() for k, v in made.state_dict().items()}
    made.step(batch.obs[:, 0], torch.zeros(2, 3, dtype=torch.int64), made.initial_state(torch.arange(2)))
    assert torch.equal(made.unroll(batch)[0], before)
    assert all(torch.equal(v, weights[k]) for k, v in made.state_dict().items())
    state = made.initial_state(torch.arange(2))
    assert state.is_contiguous()
    made.step(batch.obs[:, 0], torch.zeros(2, 3, dtype=torch.int64), state)
    assert not state.any()


@pytest.mark.parametrize("network", NETWORKS)
def test_weights_are_the_networks_only(mac, network):
    made = mac(network, "grouped")
    assert set(made.state_dict()) == {f"networks.{n}" for n, _ in made.networks.named_parameters()}


def test_an_entity_network_refuses_the_agents_id(mac):
    with pytest.raises(ConfigError, match=r"cannot take agent_id; set agent_id=false$"):
        mac("entity", agent_id=True)


@pytest.mark.parametrize("sharing", ["shared", "independent"])
def test_groups_need_grouped_sharing(make_controller, three, sharing):
    with pytest.raises(ConfigError, match="groups goes together with sharing=grouped: give both or neither"):
        make_controller(three, sharing=sharing, groups=[0, 0, 1])


def test_grouped_sharing_needs_groups(make_controller, three):
    with pytest.raises(ConfigError, match="groups goes together with sharing=grouped: give both or neither"):
        make_controller(three, sharing="grouped")


@pytest.mark.parametrize("groups", [[0, 1], [0, 0, 2], [1, 1, 2], [0, 1, 10**9], [0, 1, 2, 3], []])
def test_groups_that_do_not_fit_are_refused(make_controller, three, groups):
    with pytest.raises(
        ConfigError, match="groups needs one number from 0, without gaps, for each of the 3 agents; got"
    ):
        make_controller(three, sharing="grouped", groups=groups)


def test_networks_that_do_not_fit_into_memory_are_refused(make_controller):
    many = EnvSpec(n_agents=1000, n_actions=5, obs_dim=3, state_dim=2, episode_limit=4)
    with pytest.raises(ConfigError, match=r"controller=mac: 1000 networks would take [\d,.]+ GB of memory, of which"):
        make_controller(many, "mlp", {"hidden_dims": [1_000_000]}, sharing="independent", agent_id=False)
