"""One environment with PettingZoo's ``ParallelEnv`` interface as a `SingleEnv`: padding, masks, deaths, time limits."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence, Set
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...components import rng
from ...components.spec import BoolArray, EnvSpec, FloatArray, IntArray, TimeStep
from ..contract.scene import Scene
from ..contract.team_state import of_observations, state_dim
from .answers import InterfaceError, by_agent, info, number, numbers, parts, require, require_call, shown
from .common import InfoMetrics, Treatment, limit, own_limit, picture, team_reward
from .global_generators import library_seed
from .importing import imported

AgentName = Hashable

_OTHERS = 0x07432  # derives the keys of scripted agents from an episode's key
_NO_INFO: Mapping[str, Any] = {}
_METHODS = ("possible_agents", "reset", "step", "observation_space", "action_space")
_STEP = ("observations", "rewards", "terminations", "truncations", "infos")

INSTALL = "pip install 'hymarl[pettingzoo]'"
"""What to type where Gymnasium is missing, for options that do not say which package has it."""


class Situation(NamedTuple):
    """What a scripted agent decides on.

    Attributes:
        name: the agent's.
        names: of all agents, in the environment's order.
        observation: flat, ``[O]``.
        available: which actions it can take, ``[U]``.
        generator: the agent's own, a new one in every episode.
    """

    name: AgentName
    names: tuple[AgentName, ...]
    observation: NDArray[Any]
    available: BoolArray
    generator: np.random.Generator


Behavior = Callable[[Situation], int]
"""A scripted agent: the number of the action that it takes, from 0."""


class ParallelGame:
    """A ``SingleEnv`` around one ``ParallelEnv``; see `PettingZoo` for how it translates.

    Args:
        env: the ``ParallelEnv``. ``step`` may also return one reward for all instead of one per agent.
        treatment: how it is played.
        others: how agents that are not of the team behave, by the beginning of their names.

    Raises:
        InterfaceError: something does not fit.
    """

    def __init__(self, env: Any, treatment: Treatment, others: Mapping[str, Behavior]) -> None:
        _check_interface(env)
        self._env = env
        self._at_limit, self._reward, self._state_of = treatment.at_limit, treatment.reward, treatment.state
        self._own_limit = own_limit(env, self.unwrapped)
        self._metrics = InfoMetrics(treatment.metrics)
        self._everybody: tuple[AgentName, ...] = tuple(env.possible_agents)
        self._behaviors = _assigned(others, self._everybody)
        self._names = [name for name in self._everybody if name not in self._behaviors]
        self._ports = {name: _Port.of(env, name) for name in self._everybody}
        team = [self._ports[name] for name in self._names]
        obs_dim = max(port.obs_dim for port in team)
        self._restart(0)  # state() exists only after a reset
        own_state = _own_state_dim(env) if treatment.state == "own" else None
        self._has_state = own_state is not None
        self.spec = EnvSpec(
            n_agents=len(self._names),
            n_actions=max(port.n_actions for port in team),
            obs_dim=obs_dim,
            state_dim=state_dim(treatment.state, len(self._names), obs_dim, own_state),
            episode_limit=limit(treatment.episode_limit, self._own_limit),
            metric_names=self._metrics.names,
            individual_rewards=self._reward == "individual",
            headline_metrics=self._metrics.names,
        )
        self._alive: Set[AgentName] = set()
        self._ended: set[AgentName] = set()
        self._cut_off = False
        self._t = 0
        self._generators: dict[AgentName, np.random.Generator] = {}
        self._seen: tuple[Mapping[AgentName, Any], Mapping[AgentName, Any]] = ({}, {})

    @property
    def unwrapped(self) -> Any:
        """The environment inside all of its wrappers."""
        return self._env.unwrapped if hasattr(self._env, "unwrapped") else self._env

    def reset(self, seed: int) -> TimeStep:
        """Start a new episode from the upper 31 bits of the seed; scripted agents draw from all of it."""
        observations, infos = self._restart(library_seed(seed))
        self._alive, self._ended, self._cut_off, self._t = set(self._env.agents), set(), False, 0
        self._seen = observations, infos
        if self._alive.isdisjoint(self._names):
            raise InterfaceError("after reset no agent of the team plays: an episode needs at least one step")
        keys = rng.derive(np.array([seed], np.uint64), _OTHERS) + np.arange(len(self._behaviors), dtype=np.uint64)
        philox = [np.random.Philox(key=int(key)) for key in keys]
        self._generators = {n: np.random.Generator(p) for n, p in zip(self._behaviors, philox, strict=True)}
        return self._row(self._alive, observations, infos, 0.0)

    def step(self, actions: IntArray) -> TimeStep:
        """Execute the actions of the agents that still play."""
        played = self._alive
        given = {n: self._ports[n].action(u) for n, u in zip(self._names, actions, strict=True) if n in played}
        for name in self._behaviors:
            if name in played:
                given[name] = self._ports[name].action(self._scripted(name))
        observations, rewards, terminations, truncations, infos = _after_step(self._env.step(given))
        self._t += 1
        self._seen = observations, infos
        _check_ends(played & set(self._env.agents), terminations, truncations)
        if self._at_limit == "truncated" and self._t == self._own_limit and not any(truncations.values()):
            terminations, truncations = {}, terminations
        cut_off = {n for n in played if truncations.get(n) and not terminations.get(n)}
        self._ended |= {n for n in played if terminations.get(n)} | cut_off
        self._alive = set(self._env.agents) - self._ended  # some environments go on listing who has ended
        self._cut_off |= not cut_off.isdisjoint(self._names)
        # The list of agents is empty after the last step, whose rewards and observations are in the dictionaries.
        if isinstance(rewards, Mapping):
            paid = played | self._alive
            each = [number("each reward", rewards.get(name, 0.0)) if name in paid else 0.0 for name in self._names]
            rewards = np.array(each)
        over = self._alive.isdisjoint(self._names)
        terminated = over and not self._cut_off
        truncated = not terminated and (over or self._t == self.spec.episode_limit)
        shown = played if over else self._alive
        return self._row(shown, observations, infos, rewards, terminated=terminated, truncated=truncated)

    def scene(self) -> Scene:
        """The picture that the environment draws."""
        return picture(self._env)

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def _restart(self, seed: int) -> tuple[Mapping[AgentName, Any], Mapping[AgentName, Any]]:
        """Observations and infos of the environment's reset."""
        observations, infos = parts("reset", self._env.reset(seed=seed), ("observations", "infos"))
        if not hasattr(self._env, "agents"):
            raise InterfaceError("reset() must list the agents that play in the attribute agents, there is none")
        return by_agent("reset", "observations", observations), info("reset", infos)

    def _scripted(self, name: AgentName) -> int:
        observations, infos = self._seen
        port = self._ports[name]
        seen, mask = port.observation(observations[name], infos.get(name) or _NO_INFO)
        available = np.ones(port.n_actions, np.bool_) if mask is None else mask
        action = self._behaviors[name](Situation(name, self._everybody, seen, available, self._generators[name]))
        if not isinstance(action, int | np.integer) or not 0 <= action < port.n_actions:
            raise InterfaceError(
                f"env.others: what plays agent {name!r} must return a whole number from 0 to {port.n_actions - 1}, it "
                f"returned {shown(action)}"
            )
        return int(action)

    def _row(
        self,
        shown: Set[AgentName],
        observations: Mapping[AgentName, Any],
        infos: Mapping[AgentName, Any],
        rewards: Sequence[float] | float,
        *,
        terminated: bool = False,
        truncated: bool = False,
    ) -> TimeStep:
        obs = np.zeros((self.spec.n_agents, self.spec.obs_dim), np.float32)
        avail = np.zeros((self.spec.n_agents, self.spec.n_actions), np.bool_)
        for agent, name in enumerate(self._names):
            if name not in shown:
                avail[agent, 0] = True
                continue
            if name not in observations:
                raise InterfaceError(f"there is no observation for agent {name!r}, which plays")
            port = self._ports[name]
            seen, mask = port.observation(observations[name], infos.get(name) or _NO_INFO)
            obs[agent, : port.obs_dim] = seen
            avail[agent, : port.n_actions] = True if mask is None else mask
            if mask is not None and not mask.any():
                if name in self._alive:
                    raise InterfaceError(f"agent {name!r} goes on, but its action_mask leaves no action")
                avail[agent, 0] = True
        told = (infos[name] for name in self._names if infos.get(name))
        return TimeStep(
            obs=obs,
            state=self._state(obs),
            avail=avail,
            reward=team_reward(rewards, self.spec.n_agents, self._reward),
            terminated=np.array(terminated),
            truncated=np.array(truncated),
            metrics=self._metrics.read(told, over=terminated or truncated),
        )

    def _state(self, obs: FloatArray) -> FloatArray:
        return np.ravel(self._env.state()) if self._has_state else of_observations(obs, self._state_of)


