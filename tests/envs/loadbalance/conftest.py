"""Load-balancing environments as their presets say, and episodes played in them."""

import numpy as np
import pytest

from hymarl.components.rng import Stream, keys
from hymarl.envs.loadbalance import LoadBalance
from hymarl.envs.loadbalance.parameters import AGENTS, RULES
from hymarl.registry import build, check_settings


@pytest.fixture(scope="session")
def make_env(component):
    """``make_env("lb_scale", n_envs=2, agents=8, rho=0.5)``: a preset, some of its settings changed."""

    def make(preset="loadbalance", n_envs=1, agents=None, **changes):
        return component("env", preset, agents, n_envs, **changes)

    return make


@pytest.fixture(scope="session")
def make_checked_env(option):
    """As ``make_env``, with types and choices of the settings checked before, which takes its time."""

    def make(**changes):
        agents = changes.pop("agents", None)
        name, settings = option("env", "loadbalance", **changes)
        return build("env", name, check_settings(LoadBalance, settings, "env=loadbalance"), agents, 1)

    return make


@pytest.fixture(scope="session")
def seeds():
    """Keys of test episodes: ``seeds(range(4))``."""
    return lambda index: keys(0, Stream.TEST, list(index))


@pytest.fixture(scope="session")
def start(seeds):
    """Reset all rows to the first test episodes."""

    def run(env, first=0):
        return env.reset(seeds(range(first, first + env.n_envs)), np.ones(env.n_envs, np.bool_))

    return run


@pytest.fixture(scope="session")
def advance():
    """One step in all rows, with the given actions or with action 0."""

    def run(env, actions=None):
        if actions is None:
            actions = np.zeros((env.n_envs, env.spec.n_agents), np.int64)
        return env.step(actions, np.ones(env.n_envs, np.bool_))

    return run


@pytest.fixture(scope="session")
def follow():
    """Change the settings ``rule`` and ``random_levels`` from the next step on: ``follow(env, "sed", [1.0, 2.0])``."""

    def change(env, rule, levels=()):
        p, number = env.engine.parameters, AGENTS if rule is None else RULES.index(rule)
        env.engine.parameters = p._replace(acting=p.acting._replace(rule=number, levels=np.array(levels, np.float64)))

    return change


@pytest.fixture(scope="session")
def play(start, advance, follow):
    """Whole episodes under a rule; returns (returns ``[episodes]``, metrics by name)."""

    def run(env, rule, n_episodes, levels=()):
        returns, metrics = [], []
        follow(env, rule, levels)
        for first in range(0, n_episodes, env.n_envs):
            start(env, first)
            total = np.zeros(env.n_envs)
            for _ in range(env.spec.episode_limit):
                step = advance(env)
                total += step.reward
            assert step.truncated.all()
            returns.append(total)
            metrics.append(step.metrics.copy())
        follow(env, None)
        columns = np.concatenate(metrics)[:n_episodes].T
        return np.concatenate(returns)[:n_episodes], dict(zip(env.spec.metric_names, columns, strict=True))

    return run
