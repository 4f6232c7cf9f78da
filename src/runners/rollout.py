"""Playing one episode and recording what it looks like, for `render=`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..components.rng import UInt64Array
from ..envs.contract.scene import Scene, require_visible
from ..envs.contract.vector_env import VectorEnv
from ..policies.base import Policy, PolicyState


class Rollout(NamedTuple):
    """What an episode looked like at every time step, from the first observation on.

    Attributes:
        scenes: one more than the episode has steps.
        rewards: of the team, zero for the first scene.
    """

    scenes: tuple[Scene, ...]
    rewards: tuple[float, ...]


def record_rollout(env: VectorEnv, policy: Policy, key: UInt64Array) -> Rollout:
    """Play the episode of one key ``[1]`` in an environment with one row and record its scenes.

    Raises:
        ValueError: the environment cannot be rendered, or not with these settings.
        EpisodeFailure: the environment failed.
    """
    visible = require_visible(env)
    running = np.ones(1, np.bool_)
    step, state = env.reset(key, running), PolicyState.start(env.spec, key)
    scenes, rewards = [visible.scene(0)], [0.0]
    while running.any():
        actions, state = policy.act(step.obs, step.avail, state)
        step = env.step(actions, running)
        running = ~(step.terminated | step.truncated)
        scenes.append(visible.scene(0))
        rewards.append(float(step.reward.mean()))
    return Rollout(tuple(scenes), tuple(rewards))