class _Port(NamedTuple):
    """How one agent's observations and actions become arrays and back."""

    name: AgentName
    has_keys: bool
    flatten: Callable[[Any], NDArray[Any]]
    obs_dim: int
    n_actions: int
    first_action: int

    @classmethod
    def of(cls, env: Any, name: AgentName) -> _Port:
        spaces = imported("gymnasium.spaces", INSTALL)
        actions, observations = env.action_space(name), env.observation_space(name)
        if not isinstance(actions, spaces.Discrete):
            raise InterfaceError(f"agent {name!r} has the action space {actions}; only Discrete ones can be played")
        has_keys = isinstance(observations, spaces.Dict)
        if has_keys:
            observations = spaces.Dict({k: v for k, v in observations.items() if k != "action_mask"})
        flatten = np.ravel if isinstance(observations, spaces.Box) else partial(spaces.flatten, observations)
        return cls(name, has_keys, flatten, spaces.flatdim(observations), int(actions.n), int(actions.start))

    def action(self, index: int) -> int:
        return int(index) + self.first_action

    def observation(self, observation: Any, info: Mapping[str, Any]) -> tuple[NDArray[Any], BoolArray | None]:
        """The flat observation ``[O]`` and which actions are available ``[U]``, ``None`` if all are.

        Raises:
            InterfaceError: it does not fit the space, or the mask has not one entry per action.
        """
        mask = info.get("action_mask")
        if isinstance(observation, np.ndarray) and self.flatten is np.ravel:
            flat = observation.ravel()  # the usual case
        else:
            if isinstance(observation, Mapping):
                mask = observation.get("action_mask", mask)
                observation = self._unmasked(observation)
            try:
                flat = np.asarray(self.flatten(observation))
            except (TypeError, ValueError, KeyError, IndexError):
                flat = np.zeros(0)
        if flat.size != self.obs_dim or flat.dtype.kind not in "biuf":
            raise InterfaceError(
                f"the observation of agent {self.name!r} must be in its observation_space, which has {self.obs_dim} "
                f"numbers; it is {shown(observation)}"
            )
        return flat, None if mask is None else self._available(mask)

    def _unmasked(self, observation: Mapping[str, Any]) -> Any:
        if not self.has_keys and "observation" in observation:  # the space is that of this entry alone
            return observation["observation"]
        return {k: v for k, v in observation.items() if k != "action_mask"}

    def _available(self, mask: Any) -> BoolArray:
        available = numbers(mask)
        if available is None or available.size != self.n_actions:
            size = shown(mask) if available is None else f"of the size {available.size}"
            raise InterfaceError(f"agent {self.name!r} has {self.n_actions} actions, but its action_mask is {size}")
        return available.astype(np.bool_).ravel()


