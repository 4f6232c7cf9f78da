"""What the adapters for other libraries' environments share: settings, limits, rewards, metrics, pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, cast

import numpy as np

from ...components.spec import FloatArray
from ...ranges import Count
from ..contract.scene import PictureScene, Scene
from ..contract.team_reward import Reward, of_team
from ..contract.team_state import State
from .answers import InterfaceError, numbers, one_or_each, shown
from .importing import agents_hint, with_agents
from .single import SingleEnv, SingleEnvs, describe

AtLimit = Literal["truncated", "terminated"]

LIMIT_ATTRIBUTES = ("max_cycles", "max_steps", "max_episode_steps", "_max_episode_steps", "episode_limit")
"""Where environments keep the largest number of steps of an episode."""


class PlayedGame(SingleEnv, Protocol):
    """A `SingleEnv` that can be rendered."""

    def scene(self) -> Scene:
        """What it looks like now."""
        ...


class Treatment(NamedTuple):
    """How one environment is to be made and played: the settings of `AdaptedEnvs`.

    Attributes:
        kwargs: keyword arguments, with the number of agents asked for.
        episode_limit: see `AdaptedEnvs`.
        at_limit: see `AdaptedEnvs`.
        reward: see `AdaptedEnvs`.
        state: see `AdaptedEnvs`.
        metrics: see `AdaptedEnvs`.
    """

    kwargs: dict[str, Any]
    episode_limit: int | None
    at_limit: AtLimit
    reward: Reward
    state: State
    metrics: tuple[str, ...]


class AdaptedEnvs(SingleEnvs):
    """Environments of another library; these are the settings that adapters have in common.

    Args:
        agents: the number of agents asked for; ``None`` is the environment's own.
        n_envs: B.
        make: makes one environment; what it cannot play it refuses by an `InterfaceError`.
        what: the setting that says which environment, for messages: ``env.entry_point=…``.
        global_random: whether the environment may draw from ``random`` or ``np.random``; then each has its own, see
            `hymarl.envs.adapters.global_generators`.
        install: what to type to get the package, for the message when it is missing; ``None``: not known.
        kwargs: keyword arguments of what makes the environment; ``None``: none.
        agents_kwarg: the one of them that takes the number of agents; ``a.b`` is the entry ``b`` of the dictionary
            ``a``; ``None``: the number is fixed.
        episode_limit: steps after which an episode is truncated; ``None``: the environment's own, where it says it.
        at_limit: what it means that the environment calls itself terminated at exactly the number of steps after which
            it always ends: ``truncated`` (it does not tell time limits from other ends) or ``terminated`` (it does, and
            means it).
        reward: the team's reward: ``sum`` or ``mean`` over all agents; ``individual``: one reward per agent. A reward
            that the environment gives to all in common stays as it is.
        state: what mixers and central critics see in training, see `hymarl.envs.contract.team_state.State`.
        metrics: numbers in the infos of an episode's last step that become its metrics, see `InfoMetrics`.

    Raises:
        InterfaceError: the settings do not fit the environment, or it cannot be played.
    """

    def __init__(
        self,
        agents: int | None,
        n_envs: int,
        make: Callable[[Treatment], PlayedGame],
        what: str,
        global_random: bool = True,
        *,
        install: str | None,
        kwargs: dict[str, Any] | None,
        agents_kwarg: str | None,
        episode_limit: Count | None,
        at_limit: AtLimit,
        reward: Reward,
        state: State,
        metrics: list[str],
    ) -> None:
        self._what = what

        def playable() -> PlayedGame:
            filled = with_agents(kwargs, agents_kwarg, agents)
            try:
                return make(Treatment(filled, episode_limit, at_limit, reward, state, tuple(metrics)))
            except InterfaceError as error:
                raise InterfaceError(f"{what}: {error}") from error
            except (Exception, SystemExit) as error:
                raise InterfaceError(f"{what}: it cannot be played: {describe(error)}") from error

        super().__init__(playable, n_envs, global_random=global_random)
        if agents not in (None, self.spec.n_agents):
            self.close()
            raise InterfaceError(
                f"agents={agents}, but {what} has {self.spec.n_agents} agents{agents_hint(agents_kwarg)}"
            )

    def scene(self, row: int) -> Scene:
        """See `Visible.scene`.

        Raises:
            InterfaceError: the environment draws no pictures.
        """
        game = cast(PlayedGame, self._played(row))
        with self._kept(), self._generators[row].installed():
            return game.scene()

    def _explained(self, error: BaseException) -> str:
        text = describe(error)
        return f"{self._what}: {text}" if isinstance(error, InterfaceError) else text


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
        InterfaceError: neither is known, or the environment ends earlier than asked.
    """
    if asked is None and own is None:
        raise InterfaceError("it does not say how long an episode can be; set env.episode_limit=<steps>")
    if asked is not None and own is not None and asked > own:
        raise InterfaceError(
            f"env.episode_limit={asked}, but it ends its episodes after {own} steps; raise that with its keyword "
            "argument for it in env.kwargs"
        )
    return asked if asked is not None else int(own or 0)


