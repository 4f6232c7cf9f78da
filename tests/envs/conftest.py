"""Environments made of an option's settings, and played with few words."""

import copy
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from hymarl.components import rng
from hymarl.components.rng import Stream
from hymarl.envs.workers.pool import WorkerEnvs
from hymarl.registry import build, check_settings, find


@pytest.fixture(scope="session")
def settings(option):
    """Name and checked settings of an option, with those of the options that it extends."""

    def read(chosen, **changes):
        name, values = option("env", chosen, **changes)
        return name, check_settings(find("env", name), values, chosen)

    return read


class Player:
    """Plays a `VectorEnv`."""

    def __init__(self, env):
        self.env, self.spec = env, env.spec
        self.every = np.ones(env.n_envs, np.bool_)

    def keys(self, episode=0):
        return rng.keys(0, Stream.TEST, np.arange(self.env.n_envs) + episode * self.env.n_envs)

    def start(self, episode=0):
        return self.env.reset(self.keys(episode), self.every)

    def go(self, *joint):
        return self.env.step(np.tile(np.array(joint), (self.env.n_envs, 1)), self.every)

    def episode(self, episode=0, limit=1000):
        """All time steps of an episode with random available actions, copied."""
        g = np.random.default_rng(episode)
        now = self.start(episode)
        steps, running = [copy.deepcopy(now)], self.every.copy()
        while running.any() and len(steps) <= limit:
            scores = np.where(now.avail, g.random(now.avail.shape), -1.0)
            now = self.env.step(scores.argmax(axis=-1), running.copy())
            steps.append(copy.deepcopy(now))
            running &= ~(now.terminated | now.truncated)
        return steps


@pytest.fixture
def play(monkeypatch, settings):
    """Makes and plays an environment: ``play("lbf", agents=3, n_envs=2, task=…).start()``."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    made = []

    def make(option, agents=None, n_envs=1, **changes):
        name, values = settings(option, **changes)
        made.append(build("env", name, values, agents, n_envs))
        return Player(made[-1])

    yield make
    for env in made:
        env.close()


@pytest.fixture
def equal_in_workers(play, settings):
    """Asserts that three rows of an environment play an equal episode here and in two worker processes."""

    def check(option, agents=None, **changes):
        expected = play(option, agents, 3, **changes).episode()
        make = partial(build, "env", *settings(option, **changes), agents)
        with closing(WorkerEnvs(make, 3, 2, timeout_s=60.0)) as env:
            found = Player(env).episode()
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))

    return check
