"""Exploration by noise in the weights of the acting policy: all of them, or those of noisy layers."""

import numpy as np
import pytest
import torch

from hymarl.app.assembly import build_trainer
from hymarl.components.selectors.greedy import Greedy
from hymarl.policies.learned import Job, LearnedPolicy
from hymarl.registry import ConfigError

LENGTHS = [3, 6, 2]


@pytest.fixture
def controller(make_controller, spec):
    torch.manual_seed(0)
    return make_controller(spec, "rnn", {"hidden_dims": [16], "rnn_dim": 8, "layer_norm": True})


@pytest.fixture
def make(component, controller, spec):
    def policy(epsilon=None, **changes):
        schedule = {"schedule": "linear", "start": epsilon, "finish": 0.0, "anneal_steps": 100}
        selector = Greedy() if epsilon is None else component("selector", "epsilon_greedy", spec, (), **schedule)
        return component("policy", "parameter_noise", spec, controller, selector, 1, **changes)

    return policy


def job(controller, first=0, noise=0.1, steps=0):
    weights = {name: x.detach().clone() for name, x in controller.state_dict().items()}
    return Job(np.arange(first, first + 3), steps, 0, weights, noise)


def changes(policy, planned):
    """What a job changes in the weights of the acting policy, by their names."""
    policy.explore(planned)
    acting = policy.controller.state_dict()
    return {name: acting[name] - x for name, x in planned.weights.items()}


@pytest.mark.parametrize(("network", "sharing"), [("rnn", "independent"), ("mlp", "shared"), ("entity", "shared")])
def test_all_weights_are_perturbed_but_those_of_layer_norms(component, make_controller, spec, network, sharing):
    settings = {"mlp": {"hidden_dims": [150, 80]}, "rnn": {"rnn_dim": 64, "layer_norm": True}}
    controller = make_controller(spec, network, settings.get(network, {"rnn_dim": 64}), sharing=sharing)
    made = component("policy", "parameter_noise", spec, controller, Greedy(), 1, distance=0.1)
    planned = job(controller, noise=0.3)
    noise = changes(made, planned)
    norms = {name for name in noise if ".norm." in name}
    assert len(norms) == (4 if network == "rnn" else 0)
    assert all((noise[name] == 0).all() == (name in norms) for name in noise)
    numbers = torch.cat([x.flatten() for name, x in noise.items() if name not in norms])
    assert numbers.std() == pytest.approx(0.3, rel=0.05)
    assert abs(numbers.mean()) < 0.01
    assert len(set(numbers.tolist())) > 0.99 * len(numbers)


@pytest.mark.parametrize("noisy", [False, True])
def test_noise_differs_between_collections_and_not_within_one(make, make_controller, spec, noisy):
    torch.manual_seed(0)
    made = LearnedPolicy(spec, make_controller(spec, "rnn", {"noisy": True})) if noisy else make(distance=0.1)
    obs = np.random.default_rng(0).standard_normal((50, spec.n_agents, spec.obs_dim)).astype(np.float32)
    scores, weights = [], job(made.controller).weights
    for first in (0, 3, 0):
        made.explore(planned := Job(np.arange(first, first + 3), 0, 0, weights, made.noise))
        scores.append(
            [made._step(obs, np.full((50, spec.n_agents), -1), None, np.zeros(50, np.uint64))[0] for _ in range(2)]
        )
        assert (scores[-1][0] == scores[-1][1]).all()
    assert (scores[0][0] == scores[2][0]).all()
    assert (scores[0][0] != scores[1][0]).any(axis=-1).all()
    made.load_state_dict(planned.weights)  # as evaluation does
    assert all(torch.equal(x, planned.weights[name]) for name, x in made.controller.state_dict().items())


