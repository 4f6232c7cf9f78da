"""MAVEN: the bound of the mutual information, where its gradient goes, and the loss against plain sums."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch

from hymarl.app.assembly import build_learner
from hymarl.components.replay.base import Sample
from hymarl.components.rng import Stream, keys
from hymarl.modules.mixers.base import MixerInputs
from hymarl.policies.description import PolicyDescription
from hymarl.registry import ConfigError

GAMMA, Z = 0.9, 3
LENGTHS = [6, 1, 4, 3]  # the first and third terminate, the others are cut off


@pytest.fixture(scope="session")
def make_learner(option, component, spec):
    def make(made_for=spec, mixer="qmix", network="rnn", n_latents=Z, lr=0.01, **changes):
        torch.manual_seed(2)
        small = {"hidden_dims": [16], **({"rnn_dim": 8} if network == "rnn" else {})}
        description = PolicyDescription(
            made_for, *option("controller", "latent", n_latents=n_latents), *option("network", network, **small)
        )
        parts = description.controller(), lambda sizes: component("mixer", mixer, sizes), made_for
        changes = {"gamma": GAMMA, "discriminator_dim": 8, **changes}
        learner = component("learner", "maven", *parts, component("optimizer", "adam", lr=lr), **changes)
        for weight in learner.targets.parameters():  # so that online and target networks differ
            weight.data += 0.1 * torch.randn(weight.shape)
        return learner

    return make


@pytest.fixture(scope="session")
def episodes(random_batch, spec):
    def make(lengths=LENGTHS, made_for=spec, seed=0, **changes):
        batch = random_batch(made_for, lengths, seed=seed, **changes)
        batch.key[:] = torch.from_numpy(keys(seed, Stream.TRAINING, np.arange(len(lengths))).view(np.int64))
        return batch

    return make


def by_plain_sums(learner, batch, lengths, intrinsic_weight):
    """The TD loss and the cross-entropy, one episode and one time after another."""
    latents = learner.controller.latents(batch.key).tolist()
    q = learner.controller.unroll(batch)[0]
    target_q = learner.targets.networks["controller"].unroll(batch)[0]

    def mixed(mixer, b, t, q, joint):
        taken = torch.tensor([q[b, t, agent, u].item() for agent, u in enumerate(joint)])[None, None]
        z = torch.eye(Z)[latents[b]]
        state = torch.cat([batch.state[b, t], z])[None, None]
        return mixer(
            MixerInputs(taken, taken, torch.tensor(joint)[None, None], batch.obs[b, t][None, None], state)
        ).item()

    td, entropies = [], []
    for b, length in enumerate(lengths):
        inputs = [
            torch.cat([batch.state[b, t], *(_softmax(q[b, t, i], batch.avail[b, t, i]) for i in range(q.shape[2]))])
            for t in range(length)
        ]
        out, _ = learner.discriminator.rnn(torch.stack(inputs)[:, None])
        log_q = learner.discriminator.head(out)[:, 0].log_softmax(dim=-1)[:, latents[b]].tolist()
        entropies += [-x for x in log_q]
        for t in range(length):
            y = batch.reward[b, t].item() + intrinsic_weight * (log_q[t] + math.log(Z))
            if not batch.terminated[b, t]:
                best = q[b, t + 1].masked_fill(~batch.avail[b, t + 1], -torch.inf).argmax(dim=-1).tolist()
                y += GAMMA * mixed(learner.targets.networks["mixer"], b, t + 1, target_q, best)
            td.append((mixed(learner.mixer, b, t, q, batch.actions[b, t].tolist()) - y) ** 2)
    return np.mean(td), np.mean(entropies)


def _softmax(scores, avail):
    e = torch.where(avail, (scores - scores.max()).exp(), 0.0)
    return e / e.sum()


@pytest.mark.parametrize("intrinsic_weight", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_the_loss_equals_plain_sums(make_learner, episodes, intrinsic_weight, seed):
    batch = episodes(seed=seed)
    learner = make_learner(mi_weight=0.7, intrinsic_weight=intrinsic_weight)
    with torch.no_grad():
        td, entropy = by_plain_sums(learner, batch, LENGTHS, intrinsic_weight)
    loss, metrics, _ = learner.loss(batch)
    assert metrics["mi_loss"].item() == pytest.approx(entropy, rel=1e-5)
    assert metrics["mi_bound"].item() == pytest.approx(math.log(Z) - entropy, abs=1e-5)
    assert loss.item() == pytest.approx(td + 0.7 * entropy, rel=1e-4)


def test_intrinsic_rewards_are_part_of_lambda_returns(make_learner, episodes):
    settings, batch = {"td_lambda": 1.0, "bootstrap_on_timeout": False}, episodes([4])
    with_them, without = (make_learner(intrinsic_weight=w, **settings) for w in (0.5, 0.0))
    with torch.no_grad():
        log_q = without.log_q(batch, without.controller.unroll(batch)[0]).flatten().tolist()
        added = with_them.estimates(batch).td_targets - without.estimates(batch).td_targets
    rewards = [0.5 * (x + math.log(Z)) for x in log_q]
    wanted = [sum(GAMMA**k * r for k, r in enumerate(rewards[t:])) for t in range(4)]
    assert added.flatten().tolist() == pytest.approx(wanted, rel=1e-4)


def test_a_discriminator_that_says_nothing_has_the_cross_entropy_log_z(make_learner, episodes):
    learner = make_learner()
    with torch.no_grad():
        for weight in learner.discriminator.head.parameters():
            weight.zero_()
    metrics = learner.loss(episodes()).metrics
    assert metrics["mi_loss"].item() == pytest.approx(math.log(Z))
    assert metrics["mi_bound"].item() == pytest.approx(0, abs=1e-6)


def test_a_discriminator_that_sees_nothing_learns_how_often_each_latent_was_drawn(make_learner, episodes):
    learner, batch = make_learner(network="mlp", lr=0.05), episodes([2] * 60)
    for x in (batch.obs, batch.state, batch.actions):
        x.zero_()
    batch.avail.fill_(True)
    learner.controller.latent_head.hypernet.data.zero_()
    learner.networks.requires_grad_(False)
    learner.discriminator.requires_grad_(True)
    bounds = [learner.update(Sample(batch, np.arange(60))).metrics["mi_bound"].item() for _ in range(30)]
    shares = learner.controller.latents(batch.key).bincount() / 60
    assert bounds[-1] == pytest.approx(math.log(Z) + (shares * shares.log()).sum().item(), abs=2e-3)
    assert 0 < bounds[-1] < 0.05


def test_agents_become_recognizable_if_the_gradient_reaches_them(make_learner, episodes):
    batch = episodes([3] * 20)
    bounds = []
    for weight in (1.0, 0.0):
        learner = make_learner(network="mlp", mi_weight=weight, lr=0.03)
        bounds.append([learner.update(Sample(batch, np.arange(20))).metrics["mi_bound"].item() for _ in range(25)][-1])
    assert bounds[0] > 0.5 * math.log(Z)
    assert bounds[1] < 0.2 * math.log(Z)


def test_the_cross_entropy_reaches_agents_and_discriminator_only(make_learner, episodes):
    learner, batch = make_learner(), episodes()
    q_values, _ = learner.controller.unroll(batch)
    learner.log_q(batch, q_values).sum().backward()
    moved = {name.split(".")[0] for name, p in learner.networks.named_parameters() if p.grad is not None}
    assert moved == {"controller", "discriminator"}
    assert all(p.grad.any() for p in learner.controller.parameters())
    learner.loss(batch).loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in learner.networks.parameters())
    assert set(learner.targets.networks) == {"controller", "mixer"}


def test_the_gradient_of_the_cross_entropy_equals_finite_differences(make_learner, episodes):
    learner, batch = make_learner(network="mlp"), episodes([3, 2])
    learner.discriminator.double()
    batch.state = batch.state.double()
    q_values = torch.randn(2, 4, 2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda q: learner.log_q(batch, q).squeeze(-1)[batch.filled], (q_values,), fast_mode=True
    )


def test_what_is_no_step_changes_neither_loss_nor_gradient(make_learner, episodes):
    learner, batch = make_learner(), episodes()
    dirty = copy.deepcopy(batch)
    dirty.state[:, :-1][~batch.filled] = torch.nan
    dirty.avail[:, :-1][~batch.filled] = False
    q_values = learner.controller.unroll(batch)[0].detach()
    found = []
    for x in (batch, dirty):
        q = q_values.clone()
        if x is dirty:
            q[:, :-1][~batch.filled] = torch.nan
        q.requires_grad_()
        learner.networks.zero_grad()
        log_q = torch.where(batch.filled.unsqueeze(-1), learner.log_q(x, q), 0.0).sum()
        log_q.backward()
        found.append([log_q.detach(), q.grad, *(p.grad for p in learner.discriminator.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert found[0][1][:, :-1][batch.filled].any()


def test_the_discriminator_does_not_see_the_latent_but_the_mixer_does(make_learner, episodes, spec):
    learner, batch = make_learner(), episodes()
    assert learner.mixer._state_dim == spec.state_dim + Z
    assert learner.discriminator.rnn.input_size == spec.state_dim + spec.n_agents * spec.n_actions
    with torch.no_grad():
        learner.controller.latent_head.hypernet.zero_()  # so that z changes no value
    other = copy.deepcopy(batch)
    other.key[:] = torch.flip(batch.key, [0])
    assert not torch.equal(learner.controller.latents(batch.key), learner.controller.latents(other.key))
    a, b = learner.estimates(batch), learner.estimates(other)
    assert torch.equal(a.q_values, b.q_values)
    assert not torch.allclose(a.q_taken, b.q_taken, atol=1e-4)


def test_weights_of_episodes_count_in_both_terms(make_learner, episodes):
    learner, batch = make_learner(), episodes()
    alone = [learner.loss(batch, torch.eye(4)[i]).loss.item() for i in range(4)]
    together = learner.loss(batch, torch.tensor([1.0, 2.0, 0.5, 3.0]))
    assert together.loss.item() == pytest.approx(np.dot([1.0, 2.0, 0.5, 3.0], alone), rel=1e-5)
    assert together.priorities.shape == (4,)
    assert learner.loss(batch).loss.item() == pytest.approx(sum(alone), rel=1e-5)


@pytest.mark.parametrize("mixer", ["vdn", "none"])
def test_without_a_mixer_of_the_state_it_learns_too_and_from_individual_rewards(make_learner, episodes, spec, mixer):
    made_for = dataclasses.replace(spec, individual_rewards=mixer == "none")
    learner = make_learner(made_for, mixer, intrinsic_weight=0.1)
    batch = episodes(made_for=made_for)
    losses = [learner.update(Sample(batch, np.arange(4))).metrics["loss"].item() for _ in range(30)]
    assert losses[-1] < 0.8 * losses[0]


def test_metrics_are_announced_and_equal_seeds_give_equal_bits(make_learner, episodes):
    learners = make_learner(), make_learner()
    for _ in range(3):
        metrics = [learner.update(Sample(episodes(), np.arange(4))).metrics for learner in learners]
        assert tuple(metrics[0]) == learners[0].metric_names
        assert all(torch.equal(metrics[0][name], metrics[1][name]) for name in metrics[0])
    weights = [learner.networks.state_dict() for learner in learners]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_intrinsic_rewards_need_a_discriminator_that_learns(make_learner):
    with pytest.raises(ConfigError, match=r"^learner=maven: intrinsic_weight rewards what .* set mi_weight above 0"):
        make_learner(mi_weight=0.0, intrinsic_weight=0.1)


def test_agents_without_a_latent_are_refused(configured, spec):
    config = configured("env=two_step", "algo=maven", "controller=mac", "network=mlp")
    with pytest.raises(
        ConfigError, match=r"^learner=maven needs a LatentMAC, which controller=mac is not; choose .*lat"
    ):
        build_learner(config, spec)
