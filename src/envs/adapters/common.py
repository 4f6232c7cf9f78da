"""What the adapters for other libraries' environments share: imports, agents, limits, rewards, metrics, pictures."""

from __future__ import annotations

import contextlib
import copy
import importlib
import inspect
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any, Literal, Protocol, cast

import numpy as np

from ...components.spec import FloatArray
from ..contract.scene import PictureScene, Scene
from ..contract.team_reward import Reward, of_team
from .single import SingleEnv, SingleEnvs, describe

AtLimit = Literal["truncated", "terminated"]

LIMIT_ATTRIBUTES = ("max_cycles", "max_steps", "max_episode_steps", "_max_episode_steps", "episode_limit")
"""Where environments keep the largest number of steps of an episode."""


class PlayedGame(SingleEnv, Protocol):
    """A `SingleEnv` that can be looked at."""

    def scene(self) -> Scene:
        """What it looks like now."""
        ...


class AdaptedEnvs(SingleEnvs):
    """Environments of another library; these are the settings that adapters have in common.

    Args:
        make: makes one environment.
        n_envs: B.
        agents: the number of agents asked for; ``None`` is the environment's own.
        what: the environment's name in messages.
        hint: how to get another number of agents.
        install: what to type to get the package, for the message when it is missing; ``None``: not known.
        kwargs: keyword arguments of what makes the environment; ``None``: none.
        agents_kwarg: the one of them that takes the number of agents; ``a.b`` is the entry ``b`` of the dictionary
            ``a``; ``None``: the number is fixed.
        episode_limit: steps after which an episode is truncated; ``None``: the environment's own, where it says it.
        reward: the team's reward: ``sum`` or ``mean`` over all agents; ``individual``: one reward per agent. A reward
            that the environment gives to all in common stays as it is.
        metrics: numbers in the infos of an episode's last step that become its metrics, see `InfoMetrics`.
        global_random: whether the environment may draw from ``random`` or ``np.random``; then each has its own, see
            `hymarl.envs.adapters.global_generators`.

    Raises:
        ValueError: the package is missing, the settings do not fit the environment, or it cannot be played.
    """

    def __init__(
        self,
        make: Callable[[], PlayedGame],
        n_envs: int,
        *,
        agents: int | None,
        what: str,
        hint: str,
        global_random: bool = True,
    ) -> None:
        def playable() -> PlayedGame:
            try:
                return make()
            except ValueError:  # it says what does not fit
                raise
            except (Exception, SystemExit) as error:
                raise ValueError(f"{what} cannot be played: {describe(error)}") from error

        super().__init__(playable, n_envs, global_random=global_random)
        if agents not in (None, self.spec.n_agents):
            self.close()
            raise ValueError(f"agents={agents}, but {what} has {self.spec.n_agents} agents{hint}")

    def scene(self, row: int) -> Scene:
        """See `Visible.scene`.

        Raises:
            ValueError: the environment draws no pictures.
        """
        game = cast(PlayedGame, self._played(row))
        with self._kept(), self._generators[row].installed():
            return game.scene()


