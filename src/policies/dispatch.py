"""Classic load balancing: the data plane places every flow by a rule, and the agents' actions have no effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..components.spec import EnvSpec, IntArray
from ..registry import register
from .base import Policy, PolicyState, complete


@register("policy")
class Dispatch(Policy):
    """Lets the environment place new flows by a fixed rule with nominal weights.

    Args:
        spec: sizes of the environment.
        rule: the environment's setting ``rule``. ``sed_true``, ``jsq``, ``gsed`` and ``lwl`` are oracles: they know the
            true capacities, the flows of all balancers, or the sizes of jobs.
    """

    def __init__(self, spec: EnvSpec, *, rule: str) -> None:
        self._spec = spec

    @classmethod
    def environment_settings(cls, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `Policy.environment_settings`: the rule, with nominal weights."""
        return {"rule": settings["rule"], "random_levels": None}

    def act(
        self, obs: ArrayLike, avail: ArrayLike | None = None, state: PolicyState | None = None
    ) -> tuple[IntArray, PolicyState]:
        """See `Policy.act`: the first available action, which has no effect."""
        _, available, state = complete(self._spec, obs, avail, state)
        actions = available.argmax(axis=-1).astype(np.int64)
        return actions, state.after(actions)
