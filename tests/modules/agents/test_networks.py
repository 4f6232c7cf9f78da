"""What every agent network owes, and what their settings do."""

import dataclasses

import pytest
import torch

from hymarl import registry
from hymarl.components.spec import Entities
from hymarl.modules.agents.base import run_gru, zero_state

NAMES = registry.names("network")
WAYS = {
    "rnn": [{}, {"layer_norm": True, "orthogonal": True}, {"hidden_dims": []}],
    "mlp": [{}, {"layer_norm": True, "orthogonal": True}],
    "entity": [{}, {"rnn_dim": 6, "orthogonal": True, "layer_norm": True}, {"n_layers": 1}, {"n_layers": 3}],
}
CASES = [(name, changes) for name in NAMES for changes in WAYS.get(name, [{}])]
every_network = pytest.mark.parametrize(("name", "changes"), CASES, ids=[f"{n}-{c}" for n, c in CASES])
INPUT = 7


@pytest.fixture(scope="session")
def network(component, spec):
    def make(name, changes, sizes=spec, seed=0):
        torch.manual_seed(seed)
        return component("network", name, sizes, INPUT, **changes)

    return make


def random_inputs(network, b, t, spec, seed=0):
    g = torch.Generator().manual_seed(seed)
    entities = (spec.entities.n_entities,) if network.takes_entities else ()
    return torch.randn(b, t, spec.n_agents, *entities, INPUT, generator=g)


# Every network


@every_network
@pytest.mark.parametrize(("b", "t", "n_agents"), [(3, 4, 2), (1, 1, 1), (3, 1, 2), (1, 4, 1)])
def test_shapes(network, spec, name, changes, b, t, n_agents):
    sizes = dataclasses.replace(spec, n_agents=n_agents)
    made = network(name, changes, sizes)
    state = zero_state(made, b, n_agents, torch.device("cpu"))
    assert state.shape == (b, n_agents, *made.state_shape)
    scores, features, last = made(random_inputs(made, b, t, sizes), state)
    assert scores.shape == (b, t, n_agents, spec.n_actions)
    assert features.shape[:-1] == (b, t, n_agents)
    assert last.shape == state.shape
    assert all(x.isfinite().all() for x in (scores, features, last))


@every_network
def test_unrolling_equals_stepping(network, spec, name, changes):
    made = network(name, changes)
    inputs = random_inputs(made, 3, 5, spec)
    state = torch.randn(zero_state(made, 3, spec.n_agents, torch.device("cpu")).shape)
    scores, features, last = made(inputs, state)
    for t in range(5):
        scores_t, features_t, state = made(inputs[:, t : t + 1], state)
        assert torch.allclose(scores_t[:, 0], scores[:, t], atol=1e-5)
        assert torch.allclose(features_t[:, 0], features[:, t], atol=1e-5)
    assert torch.allclose(state, last, atol=1e-5)


@every_network
def test_agents_and_rows_are_a_batch_that_share_nothing(network, spec, name, changes):
    made = network(name, changes)
    inputs = random_inputs(made, 3, 4, spec)
    state = torch.randn(zero_state(made, 3, spec.n_agents, torch.device("cpu")).shape)
    scores, _, last = made(inputs, state)
    for b in range(3):
        for a in range(spec.n_agents):
            alone, _, last_alone = made(inputs[b : b + 1, :, a : a + 1], state[b : b + 1, a : a + 1])
            assert torch.allclose(alone[0, :, 0], scores[b, :, a], atol=1e-5)
            assert torch.allclose(last_alone[0, 0], last[b, a], atol=1e-5)


@every_network
def test_gradient_reaches_every_parameter(network, spec, name, changes):
    made = network(name, changes)
    state = torch.randn(zero_state(made, 3, spec.n_agents, torch.device("cpu")).shape)
    scores, _, _ = made(random_inputs(made, 3, 4, spec), state)
    scores.square().sum().backward()
    assert not [n for n, p in made.named_parameters() if p.grad is None or not p.grad.any()]


