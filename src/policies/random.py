"""Uniformly random actions."""

from __future__ import annotations

import numpy as np

from ..components.rng import derive, draw, uniform
from ..components.selectors.base import nth_available
from ..components.spec import BoolArray, EnvSpec, FloatArray, IntArray
from ..registry import register
from .base import Policy, PolicyState


@register("policy")
class RandomPolicy(Policy):
    """Each agent draws one of its available actions, all equally likely, by (episode key, t, agent).

    Args:
        spec: sizes of the environment.
    """

    def __init__(self, spec: EnvSpec) -> None:
        self._n_agents = spec.n_agents

    def act(self, obs: FloatArray, avail: BoolArray, state: PolicyState) -> tuple[IntArray, PolicyState]:
        """See `Policy.act`."""
        keys = derive(state.exploration, state.t)
        actions = nth_available(avail, uniform(draw(keys[:, None], np.arange(self._n_agents))))
        return actions, state.after(actions)
