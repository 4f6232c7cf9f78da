"""Environments with PettingZoo's ``ParallelEnv`` interface (Terry et al., NeurIPS 2021)."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Hashable, Mapping, Set
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..components.spec import BoolArray, EnvSpec, FloatArray, IntArray, TimeStep
from ..registry import register
from .single import SingleEnvs

Reward = Literal["sum", "mean", "individual"]
AgentName = Hashable

LIMIT_ATTRIBUTES = ("max_cycles", "max_steps", "max_episode_steps", "_max_episode_steps", "episode_limit")
"""Where environments keep the largest number of steps of an episode."""

_SEED_SHIFT = np.uint64(33)  # leaves 31 bits: many environments refuse larger seeds


@register("env")
class PettingZoo(SingleEnvs):
    """Any PettingZoo ``ParallelEnv`` with discrete actions, one at a time in this process.

    Observations are flattened and, like the actions, padded to the largest agent's. Action masks are taken from
    observations or infos under the key ``action_mask``. The state is the environment's ``state()``, where it has one,
    else all observations. An agent whose part ends early has zero observations, only its first action and no rewards
    from then on. The episode ends with the last agent: terminated if no agent's part was cut off by a time limit,
    truncated otherwise, and also at ``episode_limit``.

    Args:
        agents: the number of agents asked for; ``None`` is the environment's own.
        n_envs: B.
        entry_point: ``module:function``; the function returns a ``ParallelEnv``.
        kwargs: its keyword arguments.
        agents_kwarg: the one of them that takes the number of agents; ``None``: the number is fixed.
        episode_limit: steps after which an episode is truncated; ``None``: the environment's own, where it says it.
        reward: the team's reward: ``sum`` or ``mean`` over all agents; ``individual``: one reward per agent.

    Raises:
        ValueError: the entry point, the number of agents, the limit or the action spaces do not fit.
        ImportError: gymnasium is not installed.
    """

    def __init__(
        self,
        agents: int | None,
        n_envs: int,
        *,
        entry_point: str,
        kwargs: dict[str, Any],
        agents_kwarg: str | None,
        episode_limit: int | None,
        reward: Reward,
    ) -> None:
        asked = {} if agents is None or agents_kwarg is None else {agents_kwarg: agents}
        make = partial(_load(entry_point), **(kwargs | asked))
        super().__init__(lambda: ParallelGame(make(), reward=reward, episode_limit=episode_limit), n_envs)
        if agents not in (None, self.spec.n_agents):
            self.close()
            hint = "" if agents_kwarg else "; name the argument that sets it in agents_kwarg, if there is one"
            raise ValueError(f"agents={agents}, but {entry_point} has {self.spec.n_agents} agents{hint}")


class ParallelGame:
    """A ``SingleEnv`` around one ``ParallelEnv``; see `PettingZoo` for how it translates."""

    def __init__(self, env: Any, *, reward: Reward, episode_limit: int | None) -> None:
        if not hasattr(env, "possible_agents"):
            raise ValueError("the environment must list its agents in possible_agents")
        self._env = env
        self._reward = reward
        self._names: list[AgentName] = list(env.possible_agents)
        self._ports = {name: _Port.of(env, name) for name in self._names}
        obs_dim = max(port.obs_dim for port in self._ports.values())
        env.reset(seed=0)  # state() exists only after a reset
        state_dim = _state_dim(env)
        self._has_state = state_dim is not None
        self.spec = EnvSpec(
            n_agents=len(self._names),
            n_actions=max(port.n_actions for port in self._ports.values()),
            obs_dim=obs_dim,
            state_dim=obs_dim * len(self._names) if state_dim is None else state_dim,
            episode_limit=_limit(env) if episode_limit is None else episode_limit,
            individual_rewards=reward == "individual",
        )
        self._alive: Set[AgentName] = set()
        self._cut_off = False
        self._t = 0

    def reset(self, seed: int) -> TimeStep:
        """Start a new episode from the upper 31 bits of the seed."""
        observations, infos = self._env.reset(seed=int(np.uint64(seed) >> _SEED_SHIFT))
        self._alive, self._cut_off, self._t = set(self._env.agents), False, 0
        return self._row(self._alive, observations, infos, {}, over=False)

    def step(self, actions: IntArray) -> TimeStep:
        """Execute the actions of the agents that still play."""
        played = self._alive
        given = {n: self._ports[n].action(u) for n, u in zip(self._names, actions, strict=True) if n in played}
        observations, rewards, terminations, truncations, infos = self._env.step(given)
        self._t += 1
        cut_off = {n for n in played if truncations.get(n) and not terminations.get(n)}
        ended = {n for n in played if terminations.get(n)} | cut_off
        self._alive = set(self._env.agents) - ended
        self._cut_off |= bool(cut_off)
        # The list of agents is empty after the last step, whose rewards and observations are in the dictionaries.
        rewards = {n: r for n, r in rewards.items() if n in played | self._alive}
        over = not self._alive
        cut = self._t == self.spec.episode_limit
        return self._row(played if over else self._alive, observations, infos, rewards, over=over, cut=cut)

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def _row(
        self,
        shown: Set[AgentName],
        observations: Mapping[AgentName, Any],
        infos: Mapping[AgentName, Any],
        rewards: Mapping[AgentName, float],
        *,
        over: bool,
        cut: bool = False,
    ) -> TimeStep:
        obs = np.zeros((self.spec.n_agents, self.spec.obs_dim), np.float32)
        avail = np.zeros((self.spec.n_agents, self.spec.n_actions), np.bool_)
        for agent, name in enumerate(self._names):
            if name not in shown:
                continue
            if name not in observations:
                raise ValueError(f"there is no observation for agent {name!r}, which plays")
            port = self._ports[name]
            obs[agent, : port.obs_dim], mask = port.observation(observations[name], infos.get(name, {}))
            if not (mask.any() or over):
                raise ValueError(f"agent {name!r} goes on, but its action_mask leaves no action")
            avail[agent, : port.n_actions] = mask
        avail[~avail.any(axis=1), 0] = True
        terminated = over and not self._cut_off
        return TimeStep(
            obs=obs,
            state=np.ravel(self._env.state() if self._has_state else obs),
            avail=avail,
            reward=self._team_reward(rewards),
            terminated=np.array(terminated),
            truncated=np.array((over or cut) and not terminated),
            metrics=np.zeros(0),
        )

    def _team_reward(self, rewards: Mapping[AgentName, float]) -> FloatArray:
        each = np.array([float(rewards.get(name, 0.0)) for name in self._names])
        if self._reward == "individual":
            return each.astype(np.float32)
        return np.array(each.mean() if self._reward == "mean" else each.sum(), np.float32)


class _Port(NamedTuple):
    """How one agent's observations and actions become arrays and back."""

    flatten: Callable[[Any], NDArray[Any]]
    obs_dim: int
    n_actions: int
    first_action: int

    @classmethod
    def of(cls, env: Any, name: AgentName) -> _Port:
        spaces = _spaces()
        actions, observations = env.action_space(name), env.observation_space(name)
        if not isinstance(actions, spaces.Discrete):
            raise ValueError(f"agent {name!r} has the action space {actions}; only Discrete ones can be played")
        if isinstance(observations, spaces.Dict):
            observations = spaces.Dict({k: v for k, v in observations.items() if k != "action_mask"})
        flatten = partial(spaces.flatten, observations)
        return cls(flatten, spaces.flatdim(observations), int(actions.n), int(actions.start))

    def action(self, index: int) -> int:
        return int(index) + self.first_action

    def observation(self, observation: Any, info: Mapping[str, Any]) -> tuple[NDArray[Any], BoolArray]:
        """The flat observation ``[O]`` and which actions are available ``[U]``."""
        mask = info.get("action_mask")
        if isinstance(observation, Mapping) and "action_mask" in observation:
            mask = observation["action_mask"]
            observation = {k: v for k, v in observation.items() if k != "action_mask"}
        available = np.ones(self.n_actions, np.bool_) if mask is None else np.asarray(mask).astype(np.bool_)
        return self.flatten(observation), available


