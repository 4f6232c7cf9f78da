"""Normalized observations: equal to NumPy's, from `refresh` on, in acting as in learning."""

import numpy as np
import pytest
import torch

from hymarl.components.episode import Column
from hymarl.components.replay.base import Sample
from hymarl.learners.decisions import decisions
from hymarl.policies.learned import LearnedPolicy

LENGTHS = [6, 1, 4, 3]


def stretched(batch):
    """The batch with a number that never varies, a large one, and one that is far away."""
    batch.obs[..., 0] = 3.0
    batch.obs[..., 1] *= 1000
    batch.obs[..., 2] += 50
    return batch


@pytest.mark.parametrize("network", ["rnn", "mlp"])
def test_observations_have_mean_0_and_standard_deviation_1_over_what_was_collected(
    make_controller, random_batch, spec, network
):
    controller = make_controller(spec, network, normalize_obs=True)
    parts = [stretched(random_batch(spec, LENGTHS, seed=seed)) for seed in (1, 2)]
    for part in parts:
        controller.observe(part)
    scaler = controller.inputs.scaler
    assert torch.equal(scaler(parts[0].obs), parts[0].obs.clamp(-10, 10))
    controller.refresh()
    seen = np.concatenate([part.obs[:, :-1][part.filled].numpy().reshape(-1, spec.obs_dim) for part in parts])
    std = seen.astype(np.float64).std(axis=0)
    wanted = (seen - seen.mean(axis=0)) / np.where(std < 1e-3, 1, std)
    assert std[1] > 100
    assert std[0] < 1e-3
    assert np.allclose(scaler(torch.from_numpy(seen)), np.clip(wanted, -10, 10), atol=1e-4)


def test_acting_and_learning_see_the_same(make_controller, random_batch, spec):
    torch.manual_seed(0)
    controller, batch = make_controller(spec, "rnn", normalize_obs=True), stretched(random_batch(spec, LENGTHS))
    controller.observe(batch)
    controller.refresh()
    scores = controller.unroll(batch)[0].detach().numpy()
    step, state, last = controller.stepper(), None, np.full((4, 2), -1)
    for t in range(6):
        acted, state = step(batch.obs[:, t].numpy(), last, state, batch.key.numpy().view(np.uint64))
        assert np.allclose(acted, scores[:, t], atol=1e-5)
        last = batch.actions[:, t].numpy().astype(np.int64)


def test_statistics_count_only_after_the_updates_on_a_collection(component, make_controller, random_batch, spec):
    """Until then a learner sees what the agents saw, so the ratio of probabilities in its first update is 1."""
    controller = make_controller(spec, "rnn", normalize_obs=True)
    parts = controller, component("critic", "central_v", spec), component("optimizer", "adam")
    learner, batch = component("learner", "ppo", *parts), stretched(random_batch(spec, LENGTHS))
    with torch.no_grad():
        log_prob = decisions(batch, controller.unroll(batch)[0]).log_prob * batch.filled.unsqueeze(-1)
    batch = batch.extended({"log_prob": Column((2,), torch.float32, "T")}, {"log_prob": log_prob})
    metrics = learner.update(Sample(learner.prepare(batch), np.arange(4))).metrics
    assert metrics["kl"].abs() < 1e-6
    assert metrics["clipped"] == 0
    before = controller.inputs.scaler.factor.clone()
    learner.finish_collection()
    assert not torch.equal(before, controller.inputs.scaler.factor)
    saved = learner.policy_weights()
    assert torch.equal(saved["inputs.scaler.factor"], controller.inputs.scaler.factor)


@pytest.mark.slow
def test_a_run_saves_them_with_its_weights(hymarl, tmp_path):
    settings = "env=two_step", "controller.normalize_obs=true", "train.total_steps=64", "logger=[]", "network=mlp"
    outcome = hymarl(tmp_path, *settings, "eval.episodes=1", "eval.test_episodes=1", "hydra.run.dir=run")
    assert (outcome.code, outcome.err) == (0, "")
    assert LearnedPolicy.load(tmp_path / "run", "last").controller.inputs.scaler.moments.count > 0
    assert hymarl(tmp_path, "evaluate=run").code == 0
