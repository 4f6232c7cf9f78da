"""Environments with the interface of PyMARL (Samvelyan et al., AAMAS 2019), which EPyMARL has extended."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..components.spec import BoolArray, EnvSpec, IntArray, TimeStep
from ..ranges import Count
from ..registry import register
from .adapters.common import (
    AdaptedEnvs,
    AtLimit,
    InfoMetrics,
    agents_hint,
    limit,
    loaded,
    made,
    own_limit,
    picture,
    team_reward,
    with_agents,
)
from .adapters.global_generators import library_seed
from .contract.scene import Scene
from .contract.team_reward import Reward

_METHODS = ("reset", "step", "get_obs", "get_state", "get_avail_actions", "get_env_info")
_SIZES = ("n_agents", "n_actions", "obs_shape", "state_shape")


@register("env")
class Pymarl(AdaptedEnvs):
    """Any environment that PyMARL or EPyMARL can play, unchanged, e.g. SMAC.

    ``step`` may return ``(reward, terminated, info)`` or ``(observations, reward, terminated, truncated, info)``, with
    one reward for all or one per agent. ``info["episode_limit"]`` true means truncated, whatever else is said.

    Such environments draw from the global random generators; each episode has its own, see
    `hymarl.envs.adapters.global_generators`, and a ``reset`` that takes a ``seed`` gets one. What draws its randomness
    elsewhere does not repeat its episodes: StarCraft II (``kwargs.seed`` fixes a whole game's, not an episode's, and is
    then the same for every row) and the teams and positions of SMACv2.

    The settings that are not explained here are explained in `AdaptedEnvs`.

    Args:
        agents: the number of agents asked for; ``None`` is the environment's own.
        n_envs: B.
        entry_point: ``module:class``.
        at_limit: what it means that the environment calls itself terminated at exactly its last possible step without
            ``info["episode_limit"]``: ``truncated`` (most do not tell time limits from other ends) or ``terminated``
            (it would have set that key at a time limit).

    Raises:
        ValueError: a package is missing, or the settings do not fit the environment.
    """

    def __init__(
        self,
        agents: int | None,
        n_envs: int,
        *,
        entry_point: str,
        install: str | None,
        kwargs: dict[str, Any] | None,
        agents_kwarg: str | None,
        episode_limit: Count | None,
        at_limit: AtLimit,
        reward: Reward,
        metrics: list[str],
    ) -> None:
        make = loaded(entry_point, install)

        def game() -> PymarlGame:
            env = made(make, with_agents(kwargs, agents_kwarg, agents), entry_point)
            return PymarlGame(env, episode_limit=episode_limit, at_limit=at_limit, reward=reward, metrics=metrics)

        super().__init__(game, n_envs, agents=agents, what=entry_point, hint=agents_hint(agents_kwarg))


class PymarlGame:
    """A ``SingleEnv`` around one environment of PyMARL's kind; see `Pymarl` for how it translates."""

    def __init__(
        self, env: Any, *, episode_limit: int | None, at_limit: AtLimit, reward: Reward, metrics: Sequence[str]
    ) -> None:
        missing = [name for name in _METHODS if not hasattr(env, name)]
        if missing:
            raise ValueError(f"the environment does not have PyMARL's interface: it lacks {', '.join(missing)}")
        info: Mapping[str, Any] = env.get_env_info()
        lacking = [name for name in _SIZES if name not in info]
        if lacking:
            raise ValueError(f"get_env_info() lacks {', '.join(lacking)}")
        self._env = env
        self._at_limit = at_limit
        self._reward: Reward = reward
        self._metrics = InfoMetrics(metrics)
        self._own_limit = info.get("episode_limit") or own_limit(env)
        self._takes_seed = "seed" in inspect.signature(env.reset).parameters
        self._t = 0
        self.spec = EnvSpec(
            n_agents=info["n_agents"],
            n_actions=info["n_actions"],
            obs_dim=int(np.prod(info["obs_shape"])),
            state_dim=int(np.prod(info["state_shape"])),
            episode_limit=limit(episode_limit, self._own_limit),
            metric_names=self._metrics.names,
            individual_rewards=reward == "individual",
            headline_metrics=self._metrics.names,
        )

    def reset(self, seed: int) -> TimeStep:
        """Start a new episode."""
        self._env.reset(**({"seed": library_seed(seed)} if self._takes_seed else {}))
        self._t = 0
        return self._row(0.0, {}, terminated=False, truncated=False)

    def step(self, actions: IntArray) -> TimeStep:
        """Execute the joint action."""
        given = np.array(actions, np.int64)  # PyMARL gives an array too; a copy, as environments may change it
        reward, terminated, cut, info = _parts(self._env.step(given))
        self._t += 1
        terminated, cut = bool(np.all(np.asarray(terminated))), bool(np.all(np.asarray(cut)))  # tensors, too
        if terminated and self._is_time_limit(info):
            terminated, cut = False, True
        truncated = not terminated and (cut or bool(info.get("episode_limit")) or self._t == self.spec.episode_limit)
        return self._row(reward, info, terminated=terminated, truncated=truncated)

    def scene(self) -> Scene:
        """The picture that the environment draws."""
        return picture(self._env)

    def close(self) -> None:
        """Close the environment."""
        if hasattr(self._env, "close"):
            self._env.close()

    def _is_time_limit(self, info: Mapping[str, Any]) -> bool:
        """Whether an end that the environment calls terminated is none."""
        if info.get("episode_limit"):
            return True
        return self._t == self._own_limit and self._at_limit == "truncated"

    def _row(self, reward: Any, info: Mapping[str, Any], *, terminated: bool, truncated: bool) -> TimeStep:
        return TimeStep(
            obs=np.array([np.ravel(obs) for obs in self._env.get_obs()], np.float32),
            state=np.ravel(self._env.get_state()),
            avail=self._available(over=terminated or truncated),
            reward=team_reward(reward, self.spec.n_agents, self._reward),
            terminated=np.array(terminated),
            truncated=np.array(truncated),
            metrics=self._metrics.read([info], over=terminated or truncated),
        )

    def _available(self, *, over: bool) -> BoolArray:
        avail = np.array(self._env.get_avail_actions()).astype(np.bool_)
        n_agents, n_actions = self.spec.n_agents, self.spec.n_actions
        if avail.shape != (n_agents, n_actions):
            raise ValueError(
                f"get_avail_actions() must return {n_actions} numbers for each of {n_agents} agents, it returned the "
                f"shape {avail.shape}"
            )
        stuck = ~avail.any(axis=-1)
        if not over and stuck.any():
            agents = np.flatnonzero(stuck).tolist()
            raise ValueError(f"the game goes on, but get_avail_actions() leaves no action to agents {agents}")
        avail[stuck, 0] = True
        return avail


def _parts(result: Any) -> tuple[Any, Any, Any, Mapping[str, Any]]:
    """Reward, terminated, truncated and infos of what ``step`` returned."""
    match result:
        case (reward, terminated, info):
            cut: Any = False
        case (_, reward, terminated, cut, info):
            pass
        case _:
            returned = f"{len(result)} values" if isinstance(result, tuple | list) else repr(result)
            raise ValueError(
                "step() must return (reward, terminated, info) or (observations, reward, terminated, truncated, info), "
                f"it returned {returned}"
            )
    if not isinstance(info, Mapping):
        raise ValueError(f"step() must return the infos as a dictionary, it returned {info!r}")
    return reward, terminated, cut, info
