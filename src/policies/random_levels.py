"""Random weights: what untrained agents of Yao, Ding and Clausen (CIKM 2022) do."""

from __future__ import annotations

import numpy as np

from ..components.rng import derive, draw, uniform
from ..components.spec import BoolArray, EnvSpec, FloatArray, IntArray
from ..envs.contract.vector_env import Dispatching, VectorEnv
from ..registry import ConfigError, register
from .base import Policy, PolicyState


@register("policy")
class RandomLevels(Policy):
    """Draws a weight for every server of every balancer in each step; the data plane uses them with SED.

    Args:
        spec: sizes of the environment.
        levels: weights to draw from, all equally likely.

    Raises:
        ValueError: no levels, or one that is not above 0.
    """

    def __init__(self, spec: EnvSpec, *, levels: list[float]) -> None:
        if not levels or min(levels) <= 0:
            raise ValueError(f"levels must be numbers above 0, got {levels}")
        self._levels = np.array(levels, np.float64)
        self._spec = spec
        self._env: Dispatching | None = None

    def attach(self, env: VectorEnv) -> None:
        """See `Policy.attach`."""
        if not isinstance(env, Dispatching) or self._spec.entities is None:
            raise ConfigError(
                "policy=random_levels sets the weights of servers in a load-balancing environment, which this is not; "
                "choose env=loadbalance or policy=random"
            )
        self._env = env

    def act(self, obs: FloatArray, avail: BoolArray, state: PolicyState) -> tuple[IntArray, PolicyState]:
        """See `Policy.act`: the first available action, which has no effect beside the weights."""
        assert self._env is not None
        assert self._spec.entities is not None
        n_agents, n_servers = self._spec.n_agents, self._spec.entities.n_entities
        keys = derive(state.exploration, state.t)
        counter = np.arange(n_agents * n_servers).reshape(n_agents, n_servers)
        level = uniform(draw(keys[:, None, None], counter)) * len(self._levels)  # B A K
        self._env.control("sed", self._levels[level.astype(np.int64)])
        actions = avail.argmax(axis=-1).astype(np.int64)
        return actions, state.after(actions)
