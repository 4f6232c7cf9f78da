"""Classic load balancing: the data plane places every flow by a rule, and the agents' actions mean nothing."""

from __future__ import annotations

import numpy as np

from ..components.spec import BoolArray, EnvSpec, FloatArray, IntArray
from ..envs.contract.vector_env import Dispatching, VectorEnv
from ..envs.loadbalance.parameters import Rule
from ..registry import ConfigError, register
from .base import Policy, PolicyState


@register("policy")
class Dispatch(Policy):
    """Places new flows by a fixed rule with nominal weights.

    Args:
        spec: sizes of the environment.
        rule: name of the rule. ``sed_true``, ``jsq``, ``gsed`` and ``lwl`` are oracles: they know the true capacities,
            the flows of all balancers, or the sizes of jobs.
    """

    def __init__(self, spec: EnvSpec, *, rule: Rule) -> None:
        self.rule = rule

    def attach(self, env: VectorEnv) -> None:
        """See `Policy.attach`."""
        if not isinstance(env, Dispatching):
            raise ConfigError(
                f"policy={self.rule} places flows in a load-balancing environment, which this is not; "
                "choose env=loadbalance or a policy that acts, such as policy=random"
            )
        env.control(self.rule, None)

    def act(self, obs: FloatArray, avail: BoolArray, state: PolicyState) -> tuple[IntArray, PolicyState]:
        """See `Policy.act`: the first available action, which has no effect."""
        actions = avail.argmax(axis=-1).astype(np.int64)
        return actions, state.after(actions)
