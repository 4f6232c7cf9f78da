"""Any `VectorEnv` with one environment as a PettingZoo ``ParallelEnv``, for use with other libraries."""

from __future__ import annotations

import copy
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ...components import rng
from ...components.spec import TimeStep
from ..contract.vector_env import VectorEnv

if TYPE_CHECKING:
    from pettingzoo import ParallelEnv


def to_pettingzoo(env: VectorEnv, seed: int = 0) -> ParallelEnv[str, Any, int]:
    """The environment as a ``pettingzoo.ParallelEnv`` with agents ``agent_0``, ``agent_1``, …

    An observation is a dictionary of ``observation`` and ``action_mask`` (int8, 1: available); the infos repeat the
    mask and hold the environment's metrics. For an action that is not available the first one that is counts, so that
    players who look at no masks, as in PettingZoo's own tests, can play. A common reward is given to every agent.
    ``reset(seed=s)`` plays the first episode of seed ``s``, each later ``reset()`` the next one. ``max_cycles`` is the
    episode limit.

    Args:
        env: one with ``n_envs`` 1; closing the result closes it.
        seed: what ``reset()`` uses before a seed was given.

    Raises:
        ImportError: PettingZoo is not installed.
        ValueError: the environment has more than one row.
    """
    if env.n_envs != 1:
        raise ValueError(f"to_pettingzoo takes an environment with n_envs=1, this one has {env.n_envs}")
    return _parallel_class()(env, seed)


class _Exported:
    """All of the exported environment but its base class, which is imported on use only."""

    def __init__(self, env: VectorEnv, seed: int) -> None:
        import gymnasium.spaces

        spec = env.spec
        self.metadata = {"name": type(env).__name__, "render_modes": []}
        self.render_mode = None
        self.possible_agents = [f"agent_{i}" for i in range(spec.n_agents)]
        self.agents: list[str] = []
        self.max_cycles = spec.episode_limit
        self.state_space = gymnasium.spaces.Box(-np.inf, np.inf, (spec.state_dim,), np.float32)
        self.observation_spaces = {name: _observation_space(gymnasium.spaces, env) for name in self.possible_agents}
        self.action_spaces = {name: gymnasium.spaces.Discrete(spec.n_actions) for name in self.possible_agents}
        self._env = env
        self._seed = seed
        self._episode = 0
        self._last = TimeStep.zeros(spec, 1)

    def observation_space(self, agent: str) -> Any:
        """A dictionary of ``observation`` and ``action_mask``."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Any:
        """The agent's action numbers."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], ...]:
        """Start the first episode of a seed, or the next episode; there are no options."""
        if seed is not None:
            self._seed, self._episode = seed, 0
        keys = rng.keys(self._seed, rng.Stream.TRAINING, self._episode)
        self._episode += 1
        self.agents = list(self.possible_agents)
        self._keep(self._env.reset(keys, np.ones(1, np.bool_)))
        return self._observations(), self._infos()

    def step(self, actions: dict[str, int]) -> tuple[dict[str, Any], ...]:
        """Execute one action of every agent.

        Raises:
            ValueError: an action is missing or not available, or the episode is over.
        """
        if not self.agents:
            raise ValueError("the episode is over: call reset() first")
        joint = np.array([[self._checked(i, name, actions) for i, name in enumerate(self.agents)]], np.int64)
        self._keep(self._env.step(joint, np.ones(1, np.bool_)))
        now, names = self._last, self.agents
        rewards = np.broadcast_to(now.reward[0], len(names)).tolist()
        if now.terminated[0] or now.truncated[0]:
            self.agents = []
        return (
            self._observations(),
            dict(zip(names, rewards, strict=True)),
            dict.fromkeys(names, bool(now.terminated[0])),
            dict.fromkeys(names, bool(now.truncated[0])),
            self._infos(),
        )

    def state(self) -> np.ndarray:
        """What a mixer may see during training, ``[S]``."""
        return self._last.state[0].copy()

    def render(self) -> None:
        """There is nothing to see."""

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def _keep(self, time_step: TimeStep) -> None:
        self._last = copy.deepcopy(time_step)  # the environment will reuse its arrays

    def _checked(self, agent: int, name: str, actions: dict[str, int]) -> int:
        if name not in actions:
            raise ValueError(f"there is no action for {name}")
        action, n_actions = int(actions[name]), self._env.spec.n_actions
        if not 0 <= action < n_actions:
            raise ValueError(f"{name} cannot take action {action}; there are the actions 0 to {n_actions - 1}")
        available = self._last.avail[0, agent]
        return action if available[action] else int(available.argmax())

    def _observations(self) -> dict[str, Any]:
        return {
            name: {"observation": self._last.obs[0, i], "action_mask": self._last.avail[0, i].astype(np.int8)}
            for i, name in enumerate(self.possible_agents)
        }

    def _infos(self) -> dict[str, Any]:
        metrics = dict(zip(self._env.spec.metric_names, self._last.metrics[0].tolist(), strict=True))
        masks = self._last.avail[0].astype(np.int8)
        return {name: {"action_mask": masks[i], **metrics} for i, name in enumerate(self.possible_agents)}


def _observation_space(spaces: Any, env: VectorEnv) -> Any:
    return spaces.Dict(
        {
            "observation": spaces.Box(-np.inf, np.inf, (env.spec.obs_dim,), np.float32),
            "action_mask": spaces.MultiBinary(env.spec.n_actions),
        }
    )


@cache
def _parallel_class() -> type:
    try:
        import pettingzoo
    except ImportError as error:
        raise ImportError("to_pettingzoo needs more packages: pip install 'hymarl[pettingzoo]'") from error
    return type("ExportedParallelEnv", (_Exported, pettingzoo.ParallelEnv), {"__doc__": to_pettingzoo.__doc__})
