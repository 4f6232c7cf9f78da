"""Level-Based Foraging (Christianos, Schäfer and Albrecht, NeurIPS 2020; Papoudakis et al., NeurIPS Datasets 2021)."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from ..ranges import Count
from ..registry import register
from .adapters.parallel_game import ParallelGame
from .contract.scene import GridScene, Thing, team_color
from .contract.team_reward import Reward
from .contract.team_state import State
from .gymnasium import Gymnasium, TupleEnv


class ForagingTupleEnv(TupleEnv):
    """The library's environment, with episodes that end and begin as they should."""

    def reset(self, seed: int) -> tuple[dict[int, Any], dict[int, Any]]:
        """Start a new episode, in which nobody stands in the way of where players start.

        The library lets players that have not got their place yet occupy the one of the last episode.
        """
        for player in self.unwrapped.players:
            player.position = None
        return super().reset(seed)

    def _stops_at_limit(self) -> bool:
        """Food is left."""
        return bool(self.unwrapped.field.any())


@register("env")
class Foraging(Gymnasium):
    """Agents and food have levels; agents next to a food item get it if their levels add up to its own.

    A task ``Foraging-8x8-2p-2f-coop-v3`` has a grid of 8x8, 2 players, 2 food items, all of which need everybody
    (``coop``); ``-2s`` after the size limits what is seen. The library ends an episode with ``terminated`` both when
    all food is gone and at its time limit; here the latter is truncated.

    The settings that are not explained here are explained in `AdaptedEnvs`; those of its settings that are missing here
    are as the library needs them.

    Args:
        agents: the number of agents asked for; ``None``: the task's. Another number of players makes the task of that
            number, e.g. 3 of the task above ``Foraging-8x8-3p-2f-coop-v3``.
        n_envs: B.
        task: the registered id.
        episode_limit: number of steps after which an episode is truncated, given to the library; ``None``: the task's.

    Raises:
        ValueError: the package is missing, there is no such task, or the settings do not fit.
    """

    _view = ForagingTupleEnv

    def __init__(
        self,
        agents: int | None,
        n_envs: int,
        *,
        task: str,
        install: str | None,
        kwargs: dict[str, Any] | None,
        episode_limit: Count | None,
        reward: Reward,
        state: State,
        metrics: list[str],
    ) -> None:
        limit = {} if episode_limit is None else {"max_episode_steps": episode_limit}
        super().__init__(
            agents,
            n_envs,
            task=task,
            package="lbforaging",
            install=install,
            kwargs=(kwargs or {}) | limit,
            agents_kwarg="players",
            episode_limit=episode_limit,
            at_limit="truncated",
            reward=reward,
            state=state,
            metrics=metrics,
            global_random=False,  # the library has generators of its own
        )

    def scene(self, row: int) -> GridScene:
        """The field, with the levels of food (squares) and players (discs)."""
        env = cast(ParallelGame, self._played(row)).unwrapped
        food = [Thing(int(r), int(c), str(env.field[r, c]), "tab:gray", "square") for r, c in np.argwhere(env.field)]
        players = [
            Thing(int(player.position[0]), int(player.position[1]), str(player.level), team_color(i))
            for i, player in enumerate(env.players)
        ]
        height, width = env.field.shape
        caption = f"step {env.current_step}, {len(food)} food items left"
        return GridScene(height, width, (*food, *players), caption)
