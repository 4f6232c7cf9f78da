"""All agents of an environment as one: what single-agent algorithms learn to play."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ...components.rng import UInt64Array
from ...components.spec import BoolArray, IntArray, TimeStep
from ...registry import ConfigError, expect
from ..contract.scene import Scene, require_visible
from ..contract.vector_env import EpisodeFailure, VectorEnv

MOST_JOINT_ACTIONS = 4096
"""More joint actions than this are refused: a network has an output for each."""

_WRITTEN_OUT = 10**12  # larger numbers are shown as a power alone


class JointAgent:
    """A `VectorEnv` in which one agent sees what all agents of another one see, and chooses for all of them.

    Its observation is all observations, one after the other: O is A times the environment's. Each of its U^A actions is
    a joint action of the environment, agent 0's part being the most significant digit: u_0 U^(A-1) + … + u_(A-1). It is
    available where all its parts are. Episodes are the environment's, and so are state, reward, ends, metrics,
    references and pictures; there is no list of entities.

    Args:
        env: the environment; it is closed with this one.

    Attributes:
        env: as given.

    Raises:
        ValueError: there are too many joint actions, or rewards are individual.
    """

    def __init__(self, env: VectorEnv) -> None:
        spec = env.spec
        n_agents, n_actions = spec.n_agents, spec.n_actions
        if spec.individual_rewards:
            raise ValueError(
                "one agent that chooses for all needs a common reward, but this environment gives individual ones; "
                "choose a common reward in the environment"
            )
        n_joint = n_actions**n_agents
        if n_joint > MOST_JOINT_ACTIONS:
            number = f"{n_actions}^{n_agents}" + (f" = {n_joint:,}" if n_joint < _WRITTEN_OUT else "")
            raise ValueError(
                f"one agent that chooses for all would have {number} joint actions ({n_agents} agents with {n_actions} "
                f"actions each), and there can be {MOST_JOINT_ACTIONS:,}; take fewer agents, fewer actions, or an "
                f"algorithm whose agents act on their own"
            )
        self.env, self.n_envs = env, env.n_envs
        self.spec = replace(spec, n_agents=1, n_actions=n_joint, obs_dim=n_agents * spec.obs_dim, entities=None)
        self._n_actions = n_actions
        self._place_values = n_actions ** np.arange(n_agents)[::-1]  # A

    def reset(self, seeds: UInt64Array, where: BoolArray) -> TimeStep:
        """Start new episodes in the rows ``where`` is true."""
        return self._call(lambda: self.env.reset(seeds, where))

    def step(self, actions: IntArray, active: BoolArray) -> TimeStep:
        """Execute one joint action ``[B, 1]`` in each active row."""
        parts = self.parts(actions)
        return self._call(lambda: self.env.step(parts, active))

    def scene(self, row: int) -> Scene:
        """See `Visible.scene`.

        Raises:
            ValueError: the environment has no picture of itself.
        """
        return require_visible(self.env).scene(row)

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def parts(self, actions: IntArray) -> IntArray:
        """The agents' actions ``[B, A]`` that joint actions ``[B, 1]`` consist of."""
        return actions // self._place_values % self._n_actions

    def _call(self, call: Callable[[], TimeStep]) -> TimeStep:
        try:
            return _joined(call())
        except EpisodeFailure as failure:
            raise EpisodeFailure(failure.failures, _joined(failure.time_step)) from failure


def make_joint(make_env: Callable[[int], VectorEnv], n_envs: int) -> JointAgent:
    """A `JointAgent` of ``n_envs`` rows; a ``partial`` of it can be pickled where ``make_env`` can.

    Raises:
        ConfigError: it cannot be made of this environment.
    """
    env = expect(VectorEnv, make_env(n_envs), "joint=true")
    try:
        return JointAgent(env)
    except ValueError as error:
        env.close()
        raise ConfigError(f"joint=true: {error}") from error


def _joined(now: TimeStep) -> TimeStep:
    """A time step of all agents as that of one."""
    n_envs, n_agents, _ = now.avail.shape
    avail = now.avail[:, 0]
    for agent in range(1, n_agents):
        avail = (avail[:, :, None] & now.avail[:, agent, None]).reshape(n_envs, -1)
    return now._replace(obs=now.obs.reshape(n_envs, 1, -1), avail=avail[:, None])