@every_network
def test_exactly_the_networks_with_a_state_remember(network, spec, name, changes):
    made = network(name, changes)
    inputs, zero = random_inputs(made, 2, 3, spec), zero_state(made, 2, spec.n_agents, torch.device("cpu"))
    assert not zero.any()
    other = inputs.clone()
    other[:, 0] += 1  # does what was seen first change what is thought last?
    remembers = not torch.allclose(made(inputs, zero)[0][:, -1], made(other, zero)[0][:, -1], atol=1e-5)
    assert remembers == (zero.numel() > 0)
    if remembers:
        assert not torch.allclose(made(inputs, zero)[0], made(inputs, zero + 1)[0], atol=1e-3)


# The helpers


def test_a_gru_over_named_axes_equals_a_gru_row_by_row():
    torch.manual_seed(0)
    gru = torch.nn.GRU(4, 6)
    inputs, state = torch.randn(2, 5, 3, 2, 4), torch.randn(2, 3, 2, 6)  # B T A K I, B A K H
    out, last = run_gru(gru, inputs.transpose(0, 1), state)  # T first
    for b in range(2):
        for a in range(3):
            for k in range(2):
                wanted, wanted_last = gru(inputs[b, :, a, k], state[b, a, k].unsqueeze(0))
                assert torch.allclose(out[:, b, a, k], wanted, atol=1e-6)
                assert torch.allclose(last[b, a, k], wanted_last[0], atol=1e-6)


# Settings


@pytest.mark.parametrize(("name", "layer"), [("mlp", "body.0"), ("rnn", "body.0"), ("entity", "own")])
def test_orthogonal_initialization(network, name, layer):
    def columns(made):
        weight = made.get_submodule(layer).weight  # more rows than columns: the columns are orthonormal
        return weight.T @ weight

    made = network(name, {"orthogonal": True})
    assert torch.allclose(columns(made), torch.eye(INPUT), atol=1e-5)
    assert not made.get_submodule(layer).bias.any()
    assert not torch.allclose(columns(network(name, {"orthogonal": False})), torch.eye(INPUT), atol=1e-2)


@pytest.mark.parametrize(("name", "head"), [("mlp", "head"), ("rnn", "head"), ("entity", "advantage")])
def test_orthogonal_heads_start_small(network, name, head):
    weight = network(name, {"orthogonal": True}).get_submodule(head).weight
    assert torch.allclose(weight @ weight.T, 1e-4 * torch.eye(len(weight)), atol=1e-7)  # gain 0.01


@pytest.mark.parametrize(("name", "head"), [("mlp", "head"), ("rnn", "head"), ("entity", "advantage")])
def test_layer_norm_stands_before_the_head(network, spec, name, head):
    made = network(name, {"layer_norm": True})
    seen = []
    made.get_submodule(head).register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    made(random_inputs(made, 2, 3, spec), zero_state(made, 2, spec.n_agents, torch.device("cpu")))
    assert seen[-1].mean(dim=-1).abs().max() < 1e-5
    assert (seen[-1].var(dim=-1, unbiased=False) - 1).abs().max() < 0.05
    assert "norm.weight" not in dict(network(name, {"layer_norm": False}).named_parameters())


def test_widths(network):
    mlp = network("mlp", {"hidden_dims": [11, 5]})
    assert [tuple(p.shape) for p in mlp.parameters()] == [(11, INPUT), (11,), (5, 11), (5,), (5, 5), (5,)]
    rnn = network("rnn", {"hidden_dims": [11], "rnn_dim": 3})
    assert rnn.state_shape == (3,)
    wanted = [(11, INPUT), (11,), (9, 11), (9, 3), (9,), (9,), (5, 3), (5,)]  # 3 gates, 5 actions
    assert [tuple(p.shape) for p in rnn.parameters()] == wanted


# The entity network


