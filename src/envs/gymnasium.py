"""Gymnasium environments in the multi-agent tuple style, as Level-Based Foraging and RWARE have it."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..registry import register
from .adapters.answers import InterfaceError, info, one_or_each, parts, refusal, shown
from .adapters.common import AdaptedEnvs, AtLimit, Treatment, own_limit
from .adapters.importing import imported, made
from .adapters.parallel_game import INSTALL, ParallelGame

_RESET, _STEP = ("observations", "info"), ("observations", "rewards", "terminated", "truncated", "info")
_LISTS = (tuple, list)


class TupleEnv:
    """What `ParallelGame` uses of a ``ParallelEnv``, on a Gymnasium environment in the tuple style; agents are numbers.

    Args:
        env: the environment.
        registered_limit: steps after which it is to be truncated, if its registration says so; its own limit counts
            too.
        at_limit: see `Gymnasium`.

    Raises:
        InterfaceError: its spaces are not one per agent, or its reset takes no seed.
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
        reason = refusal(self.unwrapped.reset, seed=0)
        if reason:
            raise InterfaceError(f"reset() must take a seed, def reset(self, seed=None, options=None), but {reason}")
        self._has_masks = hasattr(self.unwrapped, "get_avail_actions")
        if self._has_masks:  # they may be longer than the agent's own actions
            env.reset(seed=0)
            n_actions = len(self.unwrapped.get_avail_actions()[0])
            discrete = imported("gymnasium.spaces", INSTALL).Discrete
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
        observations, told = parts("reset", self._env.reset(seed=seed), _RESET)
        self.agents, self._t = list(self.possible_agents), 0
        return self._by_agent("reset", observations), self._infos("reset", told)

    def step(self, actions: Mapping[int, int]) -> tuple[Any, ...]:
        """Execute the actions of the agents that still play; for the others the first one is sent."""
        joint = [actions[i] if i in actions else int(self._actions[i].start) for i in self.possible_agents]
        observations, rewards, terminated, truncated, told = parts("step", self._env.step(joint), _STEP)
        self._t += 1
        ended, cut = _each("terminated", terminated, len(joint)), _each("truncated", truncated, len(joint))
        if self._t == self._own_limit and not any(cut) and self._stops_at_limit():
            ended, cut = [False] * len(joint), ended  # what it calls terminated is its time limit
        if type(rewards) in _LISTS and len(rewards) == len(joint):
            paid: Any = dict(enumerate(rewards))
        else:
            each = one_or_each("reward", rewards, len(joint))
            paid = dict(enumerate(each.tolist())) if each.ndim else float(each)
        self.agents = [i for i in self.agents if not (ended[i] or cut[i])]
        return (
            self._by_agent("step", observations),
            paid,
            dict(enumerate(ended)),
            dict(enumerate(cut)),
            self._infos("step", told),
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

    def _by_agent(self, method: str, observations: Any) -> dict[int, Any]:
        usual = type(observations) in _LISTS or isinstance(observations, Sequence | np.ndarray)
        if not usual or len(observations) != len(self.possible_agents):
            raise InterfaceError(
                f"{method}() must return one observation for each of the {len(self.possible_agents)} agents, it "
                f"returned {shown(observations)}"
            )
        return dict(enumerate(observations))

    def _infos(self, method: str, told: Any) -> dict[int, dict[str, Any]]:
        """The first agent's info is the environment's; each agent's has its mask."""
        common = info(method, told)
        masks: Any = common.get("action_mask")
        if self._has_masks:
            masks = self.unwrapped.get_avail_actions()
        infos: dict[int, dict[str, Any]] = {0: {k: v for k, v in common.items() if k != "action_mask"}}
        if masks is not None:
            if not isinstance(masks, Sequence | np.ndarray) or len(masks) != len(self.possible_agents):
                where = "get_avail_actions()" if self._has_masks else f"the action_mask in the info of {method}()"
                raise InterfaceError(f"{where} must be a list with one mask for each agent, it is {shown(masks)}")
            for agent in self.possible_agents:
                infos.setdefault(agent, {})["action_mask"] = masks[agent]
        return infos


@register("env")
class Gymnasium(AdaptedEnvs):
    """Any Gymnasium environment whose spaces are a tuple with one space per agent, with discrete actions.

    Observations and actions are padded, masks taken, agents whose part ends early treated as `PettingZoo` does it.
    ``terminated`` and ``truncated`` may be one for all or one per agent, the reward too. Masks come from the method
    ``get_avail_actions()`` of the environment, else from ``action_mask`` (one per agent) in its infos; the own
    state from ``get_state()``, where there is one. Gymnasium's own wrapper for time limits is not needed: a registered
    ``max_episode_steps`` is kept here.

    Args:
        agents: the number of agents asked for; ``None`` is the environment's own.
        n_envs: B.
        task: the registered id.
        package: module whose import registers the task; ``None``: it is registered already.
        settings: those of `AdaptedEnvs`.

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
        global_random: bool,
        **settings: Any,
    ) -> None:
        registered = find_task(task, package, settings["install"])

        def game(treatment: Treatment) -> ParallelGame:
            spec = copy.deepcopy(registered)
            # As the specification's own, because make() would keep an argument of the name max_episode_steps to itself.
            spec.kwargs = spec.kwargs | treatment.kwargs
            options = {"id": spec, "max_episode_steps": -1, "disable_env_checker": True}
            env = made(imported("gymnasium", INSTALL).make, options)
            registered_limit = spec.max_episode_steps if treatment.episode_limit is None else None
            seen = self._view(env, registered_limit=registered_limit, at_limit=treatment.at_limit)
            # The view has seen to what an end at the limit means.
            return ParallelGame(seen, treatment._replace(at_limit="terminated"), {})

        super().__init__(agents, n_envs, game, f"env.task={task}", global_random, **settings)


def find_task(task: str, package: str | None, install: str | None) -> Any:
    """What is registered as ``task``.

    Raises:
        InterfaceError: a package is missing, or there is no such task; names those most like it.
    """
    gymnasium = imported("gymnasium", install or INSTALL)
    if package is not None:
        imported(package, install, "env.package")
    if task in gymnasium.registry:
        return gymnasium.registry[task]
    close = difflib.get_close_matches(task, gymnasium.registry, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "does env.package name what registers it?"
    raise InterfaceError(f"Gymnasium knows no task {task!r}; {hint}")


def _each(name: str, values: Any, n_agents: int) -> list[bool]:
    """One value per agent, of one per agent or one for all."""
    if isinstance(values, bool):
        return [values] * n_agents
    each = one_or_each(f"value of {name}", values, n_agents)
    return [bool(value) for value in np.broadcast_to(each, n_agents)]


def _per_agent(env: Any, name: str) -> list[Any]:
    space = getattr(env, name)
    spaces = imported("gymnasium.spaces", INSTALL)
    if not isinstance(space, spaces.Tuple | list | tuple):
        raise InterfaceError(f"the {name} must be a Tuple with one space per agent, it is {space}")
    return list(space)
