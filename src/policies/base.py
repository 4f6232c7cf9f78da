"""What runners play: observations and explicit state in, actions out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..components.rng import UInt64Array
from ..components.spec import BoolArray, EnvSpec, FloatArray, IntArray


@dataclass(frozen=True)
class PolicyState:
    """Everything a policy remembers of the B episodes in play.

    Attributes:
        keys: ``[B]`` uint64, the episodes' keys; all randomness of a decision derives from (key, t, agent).
        t: number of joint actions taken so far in these episodes.
        steps: training steps so far over all environments, for exploration schedules.
        last_actions: ``[B, A]`` int64, -1 before the first.
        hidden: recurrent state of a learned policy.
    """

    keys: UInt64Array
    t: int
    steps: int
    last_actions: IntArray
    hidden: Any = None

    @classmethod
    def start(cls, spec: EnvSpec, keys: UInt64Array, steps: int = 0) -> Self:
        """The state before the first action of B episodes; the keys are copied."""
        last_actions = np.full((len(keys), spec.n_agents), -1, np.int64)
        return cls(keys=keys.copy(), t=0, steps=steps, last_actions=last_actions)

    def after(self, actions: IntArray, hidden: Any = None) -> Self:
        """The state one joint action later."""
        steps = self.steps + len(actions)
        return type(self)(self.keys, self.t + 1, steps, actions, hidden)


class Policy(ABC):
    """Chooses joint actions for B episodes at once; scripted and learned policies run through the same evaluation."""

    @staticmethod
    def load(path: str | Path) -> Policy:
        """The greedy policy of a run directory or weights file; see `LearnedPolicy.load`."""
        from .learned import LearnedPolicy

        return LearnedPolicy.load(path)

    @classmethod
    def environment_settings(cls, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """Settings of the environment that must be changed while this policy plays; none unless a subclass says so.

        A classic rule that acts in the agents' place is part of the environment: a policy chooses it here.

        Args:
            settings: the policy's own.
        """
        return {}

    @abstractmethod
    def act(self, obs: FloatArray, avail: BoolArray, state: PolicyState) -> tuple[IntArray, PolicyState]:
        """Actions ``[B, A]`` int64 for observations ``[B, A, O]``, all of them available, and the next state."""
