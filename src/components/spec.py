"""What an environment is (`EnvSpec`) and what a step of it returns (`TimeStep`): NumPy only, so that worker processes
that play environments need not import torch. The axes are explained in `hymarl.components.episode`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Entities:
    """Where an observation lists K like things (servers, food items) with F features each.

    Entity k occupies ``obs[start + k*F : start + (k+1)*F]``; what lies outside the block concerns all entities alike.

    Attributes:
        n_entities: K.
        n_features: F.
        start: index of the block's first number in the observation.
        action_entity: for each action the entity it is about, -1 for none; length U.
        action_kind: for each action which of the things one can do to an entity (or to none) it is; length U.
    """

    n_entities: int
    n_features: int
    start: int
    action_entity: tuple[int, ...]
    action_kind: tuple[int, ...]

    def __post_init__(self) -> None:
        _use_plain_integers(self)

    @property
    def n_kinds(self) -> int:
        """Number of kinds of action."""
        return max(self.action_kind) + 1


@dataclass(frozen=True)
class EnvSpec:
    """All sizes of an environment: made by it, and first argument of everything whose shapes depend on them.

    Attributes:
        n_agents: A.
        n_actions: U, the same for every agent (unavailable ones are masked).
        obs_dim: O.
        state_dim: S.
        episode_limit: the largest number of steps an episode can have.
        metric_names: names of the columns of `TimeStep.metrics`.
        entities: the list of like things in an observation, if it has one.
        individual_rewards: whether rewards are ``[B, A]`` instead of ``[B]``.
        references: names of scripted policies worth comparing a learned one with.
        baseline: the one of them to which tables give ratios, if any.
        headline_metrics: the few metrics that tables and pictures show beside the return.

    Raises:
        ValueError: a size is no whole number from 1 on.
    """

    n_agents: int
    n_actions: int
    obs_dim: int
    state_dim: int
    episode_limit: int
    metric_names: tuple[str, ...] = ()
    entities: Entities | None = None
    individual_rewards: bool = False
    references: tuple[str, ...] = ()
    baseline: str | None = None
    headline_metrics: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _use_plain_integers(self)
        for name in ("n_agents", "n_actions", "obs_dim", "state_dim", "episode_limit"):
            size = vars(self)[name]
            if not isinstance(size, int) or isinstance(size, bool) or size < 1:
                raise ValueError(f"{name} must be a whole number from 1 on, got {size!r}")


def _use_plain_integers(sizes: EnvSpec | Entities) -> None:
    """Replace NumPy's integers, as Gymnasium's spaces give them: stored with weights they could not be read as data."""
    for name, value in vars(sizes).items():
        if isinstance(value, np.integer):
            object.__setattr__(sizes, name, int(value))
        elif isinstance(value, tuple):
            object.__setattr__(sizes, name, tuple(int(x) if isinstance(x, np.integer) else x for x in value))


class TimeStep(NamedTuple):
    """What `VectorEnv.reset` and `VectorEnv.step` return: NumPy arrays led by B.

    The arrays belong to the environment and are valid until its next call. Rows that were neither reset nor stepped are
    zeros.

    Attributes:
        obs: ``[B, A, O]`` float32.
        state: ``[B, S]`` float32, what a mixer may see during training.
        avail: ``[B, A, U]`` bool, at least one true per agent of a running episode.
        reward: ``[B]`` float32, or ``[B, A]`` with individual rewards; zero after a reset.
        terminated: ``[B]`` bool, the episode is over and has no future value.
        truncated: ``[B]`` bool, the episode is cut off (time limit) and would have gone on.
        metrics: ``[B, M]`` float64 in the order of `EnvSpec.metric_names`; an episode's are those of its last step.
    """

    obs: FloatArray
    state: FloatArray
    avail: BoolArray
    reward: FloatArray
    terminated: BoolArray
    truncated: BoolArray
    metrics: NDArray[np.float64]

    @classmethod
    def zeros(cls, spec: EnvSpec, n_envs: int) -> Self:
        """Zero-filled arrays of the right shapes and types for ``n_envs`` rows."""
        b, a = n_envs, spec.n_agents
        return cls(
            obs=np.zeros((b, a, spec.obs_dim), np.float32),
            state=np.zeros((b, spec.state_dim), np.float32),
            avail=np.zeros((b, a, spec.n_actions), np.bool_),
            reward=np.zeros((b, a) if spec.individual_rewards else b, np.float32),
            terminated=np.zeros(b, np.bool_),
            truncated=np.zeros(b, np.bool_),
            metrics=np.zeros((b, len(spec.metric_names)), np.float64),
        )

    @staticmethod
    def n_bytes(spec: EnvSpec, n_envs: int) -> int:
        """Size of what `zeros` allocates."""
        numbers = spec.n_agents * (spec.obs_dim + 1) + spec.state_dim
        return n_envs * (4 * numbers + spec.n_agents * spec.n_actions + 8 * len(spec.metric_names) + 2)

    def only(self, where: BoolArray) -> Self:
        """This time step with zeros in the rows where ``where`` ``[B]`` is false; changes its arrays."""
        if not where.all():
            for array in self:
                array[~where] = 0
        return self
