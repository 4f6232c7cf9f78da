"""An environment that breaks its contract: a reward before anything was done, and noise of its own."""

import numpy as np

from hymarl.components.spec import EnvSpec, TimeStep
from hymarl.registry import register


@register("env")
class Broken:
    def __init__(self, agents, n_envs):
        self.n_envs = n_envs
        self.spec = EnvSpec(2, 2, 1, 1, episode_limit=3)
        self._t, self._noise = np.zeros(n_envs, np.int64), np.random.default_rng(0)

    def reset(self, seeds, where):
        self._t[where] = 0
        return self._finish(where, 1.0)

    def step(self, actions, active):
        self._t += active
        return self._finish(active, self._noise.random(self.n_envs))

    def close(self):
        pass

    def _finish(self, where, reward):
        out = TimeStep.zeros(self.spec, self.n_envs)
        out.reward[:], out.avail[:], out.truncated[:] = reward, True, self._t == 3
        return out.only(where)
