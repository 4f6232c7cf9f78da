"""What runners play: observations and explicit state in, actions out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..components.episode import NO_EXTRAS, Columns
from ..components.rng import Stream, UInt64Array, derive
from ..components.selectors.base import Extras
from ..components.spec import BoolArray, EnvSpec, FloatArray, IntArray

_NO_VALUES: Mapping[str, NDArray[Any]] = {}


@dataclass(frozen=True)
class PolicyState:
    """Everything a policy remembers of the B episodes in play.

    Attributes:
        keys: ``[B]`` uint64, the episodes' keys.
        exploration: ``[B]`` uint64, derived from them; all randomness of a decision derives from (this, t, agent).
        t: number of joint actions taken so far in these episodes.
        steps: training steps so far over all environments, for exploration schedules.
        last_actions: ``[B, A]`` int64, -1 before the first.
        hidden: recurrent state of a learned policy, ``None`` before the first action.
        extras: values of the policy's extra columns for the last actions.
    """

    keys: UInt64Array
    exploration: UInt64Array
    t: int
    steps: int
    last_actions: IntArray
    hidden: Any = None
    extras: Extras = field(default_factory=lambda: _NO_VALUES)

    @classmethod
    def start(cls, spec: EnvSpec, keys: UInt64Array, steps: int = 0) -> Self:
        """The state before the first action of B episodes; the keys are copied."""
        last_actions = np.full((len(keys), spec.n_agents), -1, np.int64)
        return cls(keys.copy(), derive(keys, Stream.EXPLORATION), t=0, steps=steps, last_actions=last_actions)

    def after(self, actions: IntArray, hidden: Any = None, extras: Extras = _NO_VALUES) -> Self:
        """The state one joint action later."""
        steps = self.steps + len(actions)
        return type(self)(self.keys, self.exploration, self.t + 1, steps, actions, hidden, extras)


class Policy(ABC):
    """Chooses joint actions for B episodes at once; scripted and learned policies run through the same evaluation.

    Attributes:
        extras: columns that it adds to every episode it plays; their values are in the state that `act` returns.
    """

    extras: Columns = NO_EXTRAS

    @staticmethod
    def load(path: str | Path, *, trust: Collection[str] = ()) -> Policy:
        """The greedy policy of a run directory or weights file; see `LearnedPolicy.load`."""
        from .learned import LearnedPolicy

        return LearnedPolicy.load(path, trust=trust)

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
