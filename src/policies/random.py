"""Uniformly random actions."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..components.rng import derive, draw, uniform
from ..components.selectors.base import nth_available
from ..components.spec import EnvSpec, IntArray
from ..registry import register
from .base import Policy, PolicyState, complete


@register("policy")
class RandomPolicy(Policy):
    """Each agent draws one of its available actions, all equally likely, by (episode key, t, agent).

    Args:
        spec: sizes of the environment.
    """

    def __init__(self, spec: EnvSpec) -> None:
        self._spec = spec

    def act(
        self, obs: ArrayLike, avail: ArrayLike | None = None, state: PolicyState | None = None
    ) -> tuple[IntArray, PolicyState]:
        """See `Policy.act`."""
        _, available, state = complete(self._spec, obs, avail, state)
        keys = derive(state.exploration, state.t)
        actions = nth_available(available, uniform(draw(keys[:, None], np.arange(self._spec.n_agents))))
        return actions, state.after(actions)