@torch.no_grad()
def by_hand(controller, batch, planned, made):
    """The distance, decision by decision."""
    made.explore(planned)
    perturbed = made.controller.unroll(batch)[0]
    made.load_state_dict(planned.weights)
    plain = made.controller.unroll(batch)[0]
    found = []
    for b, length in enumerate(LENGTHS):
        for t in range(length):
            for a in range(batch.avail.shape[2]):
                there = batch.avail[b, t, a]
                if there.sum() > 1:
                    p, q = (x[b, t, a, there].double().softmax(dim=0) for x in (plain, perturbed))
                    found.append(float((p * (p / q).log()).sum()))
    return np.mean(found), [int(n) for n in batch.avail[:, :-1].sum(dim=-1)[batch.filled].flatten() if n > 1]


def test_sigma_rises_if_the_distance_is_below_its_target_and_falls_above(controller, make, random_batch, spec):
    batch, planned = random_batch(spec, LENGTHS), job(controller, noise=0.4)
    distance, _ = by_hand(controller, batch, planned, make(distance=1.0))
    assert distance > 1e-3
    for target, factor in ((distance * 1.01, 2.0), (distance / 1.01, 0.5)):
        made = make(sigma=0.4, adapt=2.0, distance=target)
        assert made.metric_names == ("sigma", "distance")
        assert np.isnan(made.metrics(0)["distance"])
        made.adapt(planned, batch)
        assert made.noise == 0.4 * factor
        assert made.metrics(0) == {"sigma": made.noise, "distance": pytest.approx(distance, rel=1e-4)}


def test_without_a_distance_its_target_is_what_epsilon_would_cause(controller, make, random_batch, spec):
    batch, planned = random_batch(spec, LENGTHS), job(controller, noise=0.2, steps=50)
    distance, choices = by_hand(controller, batch, planned, make(distance=1.0))
    # epsilon is half of that at the start, and the divergence rises with it: where is it the distance?
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        wanted = np.mean([-np.log(1 - middle + middle / n) for n in choices])
        low, high = (middle, high) if wanted < distance else (low, middle)
    for start, factor in ((2 * low * 1.02, 2.0), (2 * low / 1.02, 0.5)):
        made = make(epsilon=start, sigma=0.4, adapt=2.0, distance=None)
        made.adapt(planned, batch)
        assert made.noise == 0.4 * factor
    assert made.metrics(50)["epsilon"] == pytest.approx(start / 2)


def test_the_noise_takes_the_place_of_random_actions(controller, make, spec):
    obs = np.random.default_rng(0).standard_normal((50, spec.n_agents, spec.obs_dim)).astype(np.float32)
    planned = job(controller)
    played = []
    for policy in (make(epsilon=1.0, distance=None), make(distance=1.0), make(epsilon=1.0, distance=1.0)):
        policy.explore(planned)
        played.append(policy.act(obs)[0])
    assert (played[0] == played[1]).all()
    assert (played[0] != played[2]).any()


def test_episodes_without_a_choice_tell_nothing(controller, make, random_batch, spec):
    batch = random_batch(spec, LENGTHS)
    batch.avail[:] = torch.arange(spec.n_actions) == 2
    made = make(sigma=0.4, distance=1.0)
    made.adapt(job(controller), batch)
    assert made.noise == 0.4


def test_what_has_no_target_or_noise_already_is_refused(component, make, make_controller, spec):
    with pytest.raises(ConfigError, match=r"policy=parameter_noise: without a distance .* give policy.distance"):
        make()
    noisy = make_controller(spec, "mlp", {"noisy": True})
    with pytest.raises(ConfigError, match=r"policy=parameter_noise: .* set network.noisy=false"):
        component("policy", "parameter_noise", spec, noisy, Greedy(), 1, distance=1.0)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("algo=mappo network.noisy=true", r"learner=ppo compares the probabilities .* set network.noisy=false"),
        ("algo=coma network.noisy=true", r"learner=coma compares the probabilities .* set network.noisy=false"),
        (
            "algo=coma policy=parameter_noise policy.distance=1",
            r"policy=parameter_noise acts with other weights; choose",
        ),
    ],
)
def test_learners_that_cannot_learn_with_noise_refuse_it(configured, given, sentence):
    with pytest.raises(ConfigError, match=sentence):
        build_trainer(configured("env=two_step", *given.split()))
