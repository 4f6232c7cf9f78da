"""Environments with PettingZoo's ``ParallelEnv`` interface (Terry et al., NeurIPS 2021)."""

from __future__ import annotations

from typing import Any

from ..ranges import Count
from ..registry import register
from .adapters.common import AdaptedEnvs, AtLimit, agents_hint, loaded, made, with_agents
from .adapters.parallel_game import ParallelGame
from .contract.team_reward import Reward


@register("env")
class PettingZoo(AdaptedEnvs):
    """Any PettingZoo ``ParallelEnv`` with discrete actions; each is stepped by itself.

    Observations are flattened and, like the actions, padded to the largest agent's. Action masks are taken from
    observations or infos under the key ``action_mask``. The state is the environment's ``state()``, where it has one,
    else all observations. An agent whose part ends early has zero observations, only its first action and no rewards
    from then on. The episode ends with the team's last agent: terminated if no part was cut off by a time limit,
    truncated otherwise, and also at ``episode_limit``.

    The settings that are not explained here are explained in `AdaptedEnvs`.

    Args:
        agents: the number of agents asked for; ``None`` is the environment's own.
        n_envs: B.
        entry_point: ``module:function``; the function returns a ``ParallelEnv``.
        at_limit: what it means that the environment calls agents terminated, and none truncated, at exactly the number
            of steps after which it always ends: ``terminated`` (the interface tells time limits from other ends) or
            ``truncated`` (this environment does not).
        others: agents that are not of the team but scripted: the beginning of their names to the ``module:function``
            that plays them, see `hymarl.envs.adapters.parallel_game.Situation`. Rewards, sizes, metrics and the end of
            an episode are those of the team alone; the state stays the environment's. ``None``: there are none.

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
        global_random: bool,
        others: dict[str, str] | None,
    ) -> None:
        make = loaded(entry_point, install)
        behaviors = {prefix: loaded(path, None) for prefix, path in (others or {}).items()}

        def game() -> ParallelGame:
            env = made(make, with_agents(kwargs, agents_kwarg, agents), entry_point)
            return ParallelGame(
                env,
                reward=reward,
                episode_limit=episode_limit,
                at_limit=at_limit,
                metrics=metrics,
                others=behaviors,
            )

        hint = agents_hint(agents_kwarg)
        super().__init__(game, n_envs, agents=agents, what=entry_point, hint=hint, global_random=global_random)
