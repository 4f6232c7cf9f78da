"""Gymnasium environments in the multi-agent tuple style, as Level-Based Foraging and RWARE have it."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..ranges import Count
from ..registry import register
from .adapters.common import AdaptedEnvs, AtLimit, imported, made, own_limit, with_agents
from .adapters.parallel_game import ParallelGame
from .contract.team_reward import Reward

_INSTALL = "pip install 'hymarl[pettingzoo]'"
_MANY = (list, tuple, np.ndarray)


class TupleEnv:
    """What `ParallelGame` uses of a ``ParallelEnv``, on a Gymnasium environment in the tuple style; agents are numbers.

    Args:
        env: the environment.
        registered_limit: steps after which it is to be truncated, if its registration says so; its own limit counts
            too.
        at_limit: see `Gymnasium`.

    Raises:
        ValueError: its spaces are not one per agent.
    """

    def __init__(self, env: Any, *, registered_limit: int | None, at_limit: AtLimit) -> None:
        self._env = env
        self.unwrapped = env.unwrapped
        self._at_limit = at_limit
        self._actions = _per_agent(env, "action_space")
        self._observations = _per_agent(env, "observation_space")
        self.possible_agents = list(range(len(self._actions)))
        self.agents: list[int] = []
        self._own_limit = own_limit(self.unwrapped)
        self.max_episode_steps = min(filter(None, (registered_limit, self._own_limit)), default=None)
        self._t = 0
        self._has_masks = hasattr(self.unwrapped, "get_avail_actions")
        if self._has_masks:  # they may be longer than the agent's own actions
            env.reset(seed=0)
            n_actions = len(self.unwrapped.get_avail_actions()[0])
            discrete = imported("gymnasium.spaces", _INSTALL).Discrete
            self._actions = [discrete(n_actions) for _ in self.possible_agents]

    @property
    def render_mode(self) -> str | None:
        """What `render` makes."""
        return self._env.render_mode

    def action_space(self, agent: int) -> Any:
        """The agent's actions."""
        return self._actions[agent]

    def observation_space(self, agent: int) -> Any:
        """What the agent observes."""
        return self._observations[agent]

    def reset(self, seed: int) -> tuple[dict[int, Any], dict[int, Any]]:
        """Start a new episode."""
        observations, info = self._env.reset(seed=seed)
        self.agents, self._t = list(self.possible_agents), 0
        return dict(enumerate(observations)), self._infos(info)

    def step(self, actions: Mapping[int, int]) -> tuple[Any, ...]:
        """Execute the actions of the agents that still play; for the others the first one is sent."""
        joint = [actions[i] if i in actions else int(self._actions[i].start) for i in self.possible_agents]
        observations, rewards, terminated, truncated, info = self._env.step(joint)
        self._t += 1
        ended, cut = _each("terminated", terminated, len(joint)), _each("truncated", truncated, len(joint))
        if self._t == self._own_limit and not any(cut) and self._stops_at_limit():
            ended, cut = [False] * len(joint), ended  # what it calls terminated is its time limit
        if isinstance(rewards, _MANY) and len(rewards) != len(joint):
            raise ValueError(f"{len(rewards)} rewards for {len(joint)} agents: there must be one for all or one each")
        self.agents = [i for i in self.agents if not (ended[i] or cut[i])]
        return (
            dict(enumerate(observations)),
            dict(enumerate(rewards)) if isinstance(rewards, _MANY) else float(rewards),
            dict(enumerate(ended)),
            dict(enumerate(cut)),
            self._infos(info),
        )

    def state(self) -> Any:
        """The environment's ``get_state()``.

        Raises:
            NotImplementedError: it has none.
        """
        if not hasattr(self.unwrapped, "get_state"):
            raise NotImplementedError
        return self.unwrapped.get_state()

    def render(self) -> Any:
        """What the environment draws."""
        return self._env.render()

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def _stops_at_limit(self) -> bool:
        """Whether the environment, if it calls itself terminated in its last possible step, means its time limit."""
        return self._at_limit == "truncated"

    def _infos(self, info: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
        """The first agent's info is the environment's; each agent's has its mask."""
        masks: Sequence[Any] | None = info.get("action_mask")
        if self._has_masks:
            masks = self.unwrapped.get_avail_actions()
        infos: dict[int, dict[str, Any]] = {0: {k: v for k, v in info.items() if k != "action_mask"}}
        if masks is not None:
            for agent in self.possible_agents:
                infos.setdefault(agent, {})["action_mask"] = masks[agent]
        return infos


@register("env")
class Gymnasium(AdaptedEnvs):
    """Any Gymnasium environment whose spaces are a tuple with one space per agent, with discrete actions.

    Observations and actions are padded, masks taken, agents whose part ends early treated as `PettingZoo` does it.
    ``terminated`` and ``truncated`` may be one for all or one per agent, the reward too. Masks come from the method
    ``get_avail_actions()`` of the environment, else from ``action_mask`` (one per agent) in its infos; the state from
    ``get_state()``, else it is all observations. Gymnasium's own wrapper for time limits is not needed: a registered
    ``max_episode_steps`` is kept here.

    The settings that are not explained here are explained in `AdaptedEnvs`.

    Args:
        agents: the number of agents asked for; ``None`` is the environment's own.
        n_envs: B.
        task: the registered id.
        package: module whose import registers the task; ``None``: it is registered already.
        at_limit: what it means that the environment calls itself terminated at exactly the number of steps after which
            it always ends: ``truncated`` (most such environments do not tell time limits from other ends) or
            ``terminated`` (it really means it).

    Raises:
        ValueError: a package is missing, there is no such task, or the settings do not fit the environment.
    """

    _view = TupleEnv

    def __init__(
        self,
        agents: int | None,
        n_envs: int,
        *,
        task: str,
        package: str | None,
        install: str | None,
        kwargs: dict[str, Any] | None,
        agents_kwarg: str | None,
        episode_limit: Count | None,
        at_limit: AtLimit,
        reward: Reward,
        metrics: list[str],
        global_random: bool,
    ) -> None:
        registered = find_task(task, package, install)

        def game() -> ParallelGame:
            spec = copy.deepcopy(registered)
            # As the specification's own, because make() would keep an argument of the name max_episode_steps to itself.
            spec.kwargs = spec.kwargs | with_agents(kwargs, agents_kwarg, agents)
            options = {"id": spec, "max_episode_steps": -1, "disable_env_checker": True}
            env = made(imported("gymnasium", _INSTALL).make, options, task)
            registered_limit = spec.max_episode_steps if episode_limit is None else None
            seen = self._view(env, registered_limit=registered_limit, at_limit=at_limit)
            return ParallelGame(
                seen,
                reward=reward,
                episode_limit=episode_limit,
                at_limit="terminated",  # the view has seen to it
                metrics=metrics,
                others={},
            )

        hint = "" if agents_kwarg else "; choose another task, or name the argument that sets it in agents_kwarg"
        super().__init__(game, n_envs, agents=agents, what=task, hint=hint, global_random=global_random)


def find_task(task: str, package: str | None, install: str | None) -> Any:
    """What is registered as ``task``.

    Raises:
        ValueError: a package is missing, or there is no such task; names those most like it.
    """
    gymnasium = imported("gymnasium", _INSTALL)
    if package is not None:
        imported(package, install)
    if task in gymnasium.registry:
        return gymnasium.registry[task]
    close = difflib.get_close_matches(task, gymnasium.registry, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "is the module that registers it in package?"
    raise ValueError(f"Gymnasium knows no task {task!r}; {hint}")


def _each(name: str, values: Any, n_agents: int) -> list[bool]:
    """One value per agent, of one per agent or one for all."""
    each = [bool(value) for value in values] if isinstance(values, _MANY) else [bool(values)] * n_agents
    if len(each) != n_agents:
        raise ValueError(f"{len(each)} values of {name} for {n_agents} agents: there must be one for all or one each")
    return each


def _per_agent(env: Any, name: str) -> list[Any]:
    space = getattr(env, name)
    spaces = imported("gymnasium.spaces", _INSTALL)
    if not isinstance(space, spaces.Tuple | list | tuple):
        raise ValueError(f"the {name} must be a Tuple with one space per agent, it is {space}")
    return list(space)