def _check_interface(env: Any) -> None:
    """Raise an InterfaceError if an environment is none that can be played."""
    if hasattr(type(env), "agent_iter"):
        raise InterfaceError(
            "it is an AEC environment, whose agents take turns; name a function that returns its parallel form, "
            "pettingzoo.utils.conversions.aec_to_parallel(env), or its module's parallel_env"
        )
    require(env, "PettingZoo's ParallelEnv", _METHODS)
    if not isinstance(env.possible_agents, Iterable) or not len(list(env.possible_agents)):
        raise InterfaceError("possible_agents is empty: the environment has no agents")
    require_call(env.reset, "reset() must take a seed, def reset(self, seed=None, options=None)", seed=0)


def _after_step(returned: Any) -> tuple[Any, ...]:
    """What ``step`` returned, the rewards as they are."""
    observations, rewards, terminations, truncations, infos = parts("step", returned, _STEP)
    if type(observations) is type(terminations) is type(truncations) is type(infos) is dict:  # the usual case
        return observations, rewards, terminations, truncations, infos
    return (
        by_agent("step", "observations", observations),
        rewards,
        by_agent("step", "terminations", terminations),
        by_agent("step", "truncations", truncations),
        info("step", infos),
    )


def _check_ends(
    names: Set[AgentName], terminations: Mapping[AgentName, Any], truncations: Mapping[AgentName, Any]
) -> None:
    """Raise an InterfaceError if an agent that the environment still lists is in neither dictionary."""
    for name in sorted(names, key=str):
        if name not in terminations and name not in truncations:
            raise InterfaceError(
                f"agent {name!r} plays, but neither the terminations nor the truncations that step() returned have an "
                "entry for it; return true or false for each agent in both, under the agent's name"
            )


def _assigned(others: Mapping[str, Behavior], names: Sequence[AgentName]) -> dict[AgentName, Behavior]:
    """The behavior of each agent that is not of the team."""
    everybody = ", ".join(map(str, names))
    for prefix in others:
        if not any(str(name).startswith(prefix) for name in names):
            raise InterfaceError(f"env.others: no agent's name begins with {prefix!r}; the agents are {everybody}")
    found = {name: behave for name in names for prefix, behave in others.items() if str(name).startswith(prefix)}
    if len(found) == len(names):
        raise InterfaceError(f"env.others: {', '.join(others)} leave no agent for the team; the agents are {everybody}")
    return found


def _own_state_dim(env: Any) -> int | None:
    """Size of ``env.state()``; ``None`` if the environment has no state of its own, or none that is an array."""
    if not (hasattr(env, "state") and callable(env.state)):
        return None
    try:
        state = np.asarray(env.state())
    except NotImplementedError:
        return None
    except TypeError:
        inside = env.unwrapped  # PettingZoo wraps its games with a method, also those with an attribute of that name
        if hasattr(inside, "state") and not callable(inside.state):
            return None
        raise
    return state.size if state.dtype.kind in "biuf" else None