@pytest.mark.parametrize("rnn_dim", [0, 6])
def test_exchanging_entities_exchanges_their_scores_and_nothing_else(network, spec, rnn_dim):
    # Two kinds of action on each of three entities, then one about none.
    entities = Entities(3, 2, 1, action_entity=(0, 1, 2, 0, 1, 2, -1), action_kind=(0, 0, 0, 1, 1, 1, 2))
    sizes = dataclasses.replace(spec, n_actions=7, entities=entities)
    made = network("entity", {"rnn_dim": rnn_dim}, sizes)
    inputs = random_inputs(made, 2, 4, sizes)  # B T A K I
    state = torch.randn(2, 2, 3, rnn_dim) if rnn_dim else torch.zeros(2, 2, 0)
    order = torch.tensor([2, 0, 1])
    scores, features, last = made(inputs, state)
    permuted = made(inputs[:, :, :, order], state[:, :, order] if rnn_dim else state)
    actions = torch.tensor([2, 0, 1, 5, 3, 4, 6])
    assert torch.allclose(permuted[0], scores[..., actions], atol=1e-6)
    assert torch.allclose(permuted[1], features, atol=1e-6)
    if rnn_dim:
        assert torch.allclose(permuted[2], last[:, :, order], atol=1e-6)
    assert scores.std(dim=-1).min() > 1e-3  # the scores are not all the same


def sizes_for(spec, n_entities, n_agents):
    entities = Entities(n_entities, 2, 1, (*range(n_entities), -1), (*[0] * n_entities, 1))
    changes = {"n_agents": n_agents, "n_actions": n_entities + 1, "obs_dim": 3 + 2 * n_entities, "entities": entities}
    return dataclasses.replace(spec, **changes)


@pytest.mark.parametrize("rnn_dim", [0, 6])
def test_the_same_weights_fit_other_numbers_of_entities_and_agents(network, spec, rnn_dim):
    small, large = sizes_for(spec, 3, 2), sizes_for(spec, 5, 4)
    trained, other = (network("entity", {"rnn_dim": rnn_dim}, s, seed) for seed, s in enumerate((small, large)))
    other.load_state_dict(trained.state_dict())
    inputs = random_inputs(other, 2, 3, large)
    scores, _, _ = other(inputs, zero_state(other, 2, 4, torch.device("cpu")))
    assert scores.shape == (2, 3, 4, 6)
    # Entities that all look alike have the same value whatever their number.
    alike = torch.ones(1, 1, 1, 1, INPUT)
    summaries = []
    for made, sizes in ((trained, small), (other, large)):
        x = alike.expand(1, 1, sizes.n_agents, sizes.entities.n_entities, -1)
        summaries.append(made(x, zero_state(made, 1, sizes.n_agents, torch.device("cpu")))[1][0, 0, 0])
    assert torch.allclose(*summaries, atol=1e-6)


def test_an_action_is_scored_by_its_entity_and_kind(network, spec):
    # Actions 0, 1, 2: kind 0 on entities 0, 1, 2; action 3: kind 1 on entity 1; action 4: kind 1 on none.
    made = network("entity", {})
    inputs = random_inputs(made, 1, 1, spec)
    embedding = made.body(made.own(inputs) + made.mean(inputs.mean(dim=-2, keepdim=True)))[0, 0, 0]  # K H
    summary = embedding.mean(dim=0)
    raw = [made.advantage(embedding[k])[0] for k in range(3)]
    raw += [made.advantage(embedding[1])[1], made.advantage(summary)[1]]
    raw = torch.stack(raw)
    scores, features, _ = made(inputs, zero_state(made, 1, spec.n_agents, torch.device("cpu")))
    assert torch.allclose(scores[0, 0, 0], made.value(summary) + raw - raw.mean(), atol=1e-6)
    assert torch.allclose(features[0, 0, 0], summary, atol=1e-6)


def test_the_mean_score_is_the_value(network, spec):
    made = network("entity", {})
    inputs = random_inputs(made, 2, 3, spec)
    scores, features, _ = made(inputs, zero_state(made, 2, spec.n_agents, torch.device("cpu")))
    assert torch.allclose(scores.mean(dim=-1, keepdim=True), made.value(features), atol=1e-6)


def test_what_the_entity_network_refuses(network, spec):
    with pytest.raises(registry.ConfigError, match="lists no entities; choose network=rnn or network=mlp"):
        network("entity", {}, dataclasses.replace(spec, entities=None))
    with pytest.raises(registry.ConfigError, match="n_layers must be at least 1, got 0"):
        network("entity", {"n_layers": 0})
