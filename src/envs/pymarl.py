"""Environments with the interface of PyMARL (Samvelyan et al., AAMAS 2019), which EPyMARL has extended."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..components.spec import BoolArray, EnvSpec, IntArray, TimeStep
from ..registry import register
from .adapters.answers import InterfaceError, info, numbers, require, require_call, rows, shown
from .adapters.common import AdaptedEnvs, InfoMetrics, Treatment, limit, own_limit, picture, team_reward
from .adapters.global_generators import library_seed
from .adapters.importing import loaded, made
from .contract.scene import Scene
from .contract.team_state import of_observations, state_dim

_METHODS = ("reset", "step", "get_obs", "get_state", "get_avail_actions", "get_env_info")
_SIZES = ("n_agents", "n_actions", "obs_shape", "state_shape")


@register("env")
class Pymarl(AdaptedEnvs):
    """Any environment that PyMARL or EPyMARL can play, unchanged, e.g. SMAC.

    ``step`` may return ``(reward, terminated, info)`` or ``(observations, reward, terminated, truncated, info)``, with
    one reward for all or one per agent. ``info["episode_limit"]`` true means truncated, also if ``terminated`` is true.

    Such environments draw from the global random generators; each episode has its own, see
    `hymarl.envs.adapters.global_generators`, and a ``reset`` that takes a ``seed`` gets one. What draws its randomness
    elsewhere does not repeat its episodes: StarCraft II (``kwargs.seed`` fixes a whole game's, not an episode's, and is
    then the same for every row) and the teams and positions of SMACv2.

    Args:
        agents: the number of agents asked for; ``None`` is the environment's own.
        n_envs: B.
        entry_point: ``module:class``.
        settings: those of `AdaptedEnvs`.

    Raises:
        ValueError: a package is missing, or the settings do not fit the environment.
    """

    def __init__(self, agents: int | None, n_envs: int, *, entry_point: str, **settings: Any) -> None:
        make = loaded(entry_point, settings["install"])

        def game(treatment: Treatment) -> PymarlGame:
            return PymarlGame(made(make, treatment.kwargs), treatment)

        super().__init__(agents, n_envs, game, f"env.entry_point={entry_point}", **settings)


class PymarlGame:
    """A ``SingleEnv`` around one environment of PyMARL's kind; see `Pymarl` for how it translates."""

    def __init__(self, env: Any, treatment: Treatment) -> None:
        require(env, "PyMARL", _METHODS)
        known = env.get_env_info()
        sizes = {name: _size(name, known) for name in _SIZES}
        self._env = env
        self._at_limit, self._reward, self._state_of = treatment.at_limit, treatment.reward, treatment.state
        self._metrics = InfoMetrics(treatment.metrics)
        self._own_limit = known.get("episode_limit") or own_limit(env)
        self._takes_seed = "seed" in inspect.signature(env.reset).parameters
        seed = {"seed": 0} if self._takes_seed else {}
        require_call(env.reset, "reset() must need nothing, or a seed, def reset(self, seed=None)", **seed)
        require_call(env.step, "step() must take the agents' actions, def step(self, actions)", [])
        self._t = 0
        self.spec = EnvSpec(
            n_agents=sizes["n_agents"],
            n_actions=sizes["n_actions"],
            obs_dim=sizes["obs_shape"],
            state_dim=state_dim(self._state_of, sizes["n_agents"], sizes["obs_shape"], sizes["state_shape"]),
            episode_limit=limit(treatment.episode_limit, self._own_limit),
            metric_names=self._metrics.names,
            individual_rewards=self._reward == "individual",
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
        reward, terminated, cut, told = _parts(self._env.step(given))
        self._t += 1
        terminated, cut = bool(np.all(np.asarray(terminated))), bool(np.all(np.asarray(cut)))  # tensors, too
        if terminated and self._is_time_limit(told):
            terminated, cut = False, True
        truncated = not terminated and (cut or bool(told.get("episode_limit")) or self._t == self.spec.episode_limit)
        return self._row(reward, told, terminated=terminated, truncated=truncated)

    def scene(self) -> Scene:
        """The picture that the environment draws."""
        return picture(self._env)

    def close(self) -> None:
        """Close the environment."""
        if hasattr(self._env, "close"):
            self._env.close()

    def _is_time_limit(self, told: Mapping[str, Any]) -> bool:
        """Whether an end that the environment calls terminated is none."""
        if told.get("episode_limit"):
            return True
        return self._t == self._own_limit and self._at_limit == "truncated"

    def _row(self, reward: Any, told: Mapping[str, Any], *, terminated: bool, truncated: bool) -> TimeStep:
        obs = rows("get_obs", self._env.get_obs(), self.spec.n_agents, self.spec.obs_dim).astype(np.float32)
        return TimeStep(
            obs=obs,
            state=self._own_state() if self._state_of == "own" else of_observations(obs, self._state_of),
            avail=self._available(over=terminated or truncated),
            reward=team_reward(reward, self.spec.n_agents, self._reward),
            terminated=np.array(terminated),
            truncated=np.array(truncated),
            metrics=self._metrics.read([told], over=terminated or truncated),
        )

    def _own_state(self) -> NDArray[Any]:
        returned = self._env.get_state()
        state = numbers(returned)
        if state is None or state.size != self.spec.state_dim:
            got = shown(returned) if state is None else f"{state.size}"
            raise InterfaceError(f"get_state() must return {self.spec.state_dim} numbers, it returned {got}")
        return state.ravel()

    def _available(self, *, over: bool) -> BoolArray:
        masks = rows("get_avail_actions", self._env.get_avail_actions(), self.spec.n_agents, self.spec.n_actions)
        avail = masks.astype(np.bool_)
        stuck = ~avail.any(axis=-1)
        if not over and stuck.any():
            agents = np.flatnonzero(stuck).tolist()
            raise InterfaceError(f"the game goes on, but get_avail_actions() leaves no action to agents {agents}")
        avail[stuck, 0] = True
        return avail


def _size(name: str, known: Any) -> int:
    """One of the sizes in ``get_env_info()``; a shape, such as that of an image, is the number of its numbers."""
    if not isinstance(known, Mapping) or name not in known:
        raise InterfaceError(f"get_env_info() must return a dictionary with {', '.join(_SIZES)}; it lacks {name}")
    shape = numbers(known[name])
    if shape is None or shape.dtype.kind not in "iu" or not shape.size or np.prod(shape) < 1:
        raise InterfaceError(f"get_env_info() must give {name} as a whole number from 1 on, got {shown(known[name])}")
    return int(np.prod(shape))


def _parts(result: Any) -> tuple[Any, Any, Any, Mapping[str, Any]]:
    """Reward, terminated, truncated and infos of what ``step`` returned."""
    match result:
        case (reward, terminated, told):
            cut: Any = False
        case (_, reward, terminated, cut, told):
            pass
        case _:
            raise InterfaceError(
                "step() must return (reward, terminated, info) or (observations, reward, terminated, truncated, info), "
                f"it returned {shown(result)}"
            )
    return reward, terminated, cut, info("step", told)
