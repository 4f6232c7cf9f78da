"""A game of luck in which everything depends on the episode's key and all actions; it breaks, or is ended, on command.

``CHANCE_SIGNAL=SIGINT CHANCE_AT="50 60"`` in the process's surroundings, not in the run's settings: the process gets
that signal with the 50th and the 60th joint step that it plays.
"""

import os
import signal

import numpy as np

from hymarl.components import rng
from hymarl.components.spec import EnvSpec, TimeStep
from hymarl.registry import register


@register("env")
class Chance:
    """Episodes of different lengths; about half of them are cut off at the limit.

    Args:
        agents: the number of agents asked for; two by default.
        n_envs: B.
        limit: the largest number of steps in an episode.
        breaks_at: number of the call of `step`, from 1, that raises; null: none does.
    """

    def __init__(self, agents, n_envs, *, limit: int, breaks_at: int | None):
        self.n_envs = n_envs
        self.spec = EnvSpec(
            agents or 2, n_actions=3, obs_dim=4, state_dim=4, episode_limit=limit, metric_names=("luck",)
        )
        self._breaks_at, self._signal = breaks_at, os.environ.get("CHANCE_SIGNAL")
        self._history, self._t = np.zeros(n_envs, np.uint64), np.zeros(n_envs, np.int64)

    def reset(self, seeds, where):
        self._history[where], self._t[where] = seeds[where], 0
        return self._look(where)

    def step(self, actions, active):
        self._count()
        given = (actions @ 3 ** np.arange(self.spec.n_agents)).astype(np.uint64)
        self._history[active] = rng.derive(self._history ^ given, 0)[active]
        self._t[active] += 1
        out = self._look(active)
        luck = self._numbers(1)
        out.reward[active] = (luck + (actions == 0).mean(axis=1) * out.state[:, 0])[active]
        out.terminated[active] = (luck < 0.1)[active]
        out.truncated[active] = (~out.terminated & (self._t == self.spec.episode_limit))[active]
        out.metrics[active, 0] = np.where(out.terminated, luck, np.nan)[active]
        return out

    def close(self):
        pass

    def _count(self):
        steps = int(os.environ.get("CHANCE_STEPS", "0")) + 1  # of all environments of the process
        os.environ["CHANCE_STEPS"] = str(steps)
        if steps == self._breaks_at:
            raise RuntimeError("out of luck")
        if self._signal and str(steps) in os.environ["CHANCE_AT"].split():
            signal.raise_signal(signal.Signals[self._signal])

    def _numbers(self, purpose):
        return rng.uniform(rng.derive(self._history, purpose))

    def _look(self, where):
        out = TimeStep.zeros(self.spec, self.n_envs)
        out.state[where] = np.stack([self._numbers(n) for n in range(2, 6)], axis=-1)[where]
        out.obs[:] = out.state[:, None]
        out.avail[where] = (out.obs[..., :3] > 0.2)[where]
        out.avail[..., 0] |= where[:, None]
        return out
