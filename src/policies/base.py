"""What runners play: observations and explicit state in, actions out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..components.episode import NO_EXTRAS, Columns
from ..components.rng import Stream, UInt64Array, derive
from ..components.selectors.base import Extras
from ..components.spec import BoolArray, EnvSpec, FloatArray, IntArray

if TYPE_CHECKING:
    from .learned import LearnedPolicy

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
    def load(path: str | Path, *, trust: Collection[str] = (), agents: int | None = None) -> LearnedPolicy:
        """The greedy policy of a run directory or weights file; see `LearnedPolicy.load`."""
        from .learned import LearnedPolicy

        return LearnedPolicy.load(path, trust=trust, agents=agents)

    @classmethod
    def environment_settings(cls, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """Settings of the environment that must be changed while this policy plays; none unless a subclass says so.

        A classic rule that acts in the agents' place is part of the environment: a policy chooses it here.

        Args:
            settings: the policy's own.
        """
        return {}

    @abstractmethod
    def act(
        self, obs: ArrayLike, avail: ArrayLike | None = None, state: PolicyState | None = None
    ) -> tuple[IntArray, PolicyState]:
        """Actions ``[B, A]`` int64, all of them available, and the next state; see `complete`.

        Args:
            obs: ``[B, A, O]``.
            avail: ``[B, A, U]``, which actions there are; every one unless said otherwise.
            state: what the previous call returned; an episode begins unless said otherwise.
        """


def complete(
    spec: EnvSpec, obs: ArrayLike, avail: ArrayLike | None, state: PolicyState | None
) -> tuple[FloatArray, BoolArray, PolicyState]:
    """The arguments of `Policy.act` as arrays, with what was left out.

    Raises:
        ValueError: observations of another shape.
    """
    given = np.asarray(obs, np.float32)
    if given.ndim != 3 or given.shape[1:] != (spec.n_agents, spec.obs_dim):
        a, o = spec.n_agents, spec.obs_dim
        raise ValueError(f"observations must have the shape [B, {a}, {o}] or [{a}, {o}], got {list(given.shape)}")
    if state is None:
        state = PolicyState.start(spec, np.zeros(len(given), np.uint64))
    if avail is None:
        return given, np.ones((len(given), spec.n_agents, spec.n_actions), np.bool_), state
    return given, np.asarray(avail, np.bool_), state
