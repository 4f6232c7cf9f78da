"""Weighted QMIX against plain sums, and what its weights are."""

import numpy as np
import pytest
import torch

from hymarl.components.replay.base import Sample
from hymarl.modules.mixers.base import MixerInputs
from hymarl.registry import ConfigError

GAMMA, ALPHA = 0.9, 0.3
LENGTHS = [6, 1, 4, 3]  # the first and third terminate, the others are cut off


@pytest.fixture(scope="session")
def make_learner(component, make_controller, spec):
    def make(weighting="cw", **changes):
        torch.manual_seed(2)
        controller = make_controller(spec, "rnn")
        parts = controller, component("mixer", "qmix", spec), lambda: make_controller(spec, "rnn"), spec
        learner = component(
            "learner",
            "weighted_q",
            *parts,
            component("optimizer", "adam", lr=0.01),
            **{"weighting": weighting, "alpha": ALPHA, "gamma": GAMMA, "central_dims": [16], **changes},
        )
        for weight in learner.targets.parameters():  # so that online and target networks differ
            weight.data += 0.1 * torch.randn(weight.shape)
        return learner

    return make


def value(mixer, batch, b, t, q, joint):
    """The mixed value of one joint action at one time."""
    taken = torch.stack([q[b, t, agent, action] for agent, action in enumerate(joint)])[None, None]
    inputs = MixerInputs(
        taken, taken, torch.tensor(joint)[None, None], batch.obs[b, t][None, None], batch.state[b, t][None, None]
    )
    return mixer(inputs).item()


def best_actions(batch, b, t, q):
    return [
        max((u for u in range(q.shape[-1]) if batch.avail[b, t, agent, u]), key=lambda u: q[b, t, agent, u].item())
        for agent in range(q.shape[2])
    ]


def by_plain_sums(learner, batch, weighting, before=(0.0, 1.0), after=(0.0, 1.0)):
    """Both losses and the mean weight, one episode and one time after another.

    ``before`` and ``after``: mean and deviation that values of target networks, and of the others, are relative to.
    """
    target = learner.targets.networks
    with torch.no_grad():
        q, central_q = learner.controller.unroll(batch)[0], learner.central_controller.unroll(batch)[0]
        target_q = target["central_controller"].unroll(batch)[0]
        mixed, central, weights = [], [], []
        for b, length in enumerate(LENGTHS):
            for t in range(length):
                joint = batch.actions[b, t].tolist()
                y = batch.reward[b, t].item()
                if not batch.terminated[b, t]:
                    follows = best_actions(batch, b, t + 1, q)
                    said = value(target["central_mixer"], batch, b, t + 1, target_q, follows)
                    y += GAMMA * (before[0] + before[1] * said)
                y = (y - after[0]) / after[1]
                taken = value(learner.mixer, batch, b, t, q, joint)
                best = best_actions(batch, b, t, q)
                if weighting == "ow":
                    counts = taken < y
                else:
                    central_best = value(target["central_mixer"], batch, b, t, target_q, best)
                    counts = joint == best or after[0] + after[1] * y > before[0] + before[1] * central_best
                weights.append(1.0 if counts else ALPHA)
                mixed.append(weights[-1] * (taken - y) ** 2)
                central.append((value(learner.central_mixer, batch, b, t, central_q, joint) - y) ** 2)
    return np.mean(mixed), np.mean(central), np.mean(weights)


@pytest.mark.parametrize("weighting", ["cw", "ow"])
@pytest.mark.parametrize("seed", range(5))
def test_the_loss_equals_plain_sums(make_learner, random_batch, spec, weighting, seed):
    learner, batch = make_learner(weighting), random_batch(spec, LENGTHS, seed=seed)
    mixed, central, weight = by_plain_sums(learner, batch, weighting)
    loss, metrics, _ = learner.loss(batch)
    assert loss.item() == pytest.approx(mixed + central, rel=1e-5)
    assert metrics["central_loss"].item() == pytest.approx(central, rel=1e-5)
    assert metrics["weight_mean"].item() == pytest.approx(weight, rel=1e-5)
    assert ALPHA < weight < 1  # both kinds of joint actions are there


@pytest.mark.parametrize("weighting", ["cw", "ow"])
def test_normalized_values_are_compared_in_one_unit(make_learner, random_batch, spec, weighting):
    learner, batch = make_learner(weighting, normalize_values=True), random_batch(spec, LENGTHS, seed=1)
    learner.value_scaler.observe(torch.tensor([[[-3.0], [9.0]]]), torch.ones(1, 2, dtype=torch.bool))
    learner.targets.networks["value_scaler"].load_state_dict(learner.value_scaler.state_dict())
    before = learner.value_scaler.mean.item(), learner.value_scaler.std.item()
    loss, metrics, _ = learner.loss(batch)
    after = learner.value_scaler.mean.item(), learner.value_scaler.std.item()
    assert before == pytest.approx((3, 6))
    assert after[1] < 5
    mixed, central, weight = by_plain_sums(learner, batch, weighting, before, after)
    assert loss.item() == pytest.approx(mixed + central, rel=1e-4)
    assert metrics["weight_mean"].item() == pytest.approx(weight, rel=1e-5)


def test_with_alpha_1_every_joint_action_counts(make_learner, random_batch, spec):
    batch = random_batch(spec, LENGTHS)
    losses = {make_learner(weighting, alpha=1.0).loss(batch)[0].item() for weighting in ("cw", "ow")}
    assert len(losses) == 1


def test_weights_of_episodes_count_beside_those_of_joint_actions(make_learner, random_batch, spec):
    learner, batch = make_learner(), random_batch(spec, LENGTHS)
    alone = [learner.loss(batch, torch.eye(4)[i])[0].item() for i in range(4)]
    assert learner.loss(batch, torch.tensor([1.0, 2.0, 0.5, 3.0]))[0].item() == pytest.approx(
        np.dot([1.0, 2.0, 0.5, 3.0], alone), rel=1e-5
    )
    assert learner.loss(batch)[2] is None
    assert learner.loss(batch, torch.ones(4))[2].shape == (4,)


def test_every_network_learns_and_only_the_central_ones_have_targets(make_learner, random_batch, spec):
    learner, batch = make_learner(), random_batch(spec, LENGTHS)
    learner.loss(batch)[0].backward()
    assert not [n for n, p in learner.networks.named_parameters() if p.grad is None or not p.grad.any()]
    assert all(p.grad is None for p in learner.targets.parameters())
    assert set(learner.targets.networks) == {"central_controller", "central_mixer"}
    losses = [learner.update(Sample(batch, np.arange(4))).metrics["loss"].item() for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]


def test_a_value_for_each_agent_is_refused(component, make_controller, spec):
    controller = make_controller(spec)
    parts = controller, component("mixer", "none", spec), lambda: controller, spec, component("optimizer", "adam")
    with pytest.raises(
        ConfigError, match="it weights a joint value, which mixer=none does not make; choose mixer=qmix"
    ):
        component("learner", "weighted_q", *parts)
