"""Policies that learn nothing: random ones, and the rules of load balancers."""

from importlib import resources

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from hymarl.app.config import option
from hymarl.components.rng import Stream, keys
from hymarl.envs.loadbalance.parameters import RULES
from hymarl.policies.base import Policy, PolicyState
from hymarl.registry import ConfigError, build


def environment(name, n_envs):
    """An environment as its YAML file says."""
    with initialize_config_module("hymarl.conf", version_base="1.3"):
        values = OmegaConf.to_container(compose("config", overrides=[f"env={name}"]).env)
    return build("env", values.pop("name"), values, None, n_envs)


@pytest.fixture(scope="module")
def balancers():
    """Two environments with four balancers and four servers."""
    return environment("loadbalance", 2)


def scripted(name, spec):
    return option("policy", name).factory()(spec)


def start(env, first=0):
    seeds = keys(0, Stream.TEST, list(range(first, first + env.n_envs)))
    return env.reset(seeds, np.ones(env.n_envs, np.bool_)), PolicyState.start(env.spec, seeds)


def course(env, policy, steps=20):
    """Observations of an episode's first steps, the policy attached first."""
    policy.attach(env)
    step, state = start(env)
    out = [step.obs.copy()]
    for _ in range(steps):
        actions, state = policy.act(step.obs, step.avail, state)
        assert np.take_along_axis(step.avail, actions[..., None], axis=-1).all()
        step = env.step(actions, np.ones(env.n_envs, np.bool_))
        out.append(step.obs.copy())
    return np.array(out)


class Always(Policy):
    """The same action for everybody."""

    def __init__(self, action):
        self.action = action

    def act(self, obs, avail, state):
        actions = np.full(avail.shape[:2], self.action)
        return actions, state.after(actions)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_a_policy(balancers, rule):
    found = course(balancers, scripted(rule, balancers.spec))
    balancers.control(rule, None)
    step, _ = start(balancers)
    for expected in found:
        assert np.array_equal(step.obs, expected)
        step = balancers.step(np.zeros((2, 4), np.int64), np.ones(2, np.bool_))


def test_every_rule_has_its_file():
    folder = resources.files("hymarl.conf") / "policy"
    variants = [OmegaConf.create((folder / f"{rule}.yaml").read_text()) for rule in RULES]
    assert [(v.name, v.rule) for v in variants] == [("dispatch", rule) for rule in RULES]


def test_actions_count_again_after_a_rule(balancers):
    fresh = [course(balancers, Always(action)) for action in (0, 3)]
    course(balancers, scripted("gsed", balancers.spec))
    again = [course(balancers, Always(action)) for action in (0, 3)]
    assert np.array_equal(fresh, again)
    assert not np.array_equal(fresh[0], fresh[1])


@pytest.mark.parametrize("name", ["sed", "random_levels"])
def test_rules_need_an_environment_that_dispatches(name):
    game = environment("matrix_game", 1)
    with pytest.raises(ConfigError, match=f"policy={name}.*choose env=loadbalance"):
        scripted(name, game.spec).attach(game)


def test_an_unknown_rule_is_refused(balancers):
    with pytest.raises(Exception, match="rule"):
        build("policy", "dispatch", {"rule": "sedd"}, balancers.spec).attach(balancers)


def test_random_levels_are_weights_by_key_time_balancer_and_server(balancers):
    policy = scripted("random_levels", balancers.spec)
    policy.attach(balancers)
    step, state = start(balancers)
    weights = []
    for _ in range(300):
        _, state = policy.act(step.obs, step.avail, state)
        weights.append(balancers._weights.copy())
    weights = np.array(weights)  # T B A S
    levels, counts = np.unique(weights, return_counts=True)
    assert levels.tolist() == [1.0, 1.2, 1.4, 1.6, 1.8, 2.0]
    assert counts / weights.size == pytest.approx([1 / 6] * 6, abs=0.02)
    flat = weights.reshape(300, -1)
    correlation = np.corrcoef(flat.T) - np.eye(flat.shape[1])
    assert abs(correlation).max() < 0.3
    assert abs(np.corrcoef(flat[1:, 0], flat[:-1, 0])[0, 1]) < 0.2
    alone = PolicyState.start(balancers.spec, state.keys[::-1].copy())
    policy.act(step.obs, step.avail, alone)
    assert np.array_equal(balancers._weights, weights[0, ::-1])


def test_random_levels_must_be_positive(balancers):
    with pytest.raises(ConfigError, match="levels must be numbers above 0"):
        build("policy", "random_levels", {"levels": [1.0, 0.0]}, balancers.spec)


def test_random_is_uniform_over_available_actions(spec):
    policy = scripted("random", spec)
    state = PolicyState.start(spec, keys(0, Stream.TEST, list(range(500))))
    avail = np.ones((500, 2, 5), np.bool_)
    avail[:, 1, [0, 3]] = False
    chosen = []
    for _ in range(20):
        actions, state = policy.act(np.zeros((500, 2, 9), np.float32), avail, state)
        chosen.append(actions)
    chosen = np.array(chosen)  # T B A
    assert np.bincount(chosen[..., 0].ravel()) / 10_000 == pytest.approx([0.2] * 5, abs=0.02)
    assert np.bincount(chosen[..., 1].ravel(), minlength=5) / 10_000 == pytest.approx(
        [0, 1 / 3, 1 / 3, 0, 1 / 3], abs=0.02
    )
    assert abs(np.corrcoef(chosen[..., 0].ravel(), chosen[..., 1].ravel())[0, 1]) < 0.05
    assert abs(np.corrcoef(chosen[1:, :, 0].ravel(), chosen[:-1, :, 0].ravel())[0, 1]) < 0.05


def test_random_depends_on_key_and_time_only(spec):
    policy, key = scripted("random", spec), keys(0, Stream.TEST, [1, 2, 3])
    avail, obs = np.ones((3, 2, 5), np.bool_), np.zeros((3, 2, 9), np.float32)
    one, after = policy.act(obs, avail, PolicyState.start(spec, key))
    two, _ = policy.act(obs, avail, PolicyState.start(spec, key[::-1].copy()))
    assert np.array_equal(one, two[::-1])
    later, _ = policy.act(obs, avail, after)
    again, _ = policy.act(obs, avail, after)
    assert np.array_equal(later, again)