def _load(entry_point: str) -> Callable[..., Any]:
    module, _, function = entry_point.partition(":")
    if not (module and function):
        raise ValueError(f"entry_point must read module:function, got {entry_point!r}")
    try:
        loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"entry_point {entry_point!r} cannot be imported: {error}; is its package installed?"
        ) from error
    if not hasattr(loaded, function):
        raise ValueError(f"entry_point {entry_point!r}: the module {module} has no {function!r}")
    return getattr(loaded, function)


def _spaces() -> Any:
    try:
        import gymnasium.spaces
    except ImportError as error:
        raise ImportError("env=pettingzoo needs more packages: pip install 'hymarl[pettingzoo]'") from error
    return gymnasium.spaces


def _state_dim(env: Any) -> int | None:
    """Size of ``env.state()``; ``None`` if the environment has no state of its own."""
    if not hasattr(env, "state"):
        return None
    try:
        return int(np.size(env.state()))
    except NotImplementedError:
        return None


def _limit(env: Any) -> int:
    """The largest number of steps of an episode, as far as the environment tells."""
    for holder in (env, env.unwrapped):
        for name in LIMIT_ATTRIBUTES:
            limit = getattr(holder, name, None)
            if isinstance(limit, int) and limit > 0:
                return limit
    raise ValueError("the environment does not say how long an episode can be; set episode_limit")
