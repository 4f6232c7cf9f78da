"""Agents with a latent variable: how it is drawn, and that it reaches the scores in acting and learning alike."""

import dataclasses

import numpy as np
import pytest
import torch

from hymarl import registry
from hymarl.components.rng import Stream, derive, keys
from hymarl.controllers.latent import LatentMAC
from hymarl.policies.base import PolicyState
from hymarl.policies.description import PolicyDescription
from hymarl.policies.learned import LearnedPolicy
from hymarl.registry import ConfigError

NETWORKS = registry.names("network")
SHARING = {
    "shared": {"sharing": "shared"},
    "independent": {"sharing": "independent"},
    "grouped": {"sharing": "grouped", "groups": [1, 0, 0]},
}
SMALL = {"mlp": {"hidden_dims": [16, 8]}, "rnn": {"hidden_dims": [16], "rnn_dim": 8}, "entity": {"hidden_dim": 16}}
KEYS = keys(3, Stream.TRAINING, np.arange(4))
ALL = [(network, sharing) for network in NETWORKS for sharing in SHARING]


@pytest.fixture(scope="session")
def three(spec):
    return dataclasses.replace(spec, n_agents=3)


@pytest.fixture(scope="session")
def latent(option, three):
    def make(network="rnn", sharing="shared", n_latents=3, **changes):
        torch.manual_seed(0)
        settings = {"agent_id": network != "entity", "n_latents": n_latents, **SHARING[sharing], **changes}
        network = option("network", network, **SMALL.get(network, {}))
        return PolicyDescription(three, *option("controller", "latent", **settings), *network).controller()

    return make


@pytest.fixture
def batch(random_batch, three):
    made = random_batch(three, [5, 3, 1, 5])
    made.key[:] = torch.from_numpy(KEYS.view(np.int64))
    return made


def test_latents_are_uniform_and_independent_of_what_else_derives_from_the_key(latent):
    made = latent(n_latents=5)
    episodes = torch.from_numpy(keys(1, Stream.TRAINING, np.arange(20_000)).view(np.int64))
    drawn = made.latents(episodes)
    counts = torch.bincount(drawn, minlength=5)
    assert len(counts) == 5
    assert ((counts - 4000).square() / 4000).sum() < 18.5  # chi-squared with 4 degrees of freedom: 1 in 1,000
    assert torch.equal(made.latents(episodes[7:9]), drawn[7:9])  # each is that of its key
    exploration = torch.from_numpy(derive(episodes.numpy().view(np.uint64), Stream.EXPLORATION).view(np.int64))
    assert abs((made.latents(exploration) == drawn).float().mean() - 0.2) < 0.02
    assert not latent(n_latents=1).latents(episodes).any()


@pytest.mark.parametrize(("network", "sharing"), ALL)
def test_unrolling_a_batch_equals_acting_by_tensors_and_by_arrays(latent, batch, network, sharing):
    made = latent(network, sharing)
    assert len(set(made.latents(batch.key).tolist())) > 1
    scores, _ = made.unroll(batch)
    step, hidden = made.stepper(), None
    assert made._array_forward() is not None
    state, last = made.initial_state(batch.key), torch.full((4, 3), -1)
    for t in range(6):
        acting, state = made.step(batch.obs[:, t], last, state)
        by_arrays, hidden = step(batch.obs[:, t].numpy(), last.numpy(), hidden, KEYS)
        for found, wanted in ((acting, scores[:, t]), (by_arrays, scores[:, t]), (hidden, state)):
            assert torch.allclose(torch.as_tensor(found).float(), wanted, atol=1e-5)
        assert torch.equal(state[..., -1], made.latents(batch.key)[:, None].expand(-1, 3).float())
        if t < 5:
            last = batch.actions[:, t].long()


@pytest.mark.parametrize("network", NETWORKS)
def test_the_scores_are_those_of_the_network_and_of_the_weights_that_z_and_agent_make(latent, batch, network):
    made = latent(network)
    z, head = made.latents(batch.key), made.latent_head.hypernet
    scores, features = made.unroll(batch)
    of_latent, of_agent = head.detach().clone().split([3, len(head) - 3])
    assert len(of_agent) == (0 if network == "entity" else 3)
    head.data.zero_()
    alone, _ = made.unroll(batch)
    for b, t, agent in ((0, 0, 0), (1, 3, 2), (3, 5, 1)):
        weights = of_latent[z[b]] + (of_agent[agent] if len(of_agent) else 0)
        added = weights[:, :-1] @ features[b, t, agent] + weights[:, -1]
        assert torch.allclose(alone[b, t, agent] + added, scores[b, t, agent], atol=1e-5)


def test_stepping_by_arrays_follows_the_weights_and_does_what_a_changed_class_does(latent, batch):
    made = latent()
    step = made.stepper()

    def both():
        wanted, _ = made.step(batch.obs[:, 0], torch.full((4, 3), -1), made.initial_state(batch.key))
        return step(batch.obs[:, 0].numpy(), np.full((4, 3), -1), None, KEYS)[0], wanted.detach().numpy()

    with torch.no_grad():
        made.latent_head.hypernet += 0.5
    assert np.allclose(*both(), atol=1e-5)
    made.__class__ = type("Changed", (LatentMAC,), {"_forward": lambda self, *x: (0 * x[0][..., :5], *x)})
    step = made.stepper()
    assert np.array_equal(*both())


def test_a_policy_keeps_its_latent_and_without_keys_has_that_of_key_zero(latent, batch, three):
    made = latent(n_latents=7)
    policy, z = LearnedPolicy(three, made), made.latents(batch.key)
    obs, state = batch.obs.numpy(), PolicyState.start(three, KEYS)
    for t in range(3):
        _, state = policy.act(obs[:, t], state=state)
        assert state.hidden[..., -1].tolist() == [[x] * 3 for x in z.tolist()]
    _, state = policy.act(obs[0, 0])
    assert state.hidden[0, :, -1].tolist() == made.latents(torch.zeros(1, dtype=torch.int64)).tolist() * 3


def test_what_does_not_fit_into_memory_is_refused(latent, monkeypatch):
    monkeypatch.setattr("hymarl.components.memory._available", lambda: 100_000)
    with pytest.raises(ConfigError, match=r"^controller=latent: the latent's head would take .*; lower n_latents or "):
        latent("mlp", n_latents=100_000)