def imported(module: str, install: str | None) -> ModuleType:
    """A module of another library; what it prints as a greeting is dropped.

    Raises:
        ValueError: it is not installed; the message names ``install``.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return importlib.import_module(module)
    except ImportError as error:
        hint = f"it needs more packages: {install}" if install else "is its package installed?"
        raise ValueError(f"{module!r} cannot be imported: {error}; {hint}") from error


def loaded(entry_point: str, install: str | None) -> Callable[..., Any]:
    """The function or class ``module:name``.

    Raises:
        ValueError: it does not exist.
    """
    module, _, name = entry_point.partition(":")
    if not (module and name):
        raise ValueError(f"entry_point must read module:name, got {entry_point!r}")
    holder = imported(module, install)
    if not hasattr(holder, name):
        raise ValueError(f"entry_point {entry_point!r}: the module {module} has no {name!r}")
    return getattr(holder, name)


def with_agents(kwargs: Mapping[str, Any] | None, agents_kwarg: str | None, agents: int | None) -> dict[str, Any]:
    """A copy of the keyword arguments with the number of agents asked for, all of it new.

    Raises:
        ValueError: the number of agents is below 1, or there is no place for it.
    """
    if agents is not None and agents < 1:
        raise ValueError(f"agents must be at least 1, got {agents}")
    filled = copy.deepcopy(dict(kwargs or {}))  # environments change the dictionaries that they are given
    if agents is not None and agents_kwarg is not None:
        *path, last = agents_kwarg.split(".")
        holder = filled
        for name in path:
            holder = holder.setdefault(name, {})
            if not isinstance(holder, dict):
                raise ValueError(f"agents_kwarg={agents_kwarg}: {name} is {holder!r} in kwargs, which has no entries")
        holder[last] = agents
    return filled


def made(make: Callable[..., Any], kwargs: Mapping[str, Any], what: str) -> Any:
    """What ``make`` returns for these keyword arguments.

    Raises:
        ValueError: it does not take them, or raises.
    """
    try:
        inspect.signature(make).bind(**kwargs)
    except TypeError as error:
        raise ValueError(f"{what} does not accept these kwargs: {error}") from error
    except ValueError:
        pass  # it is written in C and does not tell its parameters
    try:
        return make(**kwargs)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{what} cannot be made: {describe(error)}") from error


def agents_hint(agents_kwarg: str | None) -> str:
    """How to get another number of agents than the environment has, at the end of a sentence."""
    return "" if agents_kwarg else "; name the argument that sets it in agents_kwarg, if there is one"


def own_limit(*holders: Any) -> int | None:
    """The largest number of steps of an episode, as far as the environment tells."""
    for holder in holders:
        for name in LIMIT_ATTRIBUTES:
            limit = getattr(holder, name) if hasattr(holder, name) else None
            if isinstance(limit, int | np.integer) and not isinstance(limit, bool) and limit > 0:
                return int(limit)
    return None


def limit(asked: int | None, own: int | None) -> int:
    """The number of steps after which an episode is truncated.

    Args:
        asked: the setting.
        own: after how many steps the environment ends an episode by itself, if that is known.

    Raises:
        ValueError: neither is known, or the environment ends earlier than asked.
    """
    if asked is None and own is None:
        raise ValueError("the environment does not say how long an episode can be; give env.episode_limit=…")
    if asked is not None and own is not None and asked > own:
        raise ValueError(
            f"episode_limit={asked}, but the environment ends its episodes after {own} steps; raise that with the "
            "argument for it in kwargs"
        )
    return asked if asked is not None else int(own or 0)


def team_reward(rewards: Any, n_agents: int, reward: Reward) -> FloatArray:
    """The reward ``[]`` of the team, or ``[A]``.

    Args:
        rewards: a number that all agents get in common, or one per agent.
        n_agents: A.
        reward: see `AdaptedEnvs`.

    Raises:
        ValueError: it is neither.
    """
    each = np.asarray(rewards, np.float64)
    if each.shape != (n_agents,):
        if each.size != 1:
            raise ValueError(f"{len(each)} rewards for {n_agents} agents: there must be one for all or one per agent")
        if reward != "individual":
            return each.astype(np.float32).reshape(())
        each = np.repeat(each, n_agents)
    return np.asarray(of_team(each, reward), np.float32)


class InfoMetrics:
    """Numbers in the infos of an episode's last step as its metrics: the mean over the agents whose info has them.

    Args:
        asked: names of entries of the infos. Each must occur in some step of an environment's first episode, or a
            misspelt one would be a column of zeros. With a question mark at its end it may be missing and counts 0.

    Attributes:
        names: of the metrics, without question marks.
    """

    def __init__(self, asked: Sequence[str]) -> None:
        self.names = tuple(name.removesuffix("?") for name in asked)
        self._awaited = {name for name in asked if not name.endswith("?")}
        self._occurred: set[Any] = set()

    def read(self, infos: Iterable[Mapping[Any, Any]], *, over: bool) -> np.ndarray:
        """The values ``[M]``.

        Args:
            infos: of this step, one for each agent that has one.
            over: whether the episode ends with this step.

        Raises:
            ValueError: an entry is not a number, or has not occurred at the end of the first episode.
        """
        if not self.names:
            return np.zeros(0)
        infos = list(infos)
        if self._awaited:
            self._occurred.update(*infos)
            self._awaited -= self._occurred
            if over and self._awaited:
                raise ValueError(self._explain(sorted(self._awaited)[0]))
        return np.array([_mean(name, [info[name] for info in infos if name in info]) for name in self.names])

    def _explain(self, name: str) -> str:
        known = f"they have: {', '.join(sorted(map(str, self._occurred)))}" if self._occurred else "they are empty"
        return f"metrics: no info of a whole episode has {name!r}, {known}; write '{name}?' for one that may be missing"


def _mean(name: str, found: Sequence[Any]) -> float:
    numbers = [np.asarray(value) for value in found]
    for value, number in zip(found, numbers, strict=True):
        if number.ndim or number.dtype.kind not in "biuf":
            raise ValueError(f"metrics: the info {name!r} is {value!r}, which is not a number")
    return float(np.mean(numbers)) if numbers else 0.0


def picture(env: Any) -> PictureScene:
    """What the environment draws.

    Args:
        env: one with Gymnasium's and PettingZoo's ``render``; numbers up to 255, or fractions up to 1.

    Raises:
        ValueError: it was not made to draw pictures, or cannot.
    """
    mode = env.render_mode if hasattr(env, "render_mode") else None
    if mode != "rgb_array":
        raise ValueError(f"there is no picture with render_mode={mode}: set 'env.kwargs={{render_mode: rgb_array}}'")
    try:
        drawn = env.render()
        pixels = np.asarray(drawn)
    except Exception as error:
        hint = "if it lacks a display, start one (Xvfb)"
        raise ValueError(f"the environment cannot draw here: {describe(error)}; {hint}") from error
    if pixels.ndim != 3 or pixels.shape[2] < 3 or not pixels.size or pixels.dtype.kind not in "biuf":
        got = f"an array {pixels.shape} of {pixels.dtype}" if pixels.ndim else repr(drawn)
        raise ValueError(f"the environment's render() returns no picture but {got}")
    if pixels.dtype.kind == "b" or (pixels.dtype.kind == "f" and pixels.max() <= 1):
        pixels = np.rint(pixels * 255.0)
    return PictureScene(np.ascontiguousarray(pixels[..., :3].clip(0, 255), np.uint8))
