"""Nothing that learns or acts takes a device for granted.

There need not be another device to see that: inside ``with torch.device("meta")`` every tensor that is made without a
device of its own has no content, and mixing it with real ones is an error.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hymarl.app.assembly import build_learner
from hymarl.app.options import chosen_by, options
from hymarl.components.episode import EpisodeBatch
from hymarl.components.replay.base import Sample
from hymarl.components.selectors.greedy import Greedy
from hymarl.policies.learned import LearnedPolicy
from hymarl.registry import names


@pytest.fixture
def elsewhere():
    """Tensors that are made without saying where are nowhere."""
    with torch.device("meta"):
        assert torch.zeros(1).is_meta
        yield


def test_the_fixture_finds_what_takes_the_device_for_granted(elsewhere):
    x = torch.ones(2, device="cpu")
    with pytest.raises((RuntimeError, NotImplementedError)):
        torch.maximum(x, torch.arange(2)).tolist()


def sampled(batch):
    """The batch as replay would hand it to a learner."""
    return Sample(batch, np.arange(batch.n_episodes))


@pytest.fixture
def make(component, make_controller, spec):
    def make(mixer, network, **settings):
        torch.manual_seed(0)
        parts = component("mixer", mixer, spec), component("optimizer", "adam")
        return component("learner", "q", make_controller(spec, network), *parts, **settings)

    return make


@pytest.mark.parametrize("mixer", names("mixer"))
@pytest.mark.parametrize("network", names("network"))
@pytest.mark.parametrize(
    "settings",
    [
        {"td_lambda": 0.0, "double_q": False, "target_update": "soft"},
        {"td_lambda": 0.6, "bootstrap_on_timeout": False, "standardize_rewards": True, "huber_delta": 1.0},
    ],
)
def test_an_update_stays_on_its_device(make, spec, random_batch, mixer, network, settings):
    learner, batch = make(mixer, network, **settings), random_batch(spec, [3, 6, 2])
    with torch.device("meta"):
        learner.prepare(batch)
        for _ in range(2):
            metrics = learner.update(sampled(batch.to("cpu"))).metrics
    assert all(float(x) == float(x) for x in metrics.values())
    assert all(x.device.type == "cpu" for x in learner.networks.state_dict().values())


@pytest.mark.parametrize("network", names("network"))
@pytest.mark.parametrize("sharing", ["shared", "independent"])
def test_acting_stays_on_its_device(make_controller, spec, random_batch, network, sharing):
    policy = LearnedPolicy(spec, make_controller(spec, network, sharing=sharing), Greedy())
    batch = random_batch(spec, [3, 6])
    obs, avail = batch.obs.numpy(), batch.avail.numpy()
    with torch.device("meta"):
        actions, state = policy.act(obs[:, 0], avail[:, 0])
        actions, state = policy.act(obs[:, 1], avail[:, 1], state)
    assert actions.shape == (2, spec.n_agents)


@pytest.mark.parametrize("controller", names("controller"))
@pytest.mark.parametrize("network", names("network"))
def test_a_controller_that_is_elsewhere_has_no_arrays(make_controller, spec, network, controller):
    """A policy is made of it; only its tensors cannot be computed with, as they have no content."""
    policy = LearnedPolicy(spec, make_controller(spec, network, name=controller).to("meta"))
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor; no data!"):
        policy.act(torch.zeros(2, spec.n_agents, spec.obs_dim).numpy())


def test_copies_to_a_gpu_are_pinned_and_do_not_wait(monkeypatch, spec, random_batch):
    calls, batch = [], random_batch(spec, [2])

    def to(self, device, non_blocking):
        calls.append((device, non_blocking))
        return self

    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: (calls.append("pin"), self)[1])
    monkeypatch.setattr(torch.Tensor, "to", to)
    batch.to("cuda:0")
    n = len(EpisodeBatch.empty(spec, 1).tensors())
    assert calls.count("pin") == n
    assert calls.count(("cuda:0", True)) == n


FIRST_OF_LEARNER = {chosen_by(algo)["learner"]: algo for algo in reversed(options("algo"))}.values()


@pytest.mark.parametrize(
    "algo",
    [algo if algo in FIRST_OF_LEARNER else pytest.param(algo, marks=pytest.mark.slow) for algo in options("algo")],
)
def test_all_networks_of_an_algorithm_are_on_its_device(configured, spec, algo):
    config = replace(configured("env=two_step", f"algo={algo}", "network=mlp"), device="meta")
    learner = build_learner(config, spec)
    parts = (part for name, part in learner.state.items() if name != "reward_scaler")  # two numbers
    assert {x.device.type for part in parts for x in part.state_dict().values()} == {"meta"}