def team_reward(rewards: Any, n_agents: int, reward: Reward) -> FloatArray:
    """The reward ``[]`` of the team, or ``[A]``.

    Args:
        rewards: one number that all agents get in common, or one per agent, also as arrays.
        n_agents: A.
        reward: see `AdaptedEnvs`.

    Raises:
        InterfaceError: it is neither.
    """
    each = one_or_each("reward", rewards, n_agents).astype(np.float64, copy=False)
    if not each.ndim:
        if reward != "individual":
            return each.astype(np.float32)
        each = np.repeat(each, n_agents)
    return np.asarray(of_team(each, reward), np.float32)


class InfoMetrics:
    """Numbers in the infos of an episode's last step as its metrics: the mean over the agents whose info has them.

    Args:
        asked: names of entries of the infos. Each must occur in some step of an environment's first episode, or a
            misspelt one would be a column of zeros. With a question mark at its end it may be missing and counts 0.

    Attributes:
        names: of the metrics, without question marks.

    Raises:
        InterfaceError: a name is given twice.
    """

    def __init__(self, asked: Sequence[str]) -> None:
        self.names = tuple(name.removesuffix("?") for name in asked)
        twice = [name for name in self.names if self.names.count(name) > 1]
        if twice:
            raise InterfaceError(f"env.metrics names {twice[0]!r} twice; name it once")
        self._awaited = {name for name in asked if not name.endswith("?")}
        self._occurred: set[Any] = set()

    def read(self, infos: Iterable[Mapping[Any, Any]], *, over: bool) -> np.ndarray:
        """The values ``[M]``.

        Args:
            infos: of this step, one for each agent that has one.
            over: whether the episode ends with this step.

        Raises:
            InterfaceError: an entry is not a number, or has not occurred at the end of the first episode.
        """
        if not self.names:
            return np.zeros(0)
        infos = list(infos)
        if self._awaited:
            self._occurred.update(*infos)
            self._awaited -= self._occurred
            if over and self._awaited:
                raise InterfaceError(self._explain(sorted(self._awaited)[0]))
        return np.array([_mean(name, [info[name] for info in infos if name in info]) for name in self.names])

    def _explain(self, name: str) -> str:
        known = f"they have: {', '.join(sorted(map(str, self._occurred)))}" if self._occurred else "they are empty"
        return f"env.metrics: no info of a whole episode has {name!r}, {known}; write '{name}?' if it may be missing"


def _mean(name: str, found: Sequence[Any]) -> float:
    values = [numbers(value) for value in found]
    for value, known in zip(found, values, strict=True):
        if known is None or known.size != 1:
            raise InterfaceError(f"env.metrics: the info {name!r} is {shown(value)}, which is not a number")
    return float(np.mean([value.item() for value in values if value is not None])) if values else 0.0


def picture(env: Any) -> PictureScene:
    """What the environment draws.

    Args:
        env: one with Gymnasium's and PettingZoo's ``render``; numbers up to 255, or fractions up to 1.

    Raises:
        InterfaceError: it was not made to draw pictures, or cannot.
    """
    mode = env.render_mode if hasattr(env, "render_mode") else None
    if mode != "rgb_array":
        raise InterfaceError(
            f"there is no picture with render_mode={mode}: set 'env.kwargs={{render_mode: rgb_array}}'"
        )
    try:
        drawn = env.render()
        pixels = np.asarray(drawn)
    except Exception as error:
        hint = "if it lacks a display, start one (Xvfb)"
        raise InterfaceError(f"the environment cannot draw here: {describe(error)}; {hint}") from error
    if pixels.ndim != 3 or pixels.shape[2] < 3 or not pixels.size or pixels.dtype.kind not in "biuf":
        got = f"an array {pixels.shape} of {pixels.dtype}" if pixels.ndim else repr(drawn)
        raise InterfaceError(f"the environment's render() returns no picture but {got}")
    if pixels.dtype.kind == "b" or (pixels.dtype.kind == "f" and pixels.max() <= 1):
        pixels = np.rint(pixels * 255.0)
    return PictureScene(np.ascontiguousarray(pixels[..., :3].clip(0, 255), np.uint8))
